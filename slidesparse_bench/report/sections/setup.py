"""What ran and on what."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from slidesparse_bench.records import RunState
from slidesparse_bench.redact import redact_yaml
from slidesparse_bench.report.blocks import (
    Block,
    Head,
    Listing,
    chain,
    fold,
    grid,
    heading,
    left,
    paragraph,
)
from slidesparse_bench.report.changes import changes_of
from slidesparse_bench.report.moments import when
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import (
    Code,
    Recorded,
    Text,
    is_empty,
    joined,
    say,
)
from slidesparse_bench.sittings import CODE_SHOWN, sittings_of

_STATES = {
    RunState.RUNNING: say("running"),
    RunState.FINISHED: say("finished"),
    RunState.INTERRUPTED: say("interrupted"),
}


def section(view: RunView) -> list[Block]:
    facts = _facts(view)
    missing = [name for name, text in facts if is_empty(text)]
    title = say("What ran and on what")
    return chain(
        heading(2, title),
        grid(
            title,
            left(say("What"), say("Value")),
            [(name, text) for name, text in facts if not is_empty(text)],
        ),
        paragraph(say("Not on record: {names}.", names=joined(", ", missing))) if missing else [],
        _sittings(view),
        _matrix(view),
    )


def _facts(view: RunView) -> list[tuple[Text, Text]]:
    environment = view.environment
    settings: list[tuple[Text, Text]] = [(say("GPU settings"), _gpu_settings(view))]
    return [
        (say("run"), Code(view.run.run_id)),
        (say("started"), when(view.run.created)),
        (say("last event"), when(view.run.updated)),
        (say("state"), _STATES[view.run.state]),
        *_origin(view),
        (say("devices"), devices(view)),
        (say("driver"), _driver(view)),
        *(settings if view.gpus else []),
        (say("host"), _host(environment.get("cpu"))),
        (say("engine"), _text(environment.get("engine"))),
        (say("versions"), _versions(environment.get("versions"))),
        (say("seed"), _text(environment.get("seed"))),
        ("Python", _text(environment.get("python"))),
        (say("platform"), _text(environment.get("platform"))),
        ("slidesparse-bench", _text(environment.get("slidesparse_bench"))),
        (say("source"), _source(environment)),
        (say("command"), command_line(environment.get("command"))),
        (say("matrix SHA-256"), Code(view.run.matrix_sha256)),
    ]


def _origin(view: RunView) -> list[tuple[Text, Text]]:
    """Where an imported run comes from."""
    said = view.imported
    if not said:
        return []
    where = joined(", ", [Code(str(said[key])) for key in ("format", "source") if said.get(key)])
    how = joined(", ", [str(said[key]) for key in ("tool", "time") if said.get(key)])
    return [(say("imported from"), where), (say("imported by"), how)]


def devices(view: RunView) -> Text:
    """`2 x NVIDIA H200 (139.8 GiB, compute capability 9.0)`; empty when not on record."""
    if view.is_fake:
        return say("none; the fake engine computes nothing")
    if view.is_cpu:
        why = _text(view.environment.get("nvml"))
        if why in {"", "ok"}:
            return say("no GPU; vLLM ran on the CPU")
        return say("no GPU (NVML: {why}); vLLM ran on the CPU", why=Recorded(why))
    kinds = [_device(gpu) for gpu in view.gpus]
    numbers = [(kinds.count(kind), kind) for kind in dict.fromkeys(kinds)]
    return joined(", ", [say("{n} x {device}", n=n, device=kind) for n, kind in numbers])


def _driver(view: RunView) -> Text:
    if not view.gpus:
        return say("none") if view.is_fake or view.is_cpu else ""
    driver, cuda = view.gpus[0].get("driver"), view.gpus[0].get("cuda_driver")
    return _text(driver) + (f" (CUDA {cuda})" if driver and cuda else "")


def command_line(command: Any) -> Text:
    """A recorded command, whether as one text or as a list of arguments."""
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    return Code(str(command)) if command else ""


def _device(gpu: Mapping[str, Any]) -> Text:
    memory, capability = gpu.get("memory_gib"), gpu.get("compute_capability")
    if isinstance(capability, list):
        capability = ".".join(map(str, capability))
    parts: list[Text] = []
    if isinstance(memory, (int, float)):
        parts.append(f"{memory:.1f} GiB")
    if capability:
        parts.append(say("compute capability {capability}", capability=str(capability)))
    name: Text = _text(gpu.get("name")) or say("GPU of unknown name")
    return say("{name} ({facts})", name=name, facts=joined(", ", parts)) if parts else name


def _host(cpu: Any) -> Text:
    if not isinstance(cpu, Mapping):
        return _text(cpu)
    memory = cpu.get("memory_gib")
    parts: list[Text] = [_text(cpu.get("model"))]
    if cpu.get("cores"):
        parts.append(say("{n} cores", n=str(cpu["cores"])))
    if isinstance(memory, (int, float)):
        parts.append(say("{amount} GiB of memory", amount=f"{memory:.0f}"))
    return joined(", ", parts)


def _gpu_settings(view: RunView) -> Text:
    """`power limit 700 W, ECC on`, once for all GPUs when they are set alike."""
    texts = {f"GPU {gpu.get('index', n)}": _settings(gpu) for n, gpu in enumerate(view.gpus)}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    unknown = say("not recorded")
    return joined(
        "; ",
        [
            say("{gpu}: {settings}", gpu=label, settings=unknown if is_empty(text) else text)
            for label, text in texts.items()
        ],
    )


def _settings(gpu: Mapping[str, Any]) -> Text:
    numbers: list[Text] = [
        say("{setting} {amount} {unit}", setting=words, amount=f"{gpu[name]:g}", unit=unit)
        for name, words, unit in _AMOUNTS
        if isinstance(gpu.get(name), (int, float))
    ]
    switches: list[Text] = [
        say("{switch} on", switch=words) if gpu[name] else say("{switch} off", switch=words)
        for name, words in _SWITCHES
        if isinstance(gpu.get(name), bool)
    ]
    pcie: list[Text] = [f"PCIe {_text(gpu['pcie'])}"] if gpu.get("pcie") else []
    return joined(", ", [*numbers, *switches, *pcie])


_AMOUNTS = (
    ("power_limit_w", say("power limit"), "W"),
    ("application_sm_clock_mhz", say("application SM clock"), "MHz"),
    ("max_sm_clock_mhz", say("highest SM clock"), "MHz"),
)
_SWITCHES: tuple[tuple[str, Text], ...] = (
    ("persistence_mode", say("persistence mode")),
    ("ecc", "ECC"),
    ("mig", "MIG"),
)
_FIRST = re.compile(
    r"vllm.*|torch|triton|transformers|compressed-tensors|nvidia-cu(blas|sparselt).*"
)
"""Distributions that readers look for; the others are in the section on engines."""


def _versions(versions: Any) -> Text:
    """The first among them; all are listed in the section on engines."""
    if not isinstance(versions, Mapping):
        return _text(versions)
    known = {str(name): version for name, version in versions.items() if version is not None}
    first: list[Text] = [
        f"{name} {known[name]}" for name in sorted(known) if _FIRST.fullmatch(name)
    ]
    hidden = len(known) - len(first)
    more = [say("{n} more under Engines", n=hidden)] if hidden else []
    return joined(", ", [*first, *more])


def _source(environment: Mapping[str, Any]) -> Text:
    """The checkout of the first sitting, and the modules that ran in all of them."""
    git = environment.get("git")
    values = git if isinstance(git, Mapping) else {}
    known = {str(name): value for name, value in values.items() if value is not None}
    told = [_pair(name, value) for name, value in known.items()]
    sittings = sittings_of(environment)
    codes: dict[str, list[str]] = {}
    for number, sitting in enumerate(sittings, start=1):
        if code := str(sitting.get("code") or ""):
            codes.setdefault(code[:CODE_SHOWN], []).append(str(number))
    for code, numbers in codes.items():
        modules = say("modules with SHA-256 {code}", code=Code(code))
        everywhere = len(numbers) == len(sittings)
        told.append(modules if everywhere else _in_sittings(modules, numbers))
    return joined(", ", told)


def _in_sittings(what: Text, numbers: list[str]) -> Text:
    return say("{what} (sitting {numbers})", what=what, numbers=joined(", ", numbers))


def _pair(name: str, value: Any) -> Text:
    if name == "modified" and isinstance(value, bool):
        return say("modified") if value else say("not modified")
    if name == "commit":
        return say("commit {commit}", commit=str(value))
    return f"{name} {value}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _sittings(view: RunView) -> list[Block]:
    """Every command that worked on this run, when there was more than one."""
    sittings = sittings_of(view.environment)
    if len(sittings) < 2:
        return []
    changed = {change.began: change for change in changes_of(view.environment)}
    rows: list[tuple[Text, ...]] = []
    for number, sitting in enumerate(sittings, start=1):
        began = str(sitting.get("began"))
        told: Text = joined(", ", changed[began].told) if began in changed else say("nothing")
        rows.append(
            (number, when(began), command_line(sitting.get("command")), told if rows else "")
        )
    title = say("Sittings")
    return chain(
        heading(3, title),
        paragraph(say("{n} commands worked on this run:", n=len(rows))),
        grid(
            title,
            [
                Head("n", right=True),
                *left(say("began"), say("command"), say("changed since the one before")),
            ],
            rows,
        ),
    )


def _matrix(view: RunView) -> list[Block]:
    if not view.inputs.matrix_text.strip():
        return paragraph(say("The matrix is not on record."))
    if view.imported:
        # It lists every cell by its id: a thousand lines that say nothing more than the last table.
        where = say("The imported cells, as a matrix: `{folder}/matrix.yaml`.", folder=view.folder)
        return paragraph(where)
    return fold(
        say("The matrix, as it was run"), [Listing(redact_yaml(view.inputs.matrix_text), "yaml")]
    )
