"""What the engines said of themselves after measuring, and what else they found in place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from slidesparse_bench.cell import Cell
from slidesparse_bench.report.blocks import (
    Block,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.markdown import shortened
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import (
    Code,
    Said,
    Text,
    counted,
    joined,
    listed,
    say,
    sentences,
)
from slidesparse_bench.sittings import provenance_of, sittings_of
from slidesparse_bench.units import format_duration

ROWS_SHOWN = 8
"""A longer table of engines is closed until the reader opens it."""
COLUMNS_SHOWN = 6
_VALUE_LIMIT = 160
_APART = ("versions", "kernels", "compile_cache", "engine", "gemms")
"""Of what an engine says: shown in another place, or, thousands of characters long, in none."""
_NOT_RECORDED = say("not recorded")

Facts = dict[str, Any]


def section(view: RunView) -> list[Block]:
    said = _said(view.environment)
    return chain(
        heading(2, say("Engines")),
        paragraph(_foreign(view) if view.imported else _introduction(said)),
        _kernels(view.environment, said),
        paragraph(sentences([_compile_cache(said), _algorithms(said)])),
        _table(view, said),
        _shared(said),
        _installed(view.environment),
        _loaded(said),
        _variables(view.environment),
    )


def _said(environment: Mapping[str, Any]) -> dict[str, Facts]:
    """By engine, oldest first; one whose description is lost is passed over."""
    engines = environment.get("engines") or {}
    return {name: said for name in engines if (said := provenance_of(environment, name))}


def _foreign(view: RunView) -> Text:
    """What is known of the processes of another tool."""
    attempts = sum(len(each.record.attempts) for each in view.cells)
    return say(
        "The engines were those of another tool ({attempts}). None described itself: which kernels "
        "its layers ran on, and its effective configuration, are not on record. The engine arguments "
        "of every attempt are in its `attempt.json`, as the foreign log printed them.",
        attempts=counted(attempts, "attempt"),
    )


def _introduction(said: dict[str, Facts]) -> Text:
    if not said:
        return say(
            "No engine left a description of itself: nothing was measured, or the run is older than "
            "that record."
        )
    return say(
        "After measuring, a worker process describes what ran in it, by looking at it: "
        "{descriptions} on record (`environment.json`).",
        descriptions=counted(len(said), "description"),
    )


def _kernels(environment: Mapping[str, Any], said: dict[str, Facts]) -> list[Block]:
    """Which kernel classes the layers of each backend ran on."""
    rows: dict[tuple[Text, ...], None] = {}
    for name, facts in said.items():
        kernels = facts.get("kernels") or {}
        classes = [
            say("{kernel} ({n})", kernel=Code(kernel), n=str(count))
            for kernel, count in sorted(kernels.items())
        ]
        for place in _places(environment["engines"][name]) if classes else ():
            rows[*place, joined(", ", classes)] = None
    heads = left(say("model"), say("quantization"), say("backend"), say("kernel classes (layers)"))
    return grid(say("Kernel classes"), heads, rows)


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


_CACHE = {
    "cold": say("cold"),
    "warm": say("warm"),
    "disabled": say("disabled"),
    "unused": say("unused"),
}


def _cache(state: Any) -> Text:
    if not state:
        return _NOT_RECORDED
    return _CACHE.get(str(state), str(state))


def _compile_cache(said: dict[str, Facts]) -> Text:
    states = Counter(str(f["compile_cache"]) for f in said.values() if f.get("compile_cache"))
    if not states:
        return ""
    texts = [
        say("{state} in {engines}", state=_cache(state), engines=counted(count, "engine"))
        for state, count in states.most_common()
    ]
    cold: list[Said] = []
    if "cold" in states:
        cold.append(
            say("Where it was cold, something had to be compiled, and `load_time_s` contains that.")
        )
    return sentences([say("vLLM's compile cache was {states}.", states=listed(texts)), *cold])


def _algorithms(said: dict[str, Facts]) -> Text:
    if not any(facts.get("gemms") for facts in said.values()):
        return ""
    return say(
        "The algorithm of every GEMM that an engine chose is in the `result.json` of its attempts "
        "(`gemms`)."
    )


def _table(view: RunView, said: dict[str, Facts]) -> list[Block]:
    """One row per engine, with what not all of them say alike."""
    if not said:
        return []
    flat = {name: _flat(facts) for name, facts in said.items()}
    shared = _common(flat.values())
    differing = list(dict.fromkeys(k for facts in flat.values() for k in facts if k not in shared))
    shown, hidden = differing[:COLUMNS_SHOWN], [Code(key) for key in differing[COLUMNS_SHOWN:]]
    starts = _start_up_s(view)
    heads = [
        *left(say("engine"), say("device"), say("cells")),
        *right(say("start-up")),
        *left(say("compile cache")),
        *right(*(key.rpartition(".")[2] for key in shown)),
    ]
    rows = [
        (
            *_engine(name, view.environment["engines"][name]),
            format_duration(starts[name]) if name in starts else _NOT_RECORDED,
            _cache(facts.get("compile_cache")),
            *(_text(flat[name].get(key)) for key in shown),
        )
        for name, facts in said.items()
    ]
    more: list[Block] = []
    if hidden:
        more = paragraph(say("They differ in {facts} as well.", facts=listed(hidden)))
    whole = chain(grid(say("Engines"), heads, rows), more)
    return fold(counted(len(rows), "engine"), whole) if len(rows) > ROWS_SHOWN else whole


def _engine(name: str, engine: Mapping[str, Any]) -> tuple[Text, Text, Text]:
    """Its name, its device and its cells."""
    number = name.removeprefix("engines/")
    device = engine.get("device")
    return (
        say("own process") if number == name else number,
        str(device) if device else _NOT_RECORDED,
        _cells_of(engine),
    )


def _cells_of(engine: Mapping[str, Any]) -> Text:
    cells = engine["cells"]
    return Code(cells[0]) if len(cells) == 1 else counted(len(cells), "cell")


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


def _text(value: Any) -> Text:
    """As it stands in JSON, texts without quotes."""
    if value is None:
        return say("none")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, _VALUE_LIMIT)


def _shared(said: dict[str, Facts]) -> list[Block]:
    if not said:
        return []
    facts = _common([_flat(each) for each in said.values()])
    rows = [(Code(key), _text(value)) for key, value in sorted(facts.items())]
    title = say("What the engine found, the effective configuration included")
    if len(said) > 1:
        title = say("What all engines found, the effective configuration included")
    return fold(title, grid(title, left(say("fact"), say("value")), rows))


def _installed(environment: Mapping[str, Any]) -> list[Block]:
    title = say("Installed distributions that can move a number")
    return _distributions(title, environment.get("versions"))


def _loaded(said: dict[str, Facts]) -> list[Block]:
    """What the engines had imported, when they agree; else the first one's, and that it is."""
    lists = [facts["versions"] for facts in said.values() if facts.get("versions")]
    if not lists:
        return []
    title = say("Distributions imported by the first engine")
    if all(each == lists[0] for each in lists):
        title = say("Distributions imported by all engines")
    return _distributions(title, lists[0])


def _distributions(title: Text, versions: Any) -> list[Block]:
    if not isinstance(versions, Mapping) or not versions:
        return []
    known = [
        say("{name} {version}", name=Code(str(name)), version=str(v))
        for name, v in sorted(versions.items())
        if v
    ]
    summary = say("{title}: {n}", title=title, n=len(known))
    return fold(summary, paragraph(joined(", ", known)))


def _variables(environment: Mapping[str, Any]) -> list[Block]:
    """Of the first sitting; what changed later is told there."""
    variables = sittings_of(environment)[0].get("environment")
    if not isinstance(variables, Mapping) or not variables:
        return []
    rows = [
        (Code(str(name)), shortened(str(value), _VALUE_LIMIT))
        for name, value in sorted(variables.items())
    ]
    title = say("Environment variables that can move a number")
    table = grid(title, left(say("variable"), say("value")), rows)
    return fold(say("{title}: {n}", title=title, n=len(rows)), table)
