"""Failed cells by class, cells that recovered, cells that were never started."""

from __future__ import annotations

from collections import Counter
from typing import Any

from slidesparse_bench.records import CellState, Failure
from slidesparse_bench.report import advice
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.groups import Series
from slidesparse_bench.report.markdown import (
    blocks,
    bullets,
    code,
    counted,
    details,
    fence,
    m_ranges,
    plain,
    shortened,
)
from slidesparse_bench.report.sections.attempts import all_attempts, ending, evidence_text, tried
from slidesparse_bench.report.view import RunView, grouped, without_numbers

CAUSES_SHOWN = 3
_LINE_LIMIT = 400


def section(view: RunView) -> str:
    """Everything about cells that failed, the most frequent class first."""
    failed = view.in_state(CellState.FAILED)
    classes = Counter(each.failure_class for each in failed).most_common()
    return blocks(
        [
            "## Failures",
            "" if failed else "No cell failed.",
            *(
                _class_block(view, name, [v for v in failed if v.failure_class == name])
                for name, _ in classes
            ),
            _recovered(view),
        ]
    )


def _class_block(view: RunView, name: str, cells: list[CellView]) -> str:
    explanation = advice.explain(name)
    return blocks(
        [
            f"### {code(name)}: {counted(len(cells), 'cell')}",
            bullets(
                [
                    f"**What it is:** {explanation.what}",
                    f"**Symptom:** {_symptom(cells)}",
                    f"**Verdict:** {_verdict(cells)}",
                    f"**Advice:** {_advice(explanation.advice, cells)}",
                    *_facts(cells),
                    *_foreseen(cells),
                ]
            ),
            "Affected cells:",
            affected(view, cells),
            _root_causes(cells),
            "What was tried:",
            tried(cells),
            all_attempts(view, cells),
        ]
    )


def _symptom(cells: list[CellView]) -> str:
    """How the last attempts ended, and in which phase."""
    endings = Counter(ending(view.attempt) for view in cells)
    return "; ".join(f"{text} ({counted(n, 'cell')})" for text, n in endings.most_common())


def _verdict(cells: list[CellView]) -> str:
    verdicts = Counter(view.failure.verdict for view in cells if view.failure)
    if not verdicts:
        return "none on record"
    return "; ".join(f"{code(v.value)}, {advice.VERDICTS[v]}" for v, _ in verdicts.most_common())


def _advice(general: str, cells: list[CellView]) -> str:
    """The hints for these very cells, one of each wording, and once the class's advice."""
    hints = [view.failure.hint for view in cells if view.failure]
    without_advice = [hint.removesuffix(general).strip() for hint in hints]
    own = [plain(same[0]) for same in grouped(without_advice, without_numbers).values() if same[0]]
    return " ".join([*own[:CAUSES_SHOWN], general])


def _facts(cells: list[CellView]) -> list[str]:
    """Numbers the explanation rests on, as a range over the cells; not what the log line says."""
    values: dict[str, list[Any]] = {}
    for failure in [view.failure for view in cells if view.failure]:
        for name, value in failure.facts.items():
            if not (isinstance(value, str) and value in failure.root_cause):
                values.setdefault(name, []).append(value)
    texts = [f"{code(name)} {_range(found)}" for name, found in sorted(values.items())]
    return [f"**Facts:** {', '.join(texts)}"] if texts else []


def _range(values: list[Any]) -> str:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        ends = dict.fromkeys(f"{end:.6g}" for end in (min(numbers), max(numbers)))
        return " … ".join(ends)
    texts = list(dict.fromkeys(shortened(str(value), 60) for value in values))
    shown = ", ".join(plain(text) for text in texts[:CAUSES_SHOWN])
    return f"{shown}, …" if len(texts) > CAUSES_SHOWN else shown


def _foreseen(cells: list[CellView]) -> list[str]:
    """Whether the plan had said so: a warning that came true is worth trusting next time."""
    warnings = Counter(str(text) for v in cells for text in v.planned.get("warnings") or [])
    return [
        f"**The plan had warned** of {counted(count, 'cell')}: {plain(text)}"
        for text, count in warnings.most_common(CAUSES_SHOWN)
    ]


def affected(view: RunView, cells: list[CellView]) -> str:
    """One line per series, its M collapsed into ranges of the planned ones."""
    members = {name: _ms(same) for name, same in grouped(cells, _series_name).items()}
    planned = {name: _ms(same) for name, same in grouped(view.cells, _series_name).items()}
    lines = [
        f"{name}: M = {m_ranges(ms, planned[name])} ({len(ms)} of {len(planned[name])})"
        if ms
        else code(name)
        for name, ms in members.items()
    ]
    listing = bullets(lines)
    return details(f"{len(lines)} series", listing) if len(lines) > 12 else listing


def _ms(cells: list[CellView]) -> list[int]:
    return [view.cell.m for view in cells if view.cell]


def _series_name(view: CellView) -> str:
    if view.cell is None:
        return view.id
    cell = view.cell
    return f"{cell.model} {cell.quantization.upper()} {Series.of(cell).name} {cell.stage}"


def _root_causes(cells: list[CellView]) -> str:
    """The lines of the logs, one for each wording; numbers and addresses do not make another."""
    failures = [view.failure for view in cells if view.failure]
    if not failures:
        return "No root cause is on record."
    same = grouped(failures, lambda failure: without_numbers(failure.root_cause))
    wordings = sorted(same.values(), key=len, reverse=True)
    parts = [_root_cause(same) for same in wordings[:CAUSES_SHOWN]]
    hidden = len(wordings) - CAUSES_SHOWN
    more = f"{counted(hidden, 'more wording')}: see the attempts below." if hidden > 0 else ""
    return blocks([*parts, more])


def _root_cause(same: list[Failure]) -> str:
    where = evidence_text(same[0])
    others = f" (and {counted(len(same) - 1, 'other cell')} alike)" if len(same) > 1 else ""
    line = shortened(same[0].root_cause, _LINE_LIMIT) or "(an empty line)"
    return blocks([f"Root cause, {where}{others}:", fence(line, "text")])


def _recovered(view: RunView) -> str:
    """Cells that passed in the end: their number stands on other settings, or on luck."""
    cells = [
        each
        for each in view.in_state(CellState.PASSED)
        if any(attempt.failure for attempt in each.record.attempts)
    ]
    if not cells:
        return ""
    return blocks(
        [
            f"### Passed after a failure: {counted(len(cells), 'cell')}",
            affected(view, cells),
            tried(cells),
            all_attempts(view, cells),
        ]
    )
