"""What ran and on what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from slidesparse_bench.report.changes import changes_of
from slidesparse_bench.report.markdown import blocks, code, details, fence, plain
from slidesparse_bench.report.moments import shown
from slidesparse_bench.report.table import Column, Table, Value, as_markdown
from slidesparse_bench.report.view import RunView
from slidesparse_bench.sittings import sittings_of


def section(view: RunView) -> str:
    rows = [(name, text) for name, text in _facts(view) if text]
    missing = [name for name, text in _facts(view) if not text]
    absent = f"Not on record: {', '.join(missing)}." if missing else ""
    return blocks(
        [
            "## What ran and on what",
            as_markdown(Table((Column("What"), Column("Value")), tuple(rows))),
            absent,
            _sittings(view),
            _matrix(view),
        ]
    )


def _facts(view: RunView) -> list[tuple[str, str]]:
    environment = view.environment
    return [
        ("run", code(view.run.run_id)),
        ("started", shown(view.run.created)),
        ("last event", shown(view.run.updated)),
        ("state", view.run.state.value),
        ("devices", devices(view)),
        ("driver", _driver(view)),
        *([("GPU settings", _gpu_settings(view))] if view.gpus else []),
        ("host", _host(environment.get("cpu"))),
        ("engine", _text(environment.get("engine"))),
        ("versions", _versions(environment.get("versions"))),
        ("seed", _text(environment.get("seed"))),
        ("Python", _text(environment.get("python"))),
        ("platform", _text(environment.get("platform"))),
        ("slidesparse-bench", _text(environment.get("slidesparse_bench"))),
        ("source", _pairs(environment.get("git"))),
        ("command", command_line(environment.get("command"))),
        ("matrix SHA-256", code(view.run.matrix_sha256)),
    ]


def devices(view: RunView) -> str:
    """`2 x NVIDIA H200 (139.8 GiB, compute capability 9.0)`; empty when not on record."""
    if view.is_fake:
        return "none; the fake engine computes nothing"
    if view.is_cpu:
        why = _text(view.environment.get("nvml"))
        reason = f" (NVML: {why})" if why not in {"", "ok"} else ""
        return f"no GPU{reason}; vLLM ran on the CPU"
    kinds = [_device(gpu) for gpu in view.gpus]
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds))


def _driver(view: RunView) -> str:
    if not view.gpus:
        return "none" if view.is_fake or view.is_cpu else ""
    driver, cuda = view.gpus[0].get("driver"), view.gpus[0].get("cuda_driver")
    return _text(driver) + (f" (CUDA {cuda})" if driver and cuda else "")


def command_line(command: Any) -> str:
    """A recorded command, whether as one text or as a list of arguments."""
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    return code(str(command)) if command else ""


def _device(gpu: Mapping[str, Any]) -> str:
    memory, capability = gpu.get("memory_gib"), gpu.get("compute_capability")
    if isinstance(capability, list):
        capability = ".".join(map(str, capability))
    parts = [
        f"{memory:.1f} GiB" if isinstance(memory, (int, float)) else "",
        f"compute capability {capability}" if capability else "",
    ]
    known = ", ".join(part for part in parts if part)
    name = _text(gpu.get("name")) or "GPU of unknown name"
    return f"{name} ({known})" if known else name


def _host(cpu: Any) -> str:
    if not isinstance(cpu, Mapping):
        return _text(cpu)
    memory = cpu.get("memory_gib")
    parts = [
        _text(cpu.get("model")),
        f"{cpu['cores']} cores" if cpu.get("cores") else "",
        f"{memory:.0f} GiB of memory" if isinstance(memory, (int, float)) else "",
    ]
    return ", ".join(part for part in parts if part)


def _gpu_settings(view: RunView) -> str:
    """`power limit 700 W, ECC on`, once for all GPUs when they are set alike."""
    texts = {f"GPU {gpu.get('index', n)}": _settings(gpu) for n, gpu in enumerate(view.gpus)}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{label}: {text or 'not recorded'}" for label, text in texts.items())


def _settings(gpu: Mapping[str, Any]) -> str:
    numbers = [
        f"{words} {gpu[name]:g} {unit}"
        for name, words, unit in _AMOUNTS
        if isinstance(gpu.get(name), (int, float))
    ]
    switches = [
        f"{words} {'on' if gpu[name] else 'off'}"
        for name, words in _SWITCHES
        if isinstance(gpu.get(name), bool)
    ]
    pcie = [f"PCIe {_text(gpu['pcie'])}"] if gpu.get("pcie") else []
    return ", ".join([*numbers, *switches, *pcie])


_AMOUNTS = (
    ("power_limit_w", "power limit", "W"),
    ("application_sm_clock_mhz", "application SM clock", "MHz"),
    ("max_sm_clock_mhz", "highest SM clock", "MHz"),
)
_SWITCHES = (("persistence_mode", "persistence mode"), ("ecc", "ECC"), ("mig", "MIG"))
_FIRST = re.compile(
    r"vllm.*|torch|triton|transformers|compressed-tensors|nvidia-cu(blas|sparselt).*"
)
"""Distributions that readers look for; the others are in the section on engines."""


def _versions(versions: Any) -> str:
    """The first among them; all are listed in the section on engines."""
    if not isinstance(versions, Mapping):
        return _text(versions)
    known = {str(name): version for name, version in versions.items() if version is not None}
    first = [f"{name} {known[name]}" for name in sorted(known) if _FIRST.fullmatch(name)]
    hidden = len(known) - len(first)
    return ", ".join([*first, *([f"{hidden} more under Engines"] if hidden else [])])


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return _text(values)
    known = {name: value for name, value in values.items() if value is not None}
    return plain(", ".join(_pair(str(name), value) for name, value in known.items()))


def _pair(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {value}"


def _text(value: Any) -> str:
    return "" if value is None else plain(str(value))


def _sittings(view: RunView) -> str:
    """Every command that worked on this run, when there was more than one."""
    sittings = sittings_of(view.environment)
    if len(sittings) < 2:
        return ""
    changed = {change.began: change for change in changes_of(view.environment)}
    rows: list[tuple[Value, ...]] = []
    for number, sitting in enumerate(sittings, start=1):
        began = str(sitting.get("began"))
        told = ", ".join(map(plain, changed[began].told)) if began in changed else "nothing"
        rows.append(
            (number, shown(began), command_line(sitting.get("command")), told if rows else "")
        )
    columns = (
        Column("n", right=True),
        Column("began"),
        Column("command"),
        Column("changed since the one before"),
    )
    return blocks(
        [
            "### Sittings",
            f"{len(rows)} commands worked on this run:",
            as_markdown(Table(columns, tuple(rows))),
        ]
    )


def _matrix(view: RunView) -> str:
    if not view.inputs.matrix_text.strip():
        return "The matrix is not on record."
    return details("The matrix, as it was run", fence(view.inputs.matrix_text, "yaml"))
