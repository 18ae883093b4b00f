"""What is claimed of the GEMM backends, measured again on this machine's GPUs.

    python scripts/backend_evidence.py --work FOLDER [--gpus 0,1] [--limit-s 1500] [--only gemm,raw]

Every step is a program that can be started by hand as well; its output is FOLDER/STEP.log. Steps
of one GPU run side by side, each GPU with its share of the CPUs, and those of several have all GPUs
when they are through. A step that ended is not run again; of those that were stopped by `--limit-s`
`gemm`, `shapes`, `memory` and `run` go on, on the same machine, and the others begin anew.
`scripts/collect_evidence.py` makes the pages of what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
SLIDESPARSE = [sys.executable, "-m", "slidesparse_bench"]
GRACE_S = 60.0
"""For a step that is stopped: a campaign saves its state and ends its engine."""


@dataclass(frozen=True)
class Step:
    """One program; in its arguments `{work}` is the folder of the evidence, `{gpus}` its GPUs.

    `gpus`: how many it wants at least.
    """

    name: str
    command: list[str]
    gpus: int = 1


def gemm(name: str, models: str, sizes: str) -> Step:
    arguments = ["gemm", "--model", models, "-m", sizes, "--out", "{work}/" + name]
    return Step(name, [*SLIDESPARSE, *arguments])


def tokens(quantization: str, *, ranks: int = 1, eager: bool = False) -> Step:
    name = f"tokens-{quantization}" + (f"-tp{ranks}" if ranks > 1 else "") + "-eager" * eager
    arguments = ["--model", "llama3.2-1b", "--quantization", quantization, "--sparsity", "2:8"]
    arguments += ["--positions", "10240", "--at-once", "--work", f"{{work}}/checkpoints/{name}"]
    arguments += ["--tensor-parallel-size", str(ranks), "--out", f"{{work}}/{name}.md"]
    arguments += ["--eager"] if eager else []
    return Step(name, [sys.executable, str(SCRIPTS / "compare_tokens.py"), *arguments], gpus=ranks)


def bench(name: str, script: str) -> Step:
    return Step(name, [sys.executable, str(SCRIPTS / script), "--out", f"{{work}}/{name}.md"])


TESTS = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
MEMORY = [sys.executable, str(SCRIPTS / "decode_in_memory.py")]
MEMORY += ["--work", "{work}/memory", "--out", "{work}/memory.md"]
STEPS = (
    Step("tests", [*TESTS, "--rootdir", str(ROOT), str(ROOT / "tests" / "test_linear_gpu.py")]),
    gemm("gemm", "qwen2.5-7b", "512,4096,16384,65536"),
    bench("raw", "bench_raw_gemm.py"),
    bench("activation", "bench_activation.py"),
    bench("qkv", "bench_qkv.py"),
    tokens("int8"),
    tokens("int8", eager=True),
    tokens("fp8"),
    tokens("fp8", eager=True),
    gemm("shapes", "llama3.2-1b,llama3.2-3b,qwen2.5-14b", "16,512"),
    Step("memory", MEMORY),
)
"""Of one GPU each, in the order in which they begin."""
RUN = [*SLIDESPARSE, "run", "matrices/h200.yaml", "--runs-dir", "{work}/run", "--gpus", "{gpus}"]
TOGETHER = (tokens("int8", ranks=2), Step("run", RUN))
"""One after the other, with all GPUs."""


class Lane:
    """GPUs that are visible to its steps, and CPUs of its own."""

    def __init__(self, gpus: str, cpus: set[int], work: Path, deadline: float) -> None:
        self._gpus, self._cpus, self._work, self._deadline = gpus, cpus, work, deadline

    def do(self, step: Step) -> None:
        """Run it to its end or to the deadline; its exit code is the mark of an end."""
        mark = self._work / f"{step.name}.exit"
        left_s = self._deadline - time.monotonic()
        if mark.exists() or left_s <= 0:
            return
        known = {"{work}": str(self._work), "{gpus}": self._gpus}
        command = [re.sub("{work}|{gpus}", lambda m: known[m[0]], each) for each in step.command]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": self._gpus}
        with (self._work / f"{step.name}.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=ROOT, start_new_session=True
            )
            os.sched_setaffinity(process.pid, self._cpus)
            code = _wait(process, left_s)
        if code is not None:
            mark.write_text(f"{code}\n", encoding="utf-8")
        print(f"{step.name}: {'stopped' if code is None else f'exit {code}'}", flush=True)

    def do_all(self, steps: queue.SimpleQueue[Step]) -> None:
        """Take steps until none is left."""
        while True:
            try:
                self.do(steps.get_nowait())
            except queue.Empty:
                return


def _wait(process: subprocess.Popen[bytes], left_s: float) -> int | None:
    """Its exit code; None if it had to be stopped, and what it had started with it."""
    try:
        return process.wait(left_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None


def shares(cpus: list[int], count: int) -> list[set[int]]:
    """So many neighbouring parts of the CPUs, none empty."""
    size = max(1, len(cpus) // count)
    return [set(cpus[i * size : (i + 1) * size]) or set(cpus) for i in range(count)]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gpus", default="0")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    parser.add_argument("--only", help="names of steps, separated by commas")
    options = parser.parse_args()
    gpus, work = options.gpus.split(","), options.work.resolve()
    names = [step.name for step in (*STEPS, *TOGETHER)]
    only = options.only.split(",") if options.only else names
    if unknown := set(only) - set(names):
        parser.error(f"--only: no step {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.limit_s
    cpus = sorted(os.sched_getaffinity(0))
    waiting: queue.SimpleQueue[Step] = queue.SimpleQueue()
    for step in STEPS:
        if step.name in only:
            waiting.put(step)
    lanes = [
        threading.Thread(target=Lane(gpu, share, work, deadline).do_all, args=(waiting,))
        for gpu, share in zip(gpus, shares(cpus, len(gpus)), strict=True)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    together = Lane(options.gpus, set(cpus), work, deadline)
    for step in TOGETHER:
        if step.name not in only:
            continue
        if step.gpus > len(gpus):
            print(f"{step.name}: not run, it wants {step.gpus} GPUs", flush=True)
            continue
        together.do(step)


if __name__ == "__main__":
    main()
