"""Cells that ran short of memory: what they need by the plan's model, and on which GPU they fit.

Values only: `sections.memory` puts them in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.feasibility import (
    DEFAULT_UTILIZATION,
    KNOWN_DEVICES,
    MARGIN_BYTES,
    Demand,
    FitVerdict,
    KnownDevice,
    predict,
)
from slidesparse_bench.memory_model import MemoryNeed, memory_need
from slidesparse_bench.models.catalog import CATALOG, Architecture
from slidesparse_bench.records import Attempt, CellState
from slidesparse_bench.report.cell_view import CellView
from slidesparse_bench.report.view import RunView
from slidesparse_bench.units import GIB

OF_MEMORY = frozenset({"oom_device", "oom_weights", "kv_cache_insufficient"})
"""Failure classes that more memory would mend."""
_FULL = 1.0


class Judgement(Enum):
    """What the settings of the same GPU can do about a cell."""

    HARDWARE_LIMIT = "more than the device can give, at any setting"
    TOO_MUCH = "more than the device can give, by the estimate"
    A_SETTING = "a setting exists by the estimate"
    STARTS_ONLY = "an engine starts at some setting, but M sequences do not fit at once"
    BY_PLAN = "the plan kept it from being started: certainly too much at any setting"
    CONTRADICTED = "the estimate says that it fits, an attempt showed that it does not"


@dataclass(frozen=True)
class Room:
    """Memory of the GPU that ran, and the largest share of it that an engine could start with.

    `startable` is what the driver left free at start-up, where an attempt was refused for it.
    """

    device: DeviceFacts
    startable: float

    @property
    def most_bytes(self) -> float:
        return self.device.memory_bytes * self.startable


@dataclass(frozen=True)
class CellNeed:
    """One cell without a number for want of memory, and what it would have taken.

    `need` is what the run asked of the memory, `ours` what this program would: the same, unless
    another tool ran.
    """

    view: CellView
    cell: Cell
    need: MemoryNeed
    ours: MemoryNeed
    room: Room

    @property
    def wanted_bytes(self) -> int:
        """The estimate with its margin."""
        return self.need.total + MARGIN_BYTES

    @property
    def wanted_here_bytes(self) -> int:
        """The same for this program, whose engine holds the M sequences of decode at once."""
        need = self.ours if self.cell.stage is Stage.DECODE else self.need
        return need.total + MARGIN_BYTES

    @property
    def tried(self) -> list[float]:
        """Values of `gpu_memory_utilization` that attempts used."""
        used = {
            each.engine_args.get("gpu_memory_utilization") for each in self.view.record.attempts
        }
        return sorted(value for value in used if isinstance(value, float))

    @property
    def utilization(self) -> float:
        """The smallest `gpu_memory_utilization` that the estimate asks for, in steps of 0.01."""
        return self._share(self.wanted_bytes)

    @property
    def advised(self) -> float:
        """The one to try with this program."""
        return self._share(self.wanted_here_bytes)

    def _share(self, size: int) -> float:
        return -(-size * 100 // self.room.device.memory_bytes) / 100

    @property
    def judgement(self) -> Judgement:
        """What was seen comes before what is estimated."""
        if self.view.failure_class == "oom_weights":
            return Judgement.HARDWARE_LIMIT
        if self.view.state is CellState.SKIPPED:
            return Judgement.BY_PLAN
        if self.need.certain > self.room.most_bytes:
            return Judgement.HARDWARE_LIMIT
        if self.utilization > self.room.startable:
            return Judgement.TOO_MUCH
        if self._was_refuted:
            return Judgement.CONTRADICTED
        starts_only = self.advised > self.room.startable
        return Judgement.STARTS_ONLY if starts_only else Judgement.A_SETTING

    @property
    def _was_refuted(self) -> bool:
        """Whether an attempt showed that this setting does not do.

        One that was refused at start-up (`gpu_memory_busy`) refutes nothing.
        """
        return any(map(self._refutes, self.view.record.attempts))

    def _refutes(self, attempt: Attempt) -> bool:
        """Too little KV cache refutes less memory; running out beside it refutes more.

        Running out before it was reserved refutes every setting: there the engine may use all.
        """
        used = attempt.engine_args.get("gpu_memory_utilization")
        if attempt.failure is None or not isinstance(used, float):
            return False
        if attempt.failure.failure_class == "kv_cache_insufficient":
            return used >= self.utilization
        if attempt.failure.failure_class == "oom_device":
            reserved = attempt.failure.facts.get("kv_cache_reserved") is True
            return not reserved or used <= self.utilization
        return False

    @cached_property
    def fitting(self) -> list[KnownDevice]:
        """GPUs on which the plan says `fits` at the default utilization, the smallest first."""
        architecture = CATALOG[self.cell.model]
        args = {"gpu_memory_utilization": DEFAULT_UTILIZATION}
        fits = [
            known
            for known in KNOWN_DEVICES
            if predict(self.cell, architecture, known.facts, args).verdict is FitVerdict.FITS
        ]
        return sorted(fits, key=lambda known: known.cuda_mib)


def needs_of(view: RunView) -> list[CellNeed]:
    """Of every cell that failed, or was skipped, for memory and whose model is known."""
    room = room_of(view)
    if room is None:
        return []
    return [
        _need(view, each, each.cell, CATALOG[each.cell.model], room)
        for each in short_of_memory(view)
        if each.cell and each.cell.model in CATALOG
    ]


def short_of_memory(view: RunView) -> list[CellView]:
    """Cells without a number for want of memory, of known models or not."""
    failed = [e for e in view.in_state(CellState.FAILED) if e.failure_class in OF_MEMORY]
    skipped = [
        each
        for each in view.in_state(CellState.SKIPPED)
        if each.planned.get("verdict") == FitVerdict.DOES_NOT_FIT
        or (each.failure and each.failure_class in OF_MEMORY)
    ]
    return [*failed, *skipped]


def room_of(view: RunView) -> Room | None:
    """The memory of the run's first GPU; None when it is not on record, or there is none."""
    if not view.gpus:
        return None
    device = _device(view.gpus[0])
    return Room(device, _startable(view)) if device else None


def _device(gpu: Mapping[str, Any]) -> DeviceFacts | None:
    memory, capability = gpu.get("memory_gib"), gpu.get("compute_capability")
    if not isinstance(memory, (int, float)) or memory <= 0:
        return None
    parts = capability.split(".") if isinstance(capability, str) else list(capability or ())
    digits = [int(part) for part in parts if str(part).isdecimal()]
    major_minor = (digits[0], digits[1]) if len(digits) == 2 else None
    name = str(gpu.get("name") or "GPU")
    return DeviceFacts(DeviceKind.CUDA, name, int(memory * GIB), major_minor)


def _startable(view: RunView) -> float:
    """The largest share with which an engine could start; 1 where nobody was refused."""
    told = [
        attempt.failure.facts.get("highest_utilization")
        for each in view.cells
        for attempt in each.record.attempts
        if attempt.failure and attempt.failure.failure_class == "gpu_memory_busy"
    ]
    return min((float(value) for value in told if isinstance(value, (int, float))), default=_FULL)


def _need(
    view: RunView, each: CellView, cell: Cell, architecture: Architecture, room: Room
) -> CellNeed:
    args = dict(each.planned.get("engine_args") or {})
    demand = Demand.of(cell.workload, {})
    ours = need = memory_need(cell, architecture, room.device, args, demand)
    if view.imported.get("format") == "slidesparse-tree":
        theirs = _public_demand(cell, demand, loaded=each.failure_class != "oom_weights")
        need = memory_need(cell, architecture, room.device, args, theirs)
    return CellNeed(each, cell, need, ours, room)


def _public_demand(cell: Cell, ours: Demand, *, loaded: bool) -> Demand:
    """Of the public scripts: room for one sequence is enough, decode prompts come in waves.

    Their loader holds the stretched matrices before it compresses them. An attempt that failed
    later has shown that this fits: under WSL2 more than the device holds, as the driver spills.
    """
    step = max(cell.m, ours.max_model_len) if cell.stage is Stage.DECODE else ours.step_tokens
    stretched = cell.sparsity is not None and not loaded
    return replace(ours, step_tokens=step, sequences=1, stretched_while_loading=stretched)


def fitting_counts(needs: list[CellNeed]) -> Iterator[tuple[KnownDevice, int]]:
    """How many of these cells fit each known GPU; only GPUs with more than the one before."""
    most = 0
    for known in sorted(KNOWN_DEVICES, key=lambda each: each.cuda_mib):
        count = sum(known in need.fitting for need in needs)
        if count > most:
            most = count
            yield known, count
