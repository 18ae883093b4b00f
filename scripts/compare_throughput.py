"""Set cells of a run beside `vllm.benchmarks.throughput`, on the same machine, back to back.

    python scripts/compare_throughput.py RUN_FOLDER --cell ID [--cell ID ...] --out notes.md

For each cell, two processes one after the other: this harness's worker, and vLLM's own
`run_vllm` (vllm/benchmarks/throughput.py) with `prequeue_requests`. Both get the engine arguments
of the cell's passed attempt, the same lengths, number of requests and engine arrangement (engine
core in the process). vLLM samples with temperature 1, the harness greedily; nothing else differs.
Writes a Markdown section for `slidesparse report --notes`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Cell, Stage
from slidesparse_bench.settings import Measurement
from slidesparse_bench.wire import (
    ATTEMPT_VARIABLE,
    Request,
    Result,
    decode,
    read_json,
    write_json,
)

ITERATIONS = {Stage.PREFILL: 128, Stage.DECODE: 2}
WARM_UP = 3
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    ATTEMPT_VARIABLE: "compare_throughput",
}


def main() -> None:
    """Parse arguments; as a child, be the reference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("--cell", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        write_json(options.out, reference(decode(Request, read_json(options.run))))
        return
    rows = [compare(options.run, Cell.parse(cell_id)) for cell_id in options.cell]
    options.out.write_text(section(rows), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


def compare(run: Path, cell: Cell) -> dict[str, Any]:
    """Tokens per second of one cell: as the run reports it, the harness again, and vLLM."""
    status = read_json(run / "status.json")["cells"][cell.id]
    passed = next(each for each in status["attempts"] if each["failure"] is None)
    path = run / "cells" / cell.id / f"attempt-{passed['n']}" / "request.json"
    iterations = ITERATIONS[cell.stage]
    request = alone(decode(Request, read_json(path)), iterations)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / "request.json", request)
        asked = str(folder / "request.json")
        execute([sys.executable, "-m", "slidesparse_bench.worker", asked])
        result = decode(Result, read_json(folder / "result.json"))
        assert result.metrics is not None, result.error
        out = str(folder / "reference.json")
        execute([sys.executable, __file__, asked, "--reference", "--out", out])
        vllm_rate = read_json(folder / "reference.json")["tokens_per_second"]
    return {
        "cell": cell.id,
        "iterations": iterations,
        "run": status["metrics"]["tokens_per_second"],
        "again": result.metrics.tokens_per_second,
        "vllm": vllm_rate,
    }


def alone(request: Request, iterations: int) -> Request:
    """The request for its one cell, with the limits of that cell also where it shared an engine."""
    [asked] = request.cells
    limits = {
        "max_num_seqs": asked.max_num_seqs,
        "max_num_batched_tokens": asked.max_num_batched_tokens,
    }
    return replace(
        request,
        engine_args={**request.engine_args, **limits},
        cells=[replace(asked, measurement=Measurement(fixed_iterations=iterations))],
    )


def execute(command: list[str]) -> None:
    """One process, its output to stderr."""
    subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT}, stdout=sys.stderr)


def reference(request: Request) -> dict[str, Any]:
    """vLLM's own measurement of the request's workload."""
    from vllm.benchmarks import throughput
    from vllm.engine.arg_utils import EngineArgs

    from slidesparse_bench.worker.engines.vllm_engine import engine_arguments

    accepted = set(EngineArgs.__dataclass_fields__)
    [asked] = request.cells
    cell = Cell.parse(asked.cell_id)
    count = (asked.measurement.fixed_iterations or 1) * cell.workload.max_num_seqs
    elapsed_s, outputs = throughput.run_vllm(
        sample_requests(request, count),
        1,
        EngineArgs(**engine_arguments(request, accepted)),
        do_profile=False,
        disable_detokenize=True,
        warmup_requests=sample_requests(request, WARM_UP * cell.workload.max_num_seqs),
        prequeue_requests=True,
    )
    tokens = sum(len(o.prompt_token_ids) + len(o.outputs[0].token_ids) for o in outputs)
    assert tokens == count * (cell.workload.prompt_len + cell.workload.output_len)
    return {"schema_version": 1, "elapsed_s": elapsed_s, "tokens_per_second": tokens / elapsed_s}


def sample_requests(request: Request, count: int) -> list[Any]:
    """Requests of random token ids, as vLLM's benchmark takes them."""
    from vllm.benchmarks.datasets import SampleRequest

    workload = Cell.parse(request.cells[0].cell_id).workload
    config = json.loads((Path(request.model_path) / "config.json").read_text())
    tokens = random.Random(request.seed)
    return [
        SampleRequest(
            prompt={
                "prompt_token_ids": tokens.choices(
                    range(config["vocab_size"]), k=workload.prompt_len
                )
            },
            prompt_len=workload.prompt_len,
            expected_output_len=workload.output_len,
        )
        for _ in range(count)
    ]


def section(rows: list[dict[str, Any]]) -> str:
    """The Markdown section."""
    lines = [
        "### Against vLLM's own benchmark",
        "",
        (
            "Same machine, back to back, one process each: this harness's worker and `run_vllm` of "
            "`vllm/benchmarks/throughput.py` with `prequeue_requests`; same engine arguments, lengths, "
            "number of requests and engine arrangement (engine core in the process). vLLM samples with "
            "temperature 1, the harness greedily. Tokens per second, prompt and output."
        ),
        "",
        "| cell | this run | iterations | harness again | vLLM | harness / vLLM | run / vLLM |",
        "|:-----|---------:|-----------:|--------------:|-----:|---------------:|-----------:|",
    ]
    lines += [
        f"| `{row['cell']}` | {row['run']:,.0f} | {row['iterations']} | {row['again']:,.0f} "
        f"| {row['vllm']:,.0f} | {row['again'] / row['vllm']:.4f} "
        f"| {row['run'] / row['vllm']:.4f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
