"""From a file to a Matrix, or to every problem in it at once."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slidesparse_bench import yaml_source
from slidesparse_bench.errors import MatrixError, Problem
from slidesparse_bench.matrix import checks
from slidesparse_bench.matrix.fields import (
    BackendOptions,
    DecodeAxis,
    ModelEntry,
    PrefillAxis,
    Stages,
)
from slidesparse_bench.matrix.model import SETTINGS, Axes, Matrix, Override
from slidesparse_bench.matrix.scalars import typed_data
from slidesparse_bench.matrix.words import translate
from slidesparse_bench.yaml_source import KeyPath, Source

Model = TypeVar("Model", bound=BaseModel)

_KEYS: dict[KeyPath, list[str]] = {
    (): ["name", *(key for key in Matrix.model_fields if key != "name")],
    ("models",): list(ModelEntry.model_fields),
    ("backends", "options"): list(BackendOptions.model_fields),
    ("stages",): list(Stages.model_fields),
    ("stages", "prefill"): list(PrefillAxis.model_fields),
    ("stages", "decode"): list(DecodeAxis.model_fields),
    ("overrides",): list(Override.model_fields),
}
for _part, _kind in SETTINGS.items():
    _KEYS[(_part,)] = _KEYS[("overrides", _part)] = [field.name for field in fields(_kind)]


_SETTINGS_PATHS = {(part,) for part in SETTINGS}


def load_matrix(path: Path, *, folder: Path | None = None) -> Matrix:
    """Read a matrix file.

    `folder` is where relative model paths start, the file's own by default; a copy that was put
    elsewhere needs the folder of the original.

    Raises:
        MatrixError: the file cannot be read, or has problems; all of them, each with its place.
    """
    data = _read(path)
    return load_matrix_text(yaml_source.decode(data, str(path)), path, folder=folder)


def load_matrix_text(text: str, path: Path, *, folder: Path | None = None) -> Matrix:
    """The same for text that is already here; `path` is named in messages and not opened.

    Raises:
        MatrixError: as for `load_matrix`.
    """
    source = yaml_source.read(text, str(path))
    unreadable: list[Problem] = []
    data = typed_data(source, unreadable)
    matrix, problems = _validate(Matrix, source, data)
    problems += _beyond_fields(source, data, matrix)
    places = {(problem.line, problem.column) for problem in unreadable}
    later = [problem for problem in problems if (problem.line, problem.column) not in places]
    found = [*source.problems, *unreadable, *dict.fromkeys(later)]
    if found:
        raise MatrixError(found)
    assert matrix is not None, "a matrix without problems is a matrix"
    return matrix.written_in(path, folder or path.parent, text)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(yaml_source.MAX_BYTES + 1)
    except FileNotFoundError:
        reason = f"no such file{_similar_file(path)}"
    except IsADirectoryError:
        reason = "a folder; name the matrix file in it"
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    raise MatrixError([Problem(str(path), 0, 0, reason)])


def _similar_file(path: Path) -> str:
    beside = [*path.parent.glob("*.yaml"), *path.parent.glob("matrices/*.yaml")]
    names = {candidate.name: candidate for candidate in beside}
    meant = get_close_matches(path.with_suffix(".yaml").name, names, n=1)
    return f"; did you mean {names[meant[0]]}?" if meant else ""


def _validate(
    kind: type[Model], source: Source, data: dict[str, Any]
) -> tuple[Model | None, list[Problem]]:
    try:
        return kind.model_validate(data), []
    except ValidationError as error:
        return None, [
            translate(one, source, _KEYS.get(_without_indices(one["loc"][:-1]), []))
            for one in error.errors(include_url=False)
            if not _told_elsewhere(one)
        ]


def _told_elsewhere(error: ErrorDetails) -> bool:
    """A list whose entries are all wrong is no empty list; settings are checked key by key."""
    if error["type"] == "too_short":
        return bool(error["input"])
    return error["type"] == "value_error" and error["loc"][-1:] in _SETTINGS_PATHS


def _without_indices(path: KeyPath) -> KeyPath:
    return tuple(step for step in path if isinstance(step, str))


def _beyond_fields(source: Source, data: dict[str, Any], matrix: Matrix | None) -> list[Problem]:
    problems = [
        *checks.repeats(source, data),
        *checks.engine_arguments(source, data),
        *checks.settings(source, data),
    ]
    axes: Axes | None = matrix
    if axes is None:
        axes, _ = _validate(Axes, source, data)
    if axes is not None:
        problems += checks.globs(source, data, axes)
    return problems
