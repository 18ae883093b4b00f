"""What the engines said of themselves after measuring, and what else they found in place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.markdown import (
    blocks,
    code,
    counted,
    details,
    listed,
    plain,
    shortened,
)
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.sittings import provenance_of, sittings_of
from slidesparse_bench.units import format_duration

ROWS_SHOWN = 8
"""A longer table of engines is closed until the reader opens it."""
COLUMNS_SHOWN = 6
_VALUE_LIMIT = 160
_APART = ("versions", "kernels", "compile_cache", "engine")
"""Of what an engine says: shown in another place."""

Facts = dict[str, Any]


def section(view: RunView) -> str:
    said = _said(view.environment)
    return blocks(
        [
            "## Engines",
            _introduction(said),
            _kernels(view.environment, said),
            _compile_cache(said),
            _table(view, said),
            _shared(said),
            _installed(view.environment),
            _imported(said),
            _variables(view.environment),
        ]
    )


def _said(environment: Mapping[str, Any]) -> dict[str, Facts]:
    """By engine, oldest first; one whose description is lost is passed over."""
    engines = environment.get("engines") or {}
    return {name: said for name in engines if (said := provenance_of(environment, name))}


def _introduction(said: dict[str, Facts]) -> str:
    if not said:
        return (
            "No engine left a description of itself: nothing was measured, or the run is older than "
            "that record."
        )
    return (
        "After measuring, a worker process describes what ran in it, by looking at it: "
        f"{counted(len(said), 'description')} on record (`environment.json`)."
    )


def _kernels(environment: Mapping[str, Any], said: dict[str, Facts]) -> str:
    """Which kernel classes the layers of each backend ran on."""
    rows: dict[tuple[Value, ...], None] = {}
    for name, facts in said.items():
        kernels = facts.get("kernels") or {}
        classes = [f"{code(kernel)} ({count})" for kernel, count in sorted(kernels.items())]
        for place in _places(environment["engines"][name]) if classes else ():
            rows[*place, ", ".join(classes)] = None
    if not rows:
        return ""
    titles = ("model", "quantization", "backend", "kernel classes (layers)")
    return as_markdown(Table(tuple(map(Column, titles)), tuple(rows)))


def _places(engine: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Model, quantization and backend of the cells of an engine."""
    places = []
    for cell_id in engine["cells"]:
        try:
            cell = Cell.parse(cell_id)
        except ValueError:
            continue
        places.append((cell.model, cell.quantization.upper(), Series.of(cell).name))
    return list(dict.fromkeys(places))


def _compile_cache(said: dict[str, Facts]) -> str:
    states = Counter(str(f["compile_cache"]) for f in said.values() if f.get("compile_cache"))
    if not states:
        return ""
    texts = [f"{state} in {counted(count, 'engine')}" for state, count in states.most_common()]
    cold = (
        " Where it was cold, something had to be compiled, and `load_time_s` contains that."
        if "cold" in states
        else ""
    )
    return f"vLLM's compile cache was {listed(texts)}.{cold}"


def _table(view: RunView, said: dict[str, Facts]) -> str:
    """One row per engine, with what not all of them say alike."""
    if not said:
        return ""
    flat = {name: _flat(facts) for name, facts in said.items()}
    shared = _common(flat.values())
    differing = list(dict.fromkeys(k for facts in flat.values() for k in facts if k not in shared))
    shown, hidden = differing[:COLUMNS_SHOWN], [code(key) for key in differing[COLUMNS_SHOWN:]]
    starts = _start_up_s(view)
    columns = (
        *map(Column, ("engine", "device", "cells")),
        Column("start-up", right=True),
        Column("compile cache"),
        *(Column(key.rpartition(".")[2], right=True) for key in shown),
    )
    rows = tuple(
        (
            *_engine(name, view.environment["engines"][name]),
            format_duration(starts[name]) if name in starts else "not recorded",
            plain(str(facts.get("compile_cache") or "not recorded")),
            *(_text(flat[name].get(key)) for key in shown),
        )
        for name, facts in said.items()
    )
    more = f"They differ in {listed(hidden)} as well." if hidden else ""
    whole = blocks([as_markdown(Table(columns, rows)), more])
    return details(counted(len(rows), "engine"), whole) if len(rows) > ROWS_SHOWN else whole


def _engine(name: str, engine: Mapping[str, Any]) -> tuple[str, str, str]:
    """Its name, its device and its cells."""
    number = name.removeprefix("engines/")
    device = str(engine.get("device") or "not recorded")
    return "own process" if number == name else plain(number), plain(device), _cells_of(engine)


def _cells_of(engine: Mapping[str, Any]) -> str:
    cells = engine["cells"]
    return code(cells[0]) if len(cells) == 1 else counted(len(cells), "cell")


def _start_up_s(view: RunView) -> dict[str, float]:
    """Seconds until an engine was ready, by its name in `environment.json`."""
    known: dict[str, float] = {}
    for each in view.cells:
        for attempt in each.record.attempts:
            name = f"engines/{attempt.engine}" if attempt.engine else ""
            name = name or f"cells/{each.id}/attempt-{attempt.n}"
            metrics = attempt.metrics or (each.metrics if attempt in each.standing else None)
            if metrics and metrics.load_time_s is not None:
                known[name] = metrics.load_time_s
    return known


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Facts:
    """Nested facts as `configuration.block_size`, without those that are shown elsewhere."""
    flat: Facts = {}
    for name, value in facts.items():
        if not prefix and name in _APART:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _common(said: Iterable[Facts]) -> Facts:
    """What all of them say alike."""
    first, *others = said
    return {
        key: value
        for key, value in first.items()
        if all(key in other and _text(other[key]) == _text(value) for other in others)
    }


def _text(value: Any) -> str:
    """As it stands in JSON, texts without quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(shortened(text, _VALUE_LIMIT)) if value is not None else "none"


def _shared(said: dict[str, Facts]) -> str:
    if not said:
        return ""
    facts = _common([_flat(each) for each in said.values()])
    rows = tuple((code(key), _text(value)) for key, value in sorted(facts.items()))
    if not rows:
        return ""
    who = "all engines found" if len(said) > 1 else "the engine found"
    table = as_markdown(Table((Column("fact"), Column("value")), rows))
    return details(f"What {who}, the effective configuration included", table)


def _installed(environment: Mapping[str, Any]) -> str:
    return _distributions(
        "Installed distributions that can move a number", environment.get("versions")
    )


def _imported(said: dict[str, Facts]) -> str:
    """What the engines had imported, when they agree; else the first one's, and that it is."""
    lists = [facts["versions"] for facts in said.values() if facts.get("versions")]
    if not lists:
        return ""
    whose = "all engines" if all(each == lists[0] for each in lists) else "the first engine"
    return _distributions(f"Distributions imported by {whose}", lists[0])


def _distributions(title: str, versions: Any) -> str:
    if not isinstance(versions, Mapping) or not versions:
        return ""
    known = [f"{code(str(name))} {plain(str(v))}" for name, v in sorted(versions.items()) if v]
    return details(f"{title}: {len(known)}", ", ".join(known)) if known else ""


def _variables(environment: Mapping[str, Any]) -> str:
    """Of the first sitting; what changed later is told there."""
    variables = sittings_of(environment)[0].get("environment")
    if not isinstance(variables, Mapping) or not variables:
        return ""
    rows = tuple(
        (code(str(name)), plain(shortened(str(value), _VALUE_LIMIT)))
        for name, value in sorted(variables.items())
    )
    table = as_markdown(Table((Column("variable"), Column("value")), rows))
    return details(f"Environment variables that can move a number: {len(rows)}", table)
