"""Failed cells by class, cells that recovered, and what all failed attempts were."""

from __future__ import annotations

from collections import Counter
from typing import Any

from slidesparse_bench.records import CellState, Failure
from slidesparse_bench.report import advice
from slidesparse_bench.report.blocks import (
    Block,
    Bullets,
    Head,
    Listing,
    bullets,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
    right,
)
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.index_limits import meaning_of, overflow_text
from slidesparse_bench.report.markdown import m_ranges, shortened
from slidesparse_bench.report.sections.attempts import all_attempts, ending, evidence_text, tried
from slidesparse_bench.report.view import RunView, grouped, without_numbers
from slidesparse_bench.report.words import (
    Code,
    Count,
    Recorded,
    Text,
    counted,
    joined,
    say,
    sentences,
)

CAUSES_SHOWN = 3
_LINE_LIMIT = 400


def section(view: RunView) -> list[Block]:
    """Everything about cells that failed, the most frequent class first."""
    failed = view.in_state(CellState.FAILED)
    classes = Counter(each.failure_class for each in failed).most_common()
    return chain(
        heading(2, say("Failures")),
        [] if failed else paragraph(say("No cell failed.")),
        _all_classes(view),
        *(
            _class_block(view, name, [v for v in failed if v.failure_class == name])
            for name, _ in classes
        ),
        _recovered(view),
    )


def _all_classes(view: RunView) -> list[Block]:
    """What every failed attempt was, also where its cell passed or failed of something else."""
    found = [
        (each, attempt.failure)
        for each in view.cells
        for attempt in each.record.attempts
        if attempt.failure
    ]
    if len({failure.failure_class for _, failure in found}) < 2:
        return []

    def tried_at(name: str) -> list[CellView]:
        return list({each.id: each for each, f in found if f.failure_class == name}.values())

    counts = Counter(failure.failure_class for _, failure in found)
    failed = Counter(each.failure_class for each in view.in_state(CellState.FAILED))
    rows = [
        (
            Code(name),
            count,
            len(tried_at(name)),
            failed[name],
            Code(advice.explain(name).verdict.value),
            meaning_of(name, tried_at(name)),
        )
        for name, count in counts.most_common()
    ]
    title = say("All failed attempts by their first cause, also those at cells that passed later:")
    heads = [
        Head(say("class")),
        *right(say("attempts"), say("cells tried"), say("cells failed of it")),
        *left(say("verdict"), say("what it is")),
    ]
    table = grid(say("Failed attempts by class"), heads, rows)
    return chain(paragraph(title), table, _refused_at_start(found))


def _refused_at_start(found: list[tuple[CellView, Failure]]) -> list[Block]:
    """Attempts that were refused for memory that was not free: a setting was wrong, no cell."""
    refused = [(each, f.facts) for each, f in found if f.failure_class == "gpu_memory_busy"]
    asked = [facts["utilization"] for _, facts in refused if _is_number(facts.get("utilization"))]
    free = [facts.get("highest_utilization") for _, facts in refused]
    known = [value for value in free if _is_number(value)]
    if not asked or not known:
        return []
    return paragraph(
        say(
            "**Refused at start-up:** {attempts} at {cells} asked for a `gpu_memory_utilization` of "
            "{asked} when {free} could start. Nothing ran, so nothing is known of these cells from "
            "them; asking for still more could not help.",
            attempts=counted(len(refused), "attempt"),
            cells=counted(len({each.id for each, _ in refused}), "cell"),
            asked=_range(asked),
            free=_range(known),
        )
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _class_block(view: RunView, name: str, cells: list[CellView]) -> list[Block]:
    facts: list[Text] = [
        say("**What it is:** {what}", what=meaning_of(name, cells)),
        say("**Symptom:** {endings}", endings=_symptom(cells)),
        say("**Verdict:** {verdict}", verdict=_verdict(cells)),
        *overflow_text(view, name, cells),
        say("**Advice:** {advice}", advice=_advice(advice.explain(name).advice, cells)),
        *_facts(cells),
        *_foreseen(cells),
        say("**Conclusion:** {conclusion}", conclusion=_conclusion(cells)),
    ]
    title = say("{name}: {cells}", name=Code(name), cells=counted(len(cells), "cell"))
    return chain(
        heading(3, title),
        bullets(facts),
        paragraph(say("Affected cells:")),
        affected(view, cells),
        _root_causes(cells),
        paragraph(say("What was tried:")),
        tried(cells),
        all_attempts(view, cells),
    )


def _symptom(cells: list[CellView]) -> Text:
    """How the last attempts ended, and in which phase."""
    endings = Counter(ending(view.attempt) for view in cells)
    return joined(
        "; ",
        [
            say("{ending} ({cells})", ending=text, cells=counted(n, "cell"))
            for text, n in endings.most_common()
        ],
    )


def _verdict(cells: list[CellView]) -> Text:
    verdicts = Counter(view.failure.verdict for view in cells if view.failure)
    if not verdicts:
        return say("none on record")
    return joined(
        "; ",
        [
            say("{verdict}, {meaning}", verdict=Code(v.value), meaning=advice.VERDICTS[v])
            for v, _ in verdicts.most_common()
        ],
    )


def _conclusion(cells: list[CellView]) -> Text:
    verdicts = Counter(view.failure.verdict for view in cells if view.failure)
    if not verdicts:
        return say("none: no cause is on record")
    return joined("; ", [advice.CONCLUSIONS[verdict] for verdict, _ in verdicts.most_common()])


def _advice(general: str, cells: list[CellView]) -> Text:
    """The hints for these very cells, one of each wording, and once the class's advice."""
    hints = [view.failure.hint for view in cells if view.failure]
    without_advice = [hint.removesuffix(general).strip() for hint in hints]
    own = [same[0] for same in grouped(without_advice, without_numbers).values() if same[0]]
    return sentences([*map(Recorded, own[:CAUSES_SHOWN]), Recorded(general, is_ours=True)])


def _facts(cells: list[CellView]) -> list[Text]:
    """The numbers of the failures, as ranges; a text that the shown line holds is no news."""
    values: dict[str, list[Any]] = {}
    for failure in [view.failure for view in cells if view.failure]:
        for name, value in failure.facts.items():
            if not (isinstance(value, str) and value in failure.root_cause):
                values.setdefault(name, []).append(value)
    texts = [
        say("{name} {value}", name=Code(name), value=_range(found))
        for name, found in sorted(values.items())
    ]
    return [say("**Facts:** {facts}", facts=joined(", ", texts))] if texts else []


def _range(values: list[Any]) -> str:
    numbers = [value for value in values if _is_number(value)]
    if len(numbers) == len(values):
        ends = dict.fromkeys(f"{end:.6g}" for end in (min(numbers), max(numbers)))
        return " … ".join(ends)
    texts = list(dict.fromkeys(shortened(str(value), 60) for value in values))
    shown = ", ".join(texts[:CAUSES_SHOWN])
    return f"{shown}, …" if len(texts) > CAUSES_SHOWN else shown


def _foreseen(cells: list[CellView]) -> list[Text]:
    """Whether the plan had said so: a warning that came true is worth trusting next time."""
    warnings = Counter(str(text) for v in cells for text in v.planned.get("warnings") or [])
    return [
        say(
            "**The plan had warned** of {cells}: {warning}",
            cells=counted(count, "cell"),
            warning=Recorded(text),
        )
        for text, count in warnings.most_common(CAUSES_SHOWN)
    ]


def affected(view: RunView, cells: list[CellView]) -> list[Block]:
    """One line per series, its M collapsed into ranges of the planned ones."""
    members = {name: _ms(same) for name, same in grouped(cells, _series_name).items()}
    planned = {name: _ms(same) for name, same in grouped(view.cells, _series_name).items()}
    lines: list[Text] = [
        say(
            "{series}: M = {ms} ({n} of {planned})",
            series=name,
            ms=m_ranges(ms, planned[name]),
            n=len(ms),
            planned=len(planned[name]),
        )
        if ms
        else Code(name)
        for name, ms in members.items()
    ]
    listing: list[Block] = [Bullets(tuple(lines))]
    return fold(Count(len(lines), "series"), listing) if len(lines) > 12 else listing


def _ms(cells: list[CellView]) -> list[int]:
    return [view.cell.m for view in cells if view.cell]


def _series_name(view: CellView) -> str:
    if view.cell is None:
        return view.id
    cell = view.cell
    return f"{cell.model} {cell.quantization.upper()} {Series.of(cell).name} {cell.stage}"


def _root_causes(cells: list[CellView]) -> list[Block]:
    """The lines of the logs, one for each wording; numbers and addresses do not make another."""
    failures = [view.failure for view in cells if view.failure]
    if not failures:
        return paragraph(say("No root cause is on record."))
    same = grouped(failures, lambda failure: without_numbers(failure.root_cause))
    wordings = sorted(same.values(), key=len, reverse=True)
    hidden = len(wordings) - CAUSES_SHOWN
    more: list[Block] = []
    if hidden > 0:
        wordings_hidden = counted(hidden, "more wording")
        more = paragraph(say("{wordings}: in the table of all cells.", wordings=wordings_hidden))
    return chain(*(_root_cause(same) for same in wordings[:CAUSES_SHOWN]), more)


def _root_cause(same: list[Failure]) -> list[Block]:
    where = evidence_text(same[0])
    if len(same) > 1:
        others = counted(len(same) - 1, "other cell")
        where = say("{place} (and {others} alike)", place=where, others=others)
    line = shortened(same[0].root_cause, _LINE_LIMIT) or "(an empty line)"
    return [*paragraph(say("Root cause, {where}:", where=where)), Listing(line, "text")]


def _recovered(view: RunView) -> list[Block]:
    """Cells that passed in the end: their number stands on other settings, or on luck."""
    cells = [
        each
        for each in view.in_state(CellState.PASSED)
        if any(attempt.failure for attempt in each.record.attempts)
    ]
    if not cells:
        return []
    title = say("Passed at a later attempt: {cells}", cells=counted(len(cells), "cell"))
    return chain(heading(3, title), affected(view, cells), tried(cells), all_attempts(view, cells))
