"""The axes of a matrix as they are written: models, backends, sparsities, stages, M."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import DEFAULT_M, PREFILL_PROMPT_LEN, Sparsity, Stage, m_is_possible
from slidesparse_bench.matrix.words import did_you_mean, one_of, seen
from slidesparse_bench.models import BUILTIN_NAMES

MAX_M = 2**24
"""No engine step of today comes near; a larger M is a slip of the key."""

_SAFE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,79}"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_SPARSE = [name for name, backend in BACKENDS.items() if backend.needs_sparsity]
SPARSITIES = [str(Sparsity(group)) for group in Sparsity.GROUPS]


def _safe_name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_SAFE_NAME, value):
        raise ValueError(
            f"name {seen(value)} goes into folder names: letters, digits, '.', '_' and '-' only, "
            "a letter or digit first, at most 80"
        )
    return value


SafeName = Annotated[
    str, BeforeValidator(_safe_name), Field(json_schema_extra={"pattern": f"^{_SAFE_NAME}$"})
]


def _folder(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError("path is empty; it names the folder that holds config.json")
    try:
        return Path(value).expanduser() if isinstance(value, str) else value
    except RuntimeError:
        raise ValueError(f"path {seen(value)}: no home folder of that user") from None


def _repository(value: Any) -> Any:
    if value is None or (isinstance(value, str) and not _HUB_NAME.fullmatch(value)):
        raise ValueError(f"hub {seen(value)} is not the name of a repository, as org/name")
    return value


class Entry(BaseModel):
    """Base of what is written as a mapping: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(Entry):
    """A model: built in, or a folder with a `config.json`, or a Hugging Face repository."""

    name: SafeName = Field(description="Name in cell ids and tables.")
    path: Annotated[Path | None, BeforeValidator(_folder)] = Field(
        default=None, description="Folder with config.json, relative to the matrix file."
    )
    hub: Annotated[str | None, BeforeValidator(_repository)] = Field(
        default=None, description="Hugging Face repository, as org/name."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            _require_builtin(value)
            return {"name": value}
        if isinstance(value, dict):
            return value
        raise ValueError(f"a model is a name, {{name, path}} or {{name, hub}}, not {seen(value)}")

    @model_validator(mode="after")
    def _has_one_source(self) -> ModelEntry:
        if self.path is not None and self.hub is not None:
            raise ValueError(f"model '{self.name}' has both a path and a hub; keep one")
        if self.path is None and self.hub is None:
            _require_builtin(self.name)
        return self


def _require_builtin(name: str) -> None:
    if name in BUILTIN_NAMES:
        return
    short = name.rstrip("/").rsplit("/", 1)[-1] or "my-model"
    kind = "path" if name.startswith((".", "/", "~")) else "hub"
    if "/" in name:
        advice = f"; write {{name: {short.lower()}, {kind}: {name}}}"
    else:
        advice = did_you_mean(name, BUILTIN_NAMES) or "; other models are {name: ..., path: ...}"
    raise ValueError(f"model {seen(name)} is not built in ({', '.join(BUILTIN_NAMES)}){advice}")


def _sparsity(value: Any) -> Any:
    if isinstance(value, str) and value.replace("_", ":", 1) in SPARSITIES:
        return Sparsity.parse(value)
    hint = _sparsity_hint(value.replace("_", ":", 1)) if isinstance(value, str) else ""
    raise ValueError(f"sparsity {seen(value)} is not one of {', '.join(SPARSITIES)}{hint}")


def _sparsity_hint(text: str) -> str:
    for sparsity in SPARSITIES[1:]:
        group = int(sparsity[2:])
        if text == f"{group - 2}:{group}":
            return f"; {text} in the paper counts non-zeros, here zeros are counted: {sparsity}"
    return did_you_mean(text, SPARSITIES)


SparsityField = Annotated[
    Sparsity,
    BeforeValidator(_sparsity),
    WithJsonSchema(
        {
            "anyOf": [{"enum": SPARSITIES}, {"pattern": "^2_(4|6|8|10|12|14|16)$"}],
            "type": "string",
        }
    ),
]


class BackendOptions(Entry):
    """What stands below a backend's name."""

    sparsity: Annotated[tuple[SparsityField, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Z:L, Z zeros in every L weights: 2:4 is half, 2:8 a quarter zeros.",
    )

    @model_validator(mode="before")
    @classmethod
    def _written_sparsity_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("sparsity", ()) is None:
            raise ValueError(f"sparsity is empty; it lists some of {', '.join(SPARSITIES)}")
        return {} if value is None else value


class BackendEntry(Entry):
    """A backend, with its sparsities if it has any."""

    name: str
    options: BackendOptions = BackendOptions()

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": one_of("backend", BACKENDS)(value)}
        if isinstance(value, dict) and len(value) == 1:
            ((name, options),) = value.items()
            return {"name": one_of("backend", BACKENDS)(name), "options": options}
        raise ValueError(_no_backend(value))

    @model_validator(mode="after")
    def _sparsity_where_needed(self) -> BackendEntry:
        if BACKENDS[self.name].needs_sparsity and self.options.sparsity is None:
            raise ValueError(
                f"backend {self.name} needs a sparsity; write `{self.name}: {{sparsity: [2:4]}}`"
            )
        if not BACKENDS[self.name].needs_sparsity and self.options.sparsity is not None:
            raise ValueError(
                f"backend {self.name} is dense and takes no sparsity; {_SPARSE[0]} takes one"
            )
        return self

    @property
    def sparsities(self) -> tuple[Sparsity | None, ...]:
        return self.options.sparsity or (None,)


def _no_backend(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a backend is a name or `name: {{...}}`, not {seen(value)}"
    keys = list(value)
    if len(keys) == 2 and keys[1] == "sparsity":
        return f"`sparsity` must be indented below `{keys[0]}`, or `{keys[0]}: {{sparsity: [...]}}`"
    found = f"this one has {', '.join(keys)}" if keys else "this one is empty"
    return f"a backend entry has one key, its name; {found}"


def _possible(stage: Stage) -> Callable[[int], int]:
    def check(m: int) -> int:
        possible, reason = m_is_possible(stage, m)
        if possible and m > MAX_M:
            possible, reason = False, f"M must be at most {MAX_M}"
        if not possible:
            raise ValueError(f"M {m}: {reason}")
        return m

    return check


_Whole = Annotated[int, Strict()]
_RANGE = {"minimum": 1, "maximum": MAX_M}
_ONE_PROMPT_OR_WHOLE_ONES = {
    "anyOf": [{"maximum": PREFILL_PROMPT_LEN}, {"multipleOf": PREFILL_PROMPT_LEN}]
}
PrefillM = Annotated[
    _Whole,
    AfterValidator(_possible(Stage.PREFILL)),
    Field(json_schema_extra=_RANGE | _ONE_PROMPT_OR_WHOLE_ONES),
]
DecodeM = Annotated[
    _Whole, AfterValidator(_possible(Stage.DECODE)), Field(json_schema_extra=_RANGE)
]


def _empty_for_nothing(value: Any) -> Any:
    """`prefill:` with nothing behind it means the defaults."""
    return {} if value is None else value


class PrefillAxis(Entry):
    """The M of prefill cells."""

    M: Annotated[tuple[PrefillM, ...], Field(min_length=1)] = Field(
        default=DEFAULT_M["prefill"],
        description="Tokens in one engine step: sequences x prompt_len. Above 1024, multiples of it.",
    )


class DecodeAxis(Entry):
    """The M of decode cells."""

    M: Annotated[tuple[DecodeM, ...], Field(min_length=1)] = Field(
        default=DEFAULT_M["decode"], description="Sequences in one engine step, one token each."
    )


class Stages(Entry):
    """Which stages are measured; at least one."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    prefill: Annotated[PrefillAxis | None, BeforeValidator(_empty_for_nothing)] = Field(
        default=None, description="Prompts are computed; empty for the default M."
    )
    decode: Annotated[DecodeAxis | None, BeforeValidator(_empty_for_nothing)] = Field(
        default=None, description="Tokens are generated; empty for the default M."
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> Stages:
        if self.prefill is None and self.decode is None:
            raise ValueError("stages is empty; it needs prefill, decode or both")
        return self

    def axis(self) -> list[tuple[Stage, int]]:
        """Every (stage, M), prefill first, M in the order of the file."""
        prefill = self.prefill.M if self.prefill else ()
        decode = self.decode.M if self.decode else ()
        return [(Stage.PREFILL, m) for m in prefill] + [(Stage.DECODE, m) for m in decode]
