"""What a run will do: every cell with its verdict, its engine arguments and a time estimate."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slidesparse_bench.backends import DeviceFacts, DeviceKind
from slidesparse_bench.cell import Cell, Stage, Workload
from slidesparse_bench.engine_groups import GRAPHS, SIZES, Candidate, groups
from slidesparse_bench.feasibility import (
    DEFAULT_UTILIZATION,
    FitVerdict,
    MemoryEstimate,
    cpu_kv_cache_bytes,
    predict,
)
from slidesparse_bench.matrix import Matrix
from slidesparse_bench.models import ModelSource, SourceKind, resolve
from slidesparse_bench.models.sources import CONFIG
from slidesparse_bench.wire import SCHEMA_VERSION

START_UP_S = {DeviceKind.CUDA: 45.0, DeviceKind.CPU: 14.0, DeviceKind.FAKE: 0.4}
"""Process start to engine ready, vLLM 0.25 on an H200 and 0.32 on two cores; see docs/metrics.md."""
MEASURE_S = {Stage.PREFILL: 4.0, Stage.DECODE: 12.0}
LARGEST_GRAPH = 512
"""Batches up to this size run as CUDA graphs: vLLM's own limit for any larger `max_num_seqs`."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell as the plan sees it; `engine_args` are what its first attempt will use."""

    id: str
    verdict: FitVerdict
    reason: str
    memory_gib: MemoryEstimate | None
    warnings: list[str]
    engine_args: dict[str, Any]
    estimate_s: float


@dataclass(frozen=True)
class EngineGroup:
    """Cells that one engine measures, in this order; `estimate_s` includes its start."""

    cells: list[str]
    estimate_s: float


@dataclass(frozen=True)
class Plan:
    """The content of `plan.json`.

    `groups` are those of one trial; `estimate_s` is for all trials, on `lanes` devices at once.
    `model_configs` has the SHA-256 of `config.json` by model, of those with a folder of their own:
    a name alone does not tell which model it was.
    """

    name: str
    matrix_path: str
    matrix_folder: str
    matrix_sha256: str
    engine: str
    device: DeviceFacts
    infeasible: str
    isolation: str
    trials: int
    lanes: int
    cells: list[PlannedCell]
    groups: list[EngineGroup]
    estimate_s: float
    model_configs: dict[str, str] = field(default_factory=dict)
    schema_version: int = field(default=SCHEMA_VERSION)


def make_plan(
    matrix: Matrix,
    device: DeviceFacts,
    *,
    gpu_memory_utilization: float | None = None,
    isolation: str | None = None,
    lanes: int = 1,
) -> Plan:
    """Judge every cell of a matrix for a device, which need not be in this machine.

    `isolation` and `gpu_memory_utilization` replace the matrix's; `lanes` is how many devices of
    that kind work at once.
    """
    sources = Sources(matrix)
    cells = [
        _plan_cell(cell, matrix, sources.of(cell), device, gpu_memory_utilization)
        for cell in matrix.cells()
    ]
    plan = Plan(
        name=matrix.name,
        matrix_path=str(matrix.path),
        matrix_folder=str(matrix.folder),
        matrix_sha256=matrix.sha256,
        engine=matrix.engine,
        device=device,
        infeasible=matrix.infeasible,
        isolation=isolation or matrix.isolation,
        trials=matrix.trials,
        lanes=lanes,
        cells=cells,
        groups=[],
        estimate_s=0.0,
        model_configs=sources.configs(),
    )
    return selected(plan, matrix, [cell.id for cell in cells])


def selected(plan: Plan, matrix: Matrix, cell_ids: Iterable[str]) -> Plan:
    """The part of a plan that concerns these cells, grouped anew."""
    wanted = set(cell_ids)
    cells = [cell for cell in plan.cells if cell.id in wanted]
    grouped = engine_groups(cells, matrix, plan.device.kind, plan.isolation, plan.lanes)
    total_s = plan.trials * sum(group.estimate_s for group in grouped)
    return replace(plan, cells=cells, groups=grouped, estimate_s=total_s / plan.lanes)


def engine_groups(
    cells: Iterable[PlannedCell], matrix: Matrix, kind: DeviceKind, isolation: str, lanes: int
) -> list[EngineGroup]:
    """The cells that will run, by the engine that measures them; work for every lane."""
    candidates = [
        Candidate(
            cell=(cell := Cell.parse(planned.id)),
            engine_args=planned.engine_args,
            fixed=frozenset(matrix.engine_args_for(cell)),
            timeouts=matrix.timeouts_for(cell),
            verdict=planned.verdict,
            memory_gib=planned.memory_gib,
        )
        for planned in cells
        if will_run(planned, matrix.infeasible)
    ]
    if isolation == "cell":
        parts = [[candidate.cell] for candidate in candidates]
    else:
        parts = groups(candidates, at_least=lanes)
    return [
        EngineGroup([cell.id for cell in part], START_UP_S[kind] + _measure_s(part, matrix, kind))
        for part in parts
    ]


def _measure_s(cells: Iterable[Cell], matrix: Matrix, kind: DeviceKind) -> float:
    """What the matrix asks of a cell, and never less than cells took (`MEASURE_S`)."""
    if kind is DeviceKind.FAKE:
        return 0.0
    asked = {cell: matrix.measurement_for(cell) for cell in cells}
    return sum(
        max(MEASURE_S[cell.stage], each.min_warmup_s + each.lead_in_s + each.min_measure_s)
        for cell, each in asked.items()
    )


def will_run(cell: PlannedCell, infeasible: str) -> bool:
    """Whether a run tries this cell: `infeasible` is the matrix's word, `skip` or `try`."""
    if cell.verdict is FitVerdict.UNSUPPORTED:
        return False
    return cell.verdict is not FitVerdict.DOES_NOT_FIT or infeasible == "try"


class Sources:
    """The model behind each cell, resolved once per model and quantization."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._resolved: dict[tuple[str, str], ModelSource] = {}

    def of(self, cell: Cell) -> ModelSource:
        """Where the weights and the architecture of a cell come from."""
        key = (cell.model, cell.quantization)
        if key not in self._resolved:
            entry = self._matrix.model(cell.model)
            self._resolved[key] = resolve(entry, cell.quantization)
        return self._resolved[key]

    def configs(self) -> dict[str, str]:
        """SHA-256 of `config.json` by model, of the models resolved so far that are somebody's."""
        found = {}
        for (name, _), source in self._resolved.items():
            # Of a folder with a mere configuration `source.folder` is the copy that we write.
            folder = self._matrix.model(name).path or source.folder
            if source.kind is not SourceKind.BUILTIN:
                with contextlib.suppress(OSError):
                    text = (Path(folder).expanduser() / CONFIG).read_bytes()
                    found[name] = hashlib.sha256(text).hexdigest()
        return found


def engine_args(
    cell: Cell, matrix: Matrix, source: ModelSource, device: DeviceFacts, changes: dict[str, Any]
) -> dict[str, Any]:
    """vLLM's engine arguments of one attempt: the method's, the matrix's, then a retry's."""
    workload = cell.workload
    chosen = {**matrix.engine_args_for(cell), **changes}
    max_model_len = int(chosen.get("max_model_len") or workload.max_model_len)
    arguments = {
        "max_model_len": max_model_len,
        "max_num_seqs": workload.max_num_seqs,
        # vLLM refuses a step smaller than its longest sequence when prefills are not chunked.
        "max_num_batched_tokens": max(workload.max_num_batched_tokens, max_model_len),
        "enable_prefix_caching": False,
        "enable_chunked_prefill": False,
        "gpu_memory_utilization": DEFAULT_UTILIZATION,
        **chosen,
    }
    if device.kind is DeviceKind.CUDA and not arguments.get("enforce_eager"):
        arguments[GRAPHS] = _with_graph_sizes(chosen.get(GRAPHS), workload)
    if device.kind is DeviceKind.CPU and source.architecture is not None:
        arguments.setdefault("kv_cache_memory_bytes", _cpu_cache(arguments, source, device))
    return arguments


def _with_graph_sizes(compilation_config: Any, workload: Workload) -> Any:
    """CUDA graphs for exactly the batches of this cell, unless the matrix says otherwise.

    vLLM derives the sizes from `max_num_seqs` and pads a batch to the next of them: what runs then
    depends on who shares the engine, and has more rows than M.
    """
    if compilation_config is not None and not isinstance(compilation_config, dict):
        return compilation_config
    sizes = sorted({size for size in workload.step_sizes if size <= LARGEST_GRAPH})
    return {SIZES: sizes or [1], **(compilation_config or {})}


def _cpu_cache(arguments: dict[str, Any], source: ModelSource, device: DeviceFacts) -> int:
    """A CPU has no memory of its own: the matrix's budget stands in for it, by the same rule."""
    assert source.architecture is not None
    utilization = float(arguments["gpu_memory_utilization"])
    weights = source.architecture.weight_bytes
    return max(0, int(cpu_kv_cache_bytes(device.memory_bytes, utilization, weights)))


def _plan_cell(
    cell: Cell,
    matrix: Matrix,
    source: ModelSource,
    device: DeviceFacts,
    gpu_memory_utilization: float | None,
) -> PlannedCell:
    changes = {}
    if gpu_memory_utilization is not None:
        changes["gpu_memory_utilization"] = gpu_memory_utilization
    arguments = engine_args(cell, matrix, source, device, changes)
    # The CPU's cache size is derived from the utilization, which the prediction varies itself.
    fixed = {**matrix.engine_args_for(cell), **changes}
    prediction = predict(
        cell,
        source.architecture,
        device,
        {k: v for k, v in arguments.items() if k != "kv_cache_memory_bytes" or k in fixed},
        utilization_ladder=matrix.retry_for(cell).utilization_ladder,
    )
    verdict, reason = prediction.verdict, prediction.reason
    ranks = int(arguments.get("tensor_parallel_size") or 1)
    if ranks > 1 and device.kind is DeviceKind.CUDA:
        verdict = FitVerdict.UNSUPPORTED
        reason = f"tensor_parallel_size {ranks}: this version gives every cell one GPU"
    return PlannedCell(
        id=cell.id,
        verdict=verdict,
        reason=reason,
        memory_gib=prediction.memory,
        warnings=[*prediction.warnings, *([source.missing] if source.missing else [])],
        engine_args=arguments,
        estimate_s=START_UP_S[device.kind] + _measure_s([cell], matrix, device.kind),
    )
