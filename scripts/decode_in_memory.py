"""Whether a batch decodes with so much of the card, dense and at every sparsity, in real vLLM.

    python scripts/decode_in_memory.py --model qwen2.5-14b -m 512 --gib 23.5 --work FOLDER --out X.md

A decode cell of the method runs every sequence to 272 tokens, and 512 sequences of Qwen2.5-14B then
want 25.5 GiB for keys and values alone, whatever the weights. Here the sequences are shorter, so that
it is the weights that decide. `--gib` is what a card offers: one of 24 GB (RTX 4090) has 23.5 GiB.
The engine gets the share of it that vLLM takes of a card by default; what it uses beside that, above
all CUDA graphs, has to fit into the rest.

Every engine is a process of its own, INT8, with random weights. A batch counts only if vLLM's
scheduler ran all its steps after the first with M sequences of one token each, and if the driver never
counted more than `--gib` in use, from the first weight on; it is asked ten times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.device import find_devices
from slidesparse_bench.memory_model import compressed_bytes_per_element
from slidesparse_bench.models.catalog import Architecture, find_architecture
from slidesparse_bench.models.config import config_json
from slidesparse_bench.units import GIB
from slidesparse_bench.wire import (
    ATTEMPT_VARIABLE,
    GEMM_VARIABLE,
    RANDOM_LOAD_FORMAT,
    write_text,
)

PROMPT_LEN = 16
BACKENDS = "cublaslt,cusparselt-2_4,cusparselt-2_6,cusparselt-2_8,cusparselt-2_10"
SM = 90
"""Of an H200: how cuSPARSELt packs depends on it."""
SEED = 20260305
SHARE = 0.9
"""Of the card, for the engine: vLLM's default."""
LOOK_S = 0.1


def main() -> None:
    """One process for each backend, then the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="qwen2.5-14b")
    parser.add_argument("-m", type=int, default=512)
    parser.add_argument("--output-len", type=int, default=16)
    parser.add_argument("--gib", type=float, default=23.5)
    parser.add_argument("--backends", default=BACKENDS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", metavar="BACKEND", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        write_text(options.out, json.dumps(decode(options)))
        return
    options.work /= f"{options.gib:g}-gib-{options.output_len}-tokens"  # answers are kept there
    answers = {name: answer_of(name, options) for name in options.backends.split(",")}
    write_text(options.out, page(options, answers))
    print(options.out.read_text(encoding="utf-8"))
    sys.exit(0 if all("error" not in answer for answer in answers.values()) else 1)


def answer_of(backend: str, options: argparse.Namespace) -> dict[str, Any]:
    """Of an engine in a process of its own; kept, so that an interrupted script goes on."""
    out = options.work / f"{options.model}-m{options.m}-{backend}.json"
    if out.exists() and "most_gib" in (answer := read(out)):
        return answer
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--child", backend, "--out", str(out)]
    for name in ("model", "m", "output_len", "gib", "work"):
        flag = "-m" if name == "m" else f"--{name.replace('_', '-')}"
        command += [flag, str(getattr(options, name))]
    environment = {**os.environ, ATTEMPT_VARIABLE: "decode_in_memory", GEMM_VARIABLE: backend}
    log_path = out.with_suffix(".log")
    print(f"decoding with {backend}", flush=True)
    with log_path.open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            most_gib = most_used_gib(process)
        finally:
            process.kill()
    if process.returncode:
        return {"error": f"exit {process.returncode}, see {log_path.name}"}
    if most_gib > options.gib:
        return {"error": f"{most_gib:.2f} GiB were in use, more than {options.gib:g}"}
    answer = {**read(out), "most_gib": most_gib}
    write_text(out, json.dumps(answer))
    return answer


def most_used_gib(process: subprocess.Popen[bytes]) -> float:
    """Until the process ends: the most of the first visible device that was in use, by anybody."""
    device = find_devices("vllm", None, 0.0)[0]
    most_bytes = 0
    while process.poll() is None:
        now = device.snapshot(None)
        most_bytes = max(most_bytes, now.total_bytes - now.free_bytes if now else 0)
        time.sleep(LOOK_S)
    return most_bytes / GIB


def read(path: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answer


def decode(options: argparse.Namespace) -> dict[str, Any]:
    """Start the engine with the limit, decode one batch, and say what ran and what it took.

    Raises:
        SystemExit: a step did not run all sequences.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    import torch
    import vllm

    from slidesparse_bench.vllm_plugin.engine_arguments import with_own_gemm
    from slidesparse_bench.vllm_plugin.evidence import EVIDENCE
    from slidesparse_bench.worker.engines.vllm_steps import StepRecorder

    total = torch.cuda.mem_get_info()[1]
    arguments = {
        "model": str(model_folder(options)),
        "load_format": RANDOM_LOAD_FORMAT,
        "skip_tokenizer_init": True,
        "gpu_memory_utilization": SHARE * options.gib * GIB / total,
        "max_model_len": PROMPT_LEN + options.output_len,
        "max_num_seqs": options.m,
        "max_num_batched_tokens": PROMPT_LEN * options.m,
        "enable_prefix_caching": False,
        "enable_chunked_prefill": False,
        "compilation_config": {"cudagraph_capture_sizes": [options.m]},
        "seed": SEED,
    }
    llm = vllm.LLM(**with_own_gemm(arguments, options.child))
    config = llm.llm_engine.vllm_config
    recorder = StepRecorder(llm.llm_engine.engine_core.engine_core.scheduler)
    generator = torch.Generator().manual_seed(SEED)
    vocabulary = config.model_config.get_vocab_size()
    prompts = torch.randint(0, vocabulary, (options.m, PROMPT_LEN), generator=generator)
    answers = llm.generate(
        [{"prompt_token_ids": row} for row in prompts.tolist()],
        vllm.SamplingParams(
            temperature=0.0, ignore_eos=True, max_tokens=options.output_len, detokenize=False
        ),
        use_tqdm=False,
    )
    steps = [step.tokens for step in recorder.steps()]
    asked = [PROMPT_LEN * options.m] + [options.m] * (options.output_len - 1)
    if steps != asked:
        raise SystemExit(f"the steps ran {steps} tokens instead of {asked}")
    return {
        "vllm": vllm.__version__,
        "device": torch.cuda.get_device_name(),
        "model_gib": llm.collective_rpc(model_bytes)[0] / GIB,
        "kv_tokens": (config.cache_config.num_gpu_blocks - 1) * config.cache_config.block_size,
        "tokens": sum(len(answer.outputs[0].token_ids) for answer in answers),
        "gemm": EVIDENCE.summary(),
    }


def model_bytes(worker: Any) -> int:
    """Runs in the process that holds the model."""
    return int(worker.model_runner.model_memory_usage)


def model_folder(options: argparse.Namespace) -> Path:
    """A folder with the configuration only: weights are random."""
    folder: Path = options.work / options.model
    folder.mkdir(parents=True, exist_ok=True)
    config = config_json(find_architecture(options.model), Quantization.INT8)
    write_text(folder / "config.json", json.dumps(config, indent=1))
    return folder


def page(options: argparse.Namespace, answers: dict[str, dict[str, Any]]) -> str:
    """The evidence as Markdown."""
    architecture = find_architecture(options.model)
    first = next((answer for answer in answers.values() if "error" not in answer), {})
    dense = answers.get("cublaslt", {}).get("model_gib")
    facts = (
        f"{first.get('device', '')}, vLLM {first.get('vllm', '')}; prompts of {PROMPT_LEN} tokens, "
        f"{options.output_len} decoded. `linears` is the memory of the quantized weights beside that "
        "of the dense ones; `most` is the most that the driver counted in use, for everybody."
    )
    lines = [
        f"# {options.model} INT8, decode of M = {options.m}, with {options.gib:g} GiB of the card",
        "",
        facts,
        "",
        "| backend | model, GiB | linears | expected | room for tokens | most, GiB | tokens decoded |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for name, answer in answers.items():
        if "error" in answer:
            lines.append(f"| {name} | {answer['error']} | | | | | |")
            continue
        share = linear_share(architecture, answer["model_gib"], dense)
        lines.append(
            f"| {name} | {answer['model_gib']:.2f} | {share} | {packed_share(name):.4g} | "
            f"{answer['kv_tokens']} | {answer['most_gib']:.2f} | {answer['tokens']} |"
        )
    needed = options.m * (PROMPT_LEN + options.output_len)
    lines += ["", f"Needed: room for {needed} tokens.", ""]
    return "\n".join(lines)


def packed_share(backend: str) -> float:
    """Bytes per weight of the dense matrix that the memory model expects."""
    _, _, sparsity = backend.partition("-")
    if not sparsity:
        return 1.0
    stretch = Sparsity.parse(sparsity).k_stretch
    return stretch * compressed_bytes_per_element(Quantization.INT8, SM)


def linear_share(architecture: Architecture, model_gib: float, dense_gib: float | None) -> str:
    """Of the dense linears' memory: all else is equal. Empty without the dense model."""
    if dense_gib is None:
        return ""
    linears_gib = architecture.linear_parameters / GIB
    return f"{1 + (model_gib - dense_gib) / linears_gib:.3f}"


if __name__ == "__main__":
    main()
