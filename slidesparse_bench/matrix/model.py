"""The matrix itself: its fields, the cells it expands to, and what holds for each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    Strict,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from slidesparse_bench.cell import Cell, Quantization
from slidesparse_bench.matrix.fields import BackendEntry, Entry, ModelEntry, SafeName, Stages
from slidesparse_bench.matrix.globs import matches, select
from slidesparse_bench.matrix.words import one_of
from slidesparse_bench.settings import Measurement, RetrySettings, Timeouts

SETTINGS = {"measurement": Measurement, "timeouts": Timeouts, "retry": RetrySettings}
"""Keys that the matrix and its overrides share, and what they set."""


class Axes(BaseModel):
    """What the cells are the product of."""

    model_config = ConfigDict(frozen=True)

    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1)] = Field(
        description="Built-in names, or {name, path}, or {name, hub}."
    )
    quantization: Annotated[
        tuple[Annotated[Quantization, BeforeValidator(one_of("quantization", Quantization))], ...],
        Field(min_length=1),
    ] = Field(default=tuple(Quantization), description="8-bit weights and activations.")
    backends: Annotated[tuple[BackendEntry, ...], Field(min_length=1)] = Field(
        default=(BackendEntry.model_validate("native"),),
        description="Who runs the GEMMs; cusparselt needs its sparsities.",
    )
    stages: Stages = Field(description="What is measured, and at which M.")

    def product(self) -> list[Cell]:
        """Every combination: model, quantization, backend, sparsity, stage, M, as listed."""
        return [
            Cell(model.name, quantization, backend.name, sparsity, stage, m)
            for model in self.models
            for quantization in self.quantization
            for backend in self.backends
            for sparsity in backend.sparsities
            for stage, m in self.stages.axis()
        ]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        backends = sum(len(backend.sparsities) for backend in self.backends)
        rest = len(self.models) * len(self.quantization) * len(self.stages.axis())
        return backends * rest


_NOT_A_NUMBER = object()


def _numbers_only(value: Any) -> Any:
    """Settings are numbers: pydantic would take true as 1 and the text "1_0" as 10."""
    if isinstance(value, dict):
        return {key: _numbers_only(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_only(item) for item in value]
    return value if value is None or type(value) in (int, float) else _NOT_A_NUMBER


def _nothing_as(empty: Callable[[], Any]) -> BeforeValidator:
    """A key with nothing behind it, its lines commented out perhaps, is as if left out."""
    return BeforeValidator(lambda value: empty() if value is None else value)


@dataclass(frozen=True)
class _AsWritten:
    """Checked like the settings class, kept as the mapping of what was written."""

    settings: type[Any]

    def __get_pydantic_core_schema__(
        self, _source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> dict[str, Any]:
            complete = inner(_numbers_only(value))
            return {key: getattr(complete, key) for key in value}

        checked = handler.generate_schema(self.settings)
        return core_schema.no_info_wrap_validator_function(check, checked)


_Mapping = Annotated[dict[str, Any], _nothing_as(dict)]
_Globs = Annotated[tuple[str, ...], _nothing_as(tuple)]
_Numbers = BeforeValidator(_numbers_only)


class Override(Entry):
    """What is different for the cells whose id matches; later overrides win."""

    match: str = Field(description="Glob on cell ids.")
    engine_args: _Mapping = Field(
        default={}, description="vLLM engine arguments, added or replaced."
    )
    measurement: Annotated[dict[str, Any], _AsWritten(Measurement), _nothing_as(dict)] = Field(
        default={}, description="Like the key of the matrix, for what differs."
    )
    timeouts: Annotated[dict[str, Any], _AsWritten(Timeouts), _nothing_as(dict)] = Field(
        default={}, description="Like the key of the matrix, for what differs."
    )
    retry: Annotated[dict[str, Any], _AsWritten(RetrySettings), _nothing_as(dict)] = Field(
        default={}, description="Like the key of the matrix, for what differs."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Override:
        if not (self.engine_args or self.measurement or self.timeouts or self.retry):
            raise ValueError(
                "this override changes nothing; give it engine_args, measurement, timeouts or retry"
            )
        return self


class Matrix(Axes):
    """A matrix file, checked. Values do not change once it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: SafeName = Field(description="Names the folder of a run: runs/<name>-<date>-<time>.")
    engine: Annotated[
        Literal["vllm", "fake"], BeforeValidator(one_of("engine", ["vllm", "fake"]))
    ] = Field(default="vllm", description="fake runs the whole campaign without a model.")
    engine_args: _Mapping = Field(
        default={}, description="Any vLLM engine argument, by vLLM's name."
    )
    include: _Globs = Field(default=(), description="Globs on cell ids: only these cells.")
    exclude: _Globs = Field(default=(), description="Globs on cell ids: not these, after include.")
    overrides: Annotated[tuple[Override, ...], _nothing_as(tuple)] = Field(
        default=(), description="Other settings for some cells; later entries win."
    )
    isolation: Annotated[
        Literal["engine", "cell"], BeforeValidator(one_of("isolation", ["engine", "cell"]))
    ] = Field(
        default="engine",
        description=(
            "engine: cells that differ in M and stage share one engine process; "
            "cell: every attempt runs in a process of its own."
        ),
    )
    measurement: Annotated[Measurement, _Numbers, _nothing_as(dict)] = Field(
        default=Measurement(), description="When to stop measuring."
    )
    timeouts: Annotated[Timeouts, _Numbers, _nothing_as(dict)] = Field(
        default=Timeouts(), description="Time limits, in seconds."
    )
    retry: Annotated[RetrySettings, _Numbers, _nothing_as(dict)] = Field(
        default=RetrySettings(), description="How far automatic retries go."
    )
    trials: Annotated[int, Strict()] = Field(
        default=1,
        ge=1,
        le=100,
        description="Measurements of every cell in processes of their own, in shuffled order.",
    )
    seed: Annotated[int, Strict()] = Field(
        default=0, ge=0, description="Of prompts, random weights, and the order of trials."
    )
    infeasible: Annotated[
        Literal["skip", "try"], BeforeValidator(one_of("infeasible", ["skip", "try"]))
    ] = Field(default="skip", description="What happens to cells predicted not to fit in memory.")
    cpu_memory_gib: Annotated[float, Strict()] = Field(
        default=4.0,
        gt=0,
        description="Memory of a CPU engine, in GiB; gpu_memory_utilization applies to it.",
    )

    _path: Path = PrivateAttr()
    _folder: Path = PrivateAttr()
    _text: str = PrivateAttr()

    def written_in(self, path: Path, folder: Path, text: str) -> Matrix:
        """This matrix, with the file it came from; relative model paths start at `folder`."""
        self._path, self._folder, self._text = path, folder, text
        return self

    @property
    def path(self) -> Path:
        return self._path

    @property
    def folder(self) -> Path:
        """Where relative model paths start."""
        return self._folder.absolute()

    @property
    def text(self) -> str:
        """The file, character by character."""
        return self._text

    @property
    def sha256(self) -> str:
        """Of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def model(self, name: str) -> ModelEntry:
        """The entry of a model, its path absolute.

        Raises:
            KeyError: no model of this matrix has that name.
        """
        entry = next((entry for entry in self.models if entry.name == name), None)
        if entry is None:
            raise KeyError(name)
        if entry.path is None:
            return entry
        return entry.model_copy(update={"path": (self._folder / entry.path).absolute()})

    def cells(self) -> list[Cell]:
        """The cells to measure: the product, then include, then exclude."""
        cells = self.product()
        if self.include:
            cells = select(cells, self.include)
        excluded = set(select(cells, self.exclude))
        return [cell for cell in cells if cell not in excluded]

    def engine_args_for(self, cell: Cell) -> dict[str, Any]:
        """vLLM engine arguments; an override replaces a whole argument, nested or not."""
        return self._merged(cell, "engine_args", self.engine_args)

    def measurement_for(self, cell: Cell) -> Measurement:
        return replace(self.measurement, **self._merged(cell, "measurement", {}))

    def timeouts_for(self, cell: Cell) -> Timeouts:
        return replace(self.timeouts, **self._merged(cell, "timeouts", {}))

    def retry_for(self, cell: Cell) -> RetrySettings:
        return replace(self.retry, **self._merged(cell, "retry", {}))

    def _merged(self, cell: Cell, part: str, base: dict[str, Any]) -> dict[str, Any]:
        merged = dict(base)
        for override in self.overrides:
            if matches(override.match, cell):
                merged.update(getattr(override, part))
        return merged
