"""What no single field can tell: repeats, engine arguments, settings key by key, globs.

All of them look at the file's data as far as it is sound, so that a file with a wrong field still
gets every other problem reported.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import fields
from typing import Any

from slidesparse_bench.cell import Cell, Sparsity
from slidesparse_bench.errors import Problem
from slidesparse_bench.matrix.engine_args import refusal
from slidesparse_bench.matrix.globs import matches, nearest_id, select
from slidesparse_bench.matrix.model import SETTINGS, Axes
from slidesparse_bench.matrix.words import seen
from slidesparse_bench.yaml_source import KeyPath, Source

MAX_CELLS = 20_000
"""At a minute each, two weeks; beyond that a matrix is a mistake or better split."""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def repeats(source: Source, data: dict[str, Any]) -> Iterator[Problem]:
    """Entries that stand twice in a list, where the second can only be a slip."""
    for path, label, values in _lists(data):
        first: dict[Hashable, int] = {}
        for index, value in enumerate(values):
            key = _identity(label, value)
            if key is not None and first.setdefault(key, index) != index:
                line, column = source.locate((*path, first[key]))
                place = (*path, index)
                shown = seen(_name(value))
                message = f"{label} {shown} appears twice; the first is at {line}:{column}"
                yield source.problem(place, message)


def _lists(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, list[Any]]]:
    yield ("models",), "model", _list(data.get("models"))
    yield ("quantization",), "quantization", _list(data.get("quantization"))
    yield ("backends",), "backend", _list(data.get("backends"))
    for index, backend in enumerate(_list(data.get("backends"))):
        for name, options in _mapping(backend).items():
            path = ("backends", index, name, "sparsity")
            yield path, "sparsity", _list(_mapping(options).get("sparsity"))
    for stage, axis in _mapping(data.get("stages")).items():
        yield ("stages", stage, "M"), "M", _list(_mapping(axis).get("M"))


def _name(value: Any) -> Any:
    """What identifies an entry that may be a name or a mapping: its `name`, or its only key."""
    if isinstance(value, dict):
        return value.get("name", next(iter(value), None))
    return value


def _identity(label: str, value: Any) -> Hashable | None:
    """Equal for entries that would give the same cells or the same folder."""
    name = _name(value)
    if label == "M":
        return name if type(name) is int else None
    if not isinstance(name, str):
        return None
    if label == "sparsity":
        try:
            return Sparsity.parse(name)
        except ValueError:
            return name
    # Folders carry the model's name, and not every file system tells A from a.
    return name.lower()


def engine_arguments(source: Source, data: dict[str, Any]) -> Iterator[Problem]:
    """Engine arguments that the harness decides, or whose value cannot be."""
    for path, mapping in _places(data):
        for name, value in _mapping(mapping.get("engine_args")).items():
            if reason := refusal(name, value):
                at_key = not reason.startswith(f"{name} must")
                yield source.problem((*path, "engine_args", name), reason, at_key=at_key)


def settings(source: Source, data: dict[str, Any]) -> Iterator[Problem]:
    """Every impossible number of the settings; their classes stop at the first."""
    for path, mapping in _places(data):
        for part, kind in SETTINGS.items():
            known = {field.name for field in fields(kind)}
            for key, value in _mapping(mapping.get(part)).items():
                if key in known and _is_numeric(value):
                    yield from _impossible(source, (*path, part, key), kind, value)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(type(item) in (int, float) for item in value)
    return type(value) in (int, float)


def _impossible(source: Source, path: KeyPath, kind: type[Any], value: Any) -> Iterator[Problem]:
    try:
        kind(**{str(path[-1]): tuple(value) if isinstance(value, list) else value})
    except ValueError as error:
        given = "" if isinstance(value, list) else f", not {seen(source.raw(path))}"
        yield source.problem(path, f"{error}{given}")
    except TypeError:
        pass  # a list for a number, or the reverse: the model says so


def _places(data: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The matrix itself and each of its overrides."""
    yield (), data
    for index, override in enumerate(_list(data.get("overrides"))):
        yield ("overrides", index), _mapping(override)


def globs(source: Source, data: dict[str, Any], axes: Axes) -> Iterator[Problem]:
    """Globs that match no cell, and filters that leave none."""
    if axes.size > MAX_CELLS:
        message = f"{axes.size} cells; a matrix has at most {MAX_CELLS}, split it into several"
        yield source.problem(("models",), message, at_key=True)
        return
    cells = axes.product()
    wrong = list(_without_match(source, data, cells))
    yield from wrong
    if not wrong and not _remaining(data, cells):
        key = "exclude" if data.get("exclude") else "include"
        yield source.problem((key,), f"no cell is left after {key}", at_key=True)


def _without_match(source: Source, data: dict[str, Any], cells: list[Cell]) -> Iterator[Problem]:
    for path, glob in _all_globs(data):
        if not any(matches(glob, cell) for cell in cells):
            message = f"glob {seen(glob)} matches no cell; the nearest is {nearest_id(glob, cells)}"
            yield source.problem(path, message)


def _all_globs(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    for key in ("include", "exclude"):
        for index, glob in enumerate(_list(data.get(key))):
            if isinstance(glob, str):
                yield (key, index), glob
    for index, override in enumerate(_list(data.get("overrides"))):
        glob = _mapping(override).get("match")
        if isinstance(glob, str):
            yield ("overrides", index, "match"), glob


def _remaining(data: dict[str, Any], cells: list[Cell]) -> bool:
    filters = {path[0]: True for path, _ in _all_globs(data)}
    if "include" in filters:
        cells = select(cells, [glob for path, glob in _all_globs(data) if path[0] == "include"])
    excluded = select(cells, [glob for path, glob in _all_globs(data) if path[0] == "exclude"])
    return len(excluded) < len(cells)
