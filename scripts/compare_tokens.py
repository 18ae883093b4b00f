"""Whether cuSPARSELt and the dense backend answer with the same tokens, in real vLLM.

    python scripts/compare_tokens.py --model llama3.2-1b --quantization int8 --sparsity 2:8 \\
        --positions 10240 --work FOLDER --out tokens.md

Writes a checkpoint of random weights for a built-in model, prunes it with `slidesparse prepare`,
and lets engines say, for the same random prompts, which token they would choose after every
position: the dense backend (`cublaslt`) on the pruned checkpoint, `cusparselt` on the pruned one,
and `cusparselt` on the original, which it prunes while loading. Contexts are the prompts, so one
different choice does not change those after it. A fourth, dense on the original, shows that choices
depend on the weights: pruning changes many of them.

Random layers one upon the other are chaotic, which trained ones are not: a rounding in the first
would decide the last. Therefore weights have a standard deviation of 1/sqrt(k), those into the
residual stream are scaled by 1/sqrt(2 layers), as GPT-2 initializes them, embeddings have one of
3, and the head is not the embedding.

A choice is a tie where the two largest logits are closer than one step of bfloat16, in which the
head computes them: there the order says nothing, and a single rounding decides. Ties are counted
apart. The model is compiled, unless it is to be `--eager`, though not quite as it is where speed is
measured: Inductor times kernels in every process and keeps the fastest, and the last bit of a sum
over a row depends on which. This is about GEMMs, so it is told to be deterministic (`INDUCTOR`;
TORCHINDUCTOR_DETERMINISTIC would not do: Dynamo takes that back when it has traced its first
function).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slidesparse_bench.cell import Quantization, Sparsity
from slidesparse_bench.models.catalog import find_architecture
from slidesparse_bench.models.config import config_json
from slidesparse_bench.wire import ATTEMPT_VARIABLE, GEMM_VARIABLE, write_text

PROMPT_LEN = 513
"""Tokens of a prompt; the choices after all but the last are compared."""
BFLOAT16_DIGITS = 8
KV_CACHE_BYTES = 2**30
"""Of a rank: several times what four prompts need."""
SEED = 20260305
BIAS_DEVIATION, EMBEDDING_DEVIATION = 0.02, 3.0
INDUCTOR = {"deterministic": True}
"""Its configuration."""
MEMORY_SHARE = 0.2
"""Of a GPU, for one engine; four find room."""


def main() -> None:
    """Make the checkpoints that are missing, ask the engines, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="llama3.2-1b")
    parser.add_argument("--quantization", type=Quantization, default=Quantization.INT8)
    parser.add_argument("--sparsity", type=Sparsity.parse, default=Sparsity(8))
    parser.add_argument("--positions", type=int, default=10240)
    parser.add_argument(
        "--tensor-parallel-size",
        type=int,
        default=1,
        metavar="RANKS",
        help="where these cut groups of L, pruning while loading is not that of the checkpoint",
    )
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--at-once", action="store_true", help="all engines beside each other")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--child", nargs=2, metavar=("LABEL", "CHECKPOINT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        label, checkpoint = options.child
        write_text(options.out, json.dumps(choices(label, checkpoint, options)))
        return
    sys.exit(compare(options))


def compare(options: argparse.Namespace) -> int:
    """0 if INT8 agrees everywhere, FP8 for 99 % of the choices that are no ties."""
    original, pruned = checkpoints(options)
    sparse = f"cusparselt-{options.sparsity.path_form}"
    asked = {
        "cublaslt, pruned checkpoint": ("cublaslt", pruned),
        f"{sparse}, pruned checkpoint": (sparse, pruned),
        f"{sparse}, pruned while loading": (sparse, original),
        "cublaslt, not pruned": ("cublaslt", original),
    }
    with ThreadPoolExecutor(len(asked) if options.at_once else 1) as engines:
        told = engines.map(lambda name: ask(name, *asked[name], options), asked)
        answers = dict(zip(asked, told, strict=True))
    dense, prepared, loaded, _ = answers.values()
    ties = tied(dense)
    least = 1.0 if options.quantization is Quantization.INT8 else 0.99
    agreed = agreement(dense, prepared, set() if least == 1.0 else ties)
    same = dense["emulated"] == prepared["emulated"] and prepared["tokens"] == loaded["tokens"]
    write_text(options.out, page(options, answers, ties, least))
    print(options.out.read_text(encoding="utf-8"))
    return 0 if agreed >= least and same else 1


def checkpoints(options: argparse.Namespace) -> tuple[Path, Path]:
    """The original and the pruned checkpoint, made where missing."""
    name = f"{options.model}-{options.quantization}"
    original = options.work / name
    pruned = options.work / f"{name}-{options.sparsity.path_form}"
    if not (original / "config.json").exists():
        write_checkpoint(original, options.model, options.quantization)
    command = [sys.executable, "-m", "slidesparse_bench", "prepare"]
    command += ["--model", str(original), "--sparsity", str(options.sparsity), "--out", str(pruned)]
    subprocess.run(command, check=True)
    return original, pruned


def write_checkpoint(folder: Path, model: str, quantization: Quantization) -> None:
    """Random weights, see above; `config.json` last, as the mark of done."""
    import torch
    from safetensors.torch import save_file

    config = {**config_json(find_architecture(model), quantization), "tie_word_embeddings": False}
    generator = torch.Generator().manual_seed(SEED)
    tensors: dict[str, torch.Tensor] = {}

    into_residual = 1 / math.sqrt(2 * config["num_hidden_layers"])

    def normal(*shape: int, deviation: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator).mul_(deviation).to(torch.bfloat16)

    def linear(name: str, n: int, k: int, *, bias: bool = False, scale: float = 1.0) -> None:
        if quantization is Quantization.INT8:
            weight = torch.randint(-127, 128, (n, k), generator=generator, dtype=torch.int8)
            step = 127 / math.sqrt(3)
        else:
            weight = torch.randn((n, k), generator=generator).to(torch.float8_e4m3fn)
            step = 1.0
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.weight_scale"] = torch.full((n, 1), scale / (step * math.sqrt(k)))
        if bias:
            tensors[f"{name}.bias"] = normal(n, deviation=BIAS_DEVIATION)

    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    kv, bias = config["num_key_value_heads"] * head, config["model_type"] == "qwen2"
    tensors["model.embed_tokens.weight"] = normal(
        config["vocab_size"], hidden, deviation=EMBEDDING_DEVIATION
    )
    tensors["model.norm.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
    tensors["lm_head.weight"] = normal(
        config["vocab_size"], hidden, deviation=1 / math.sqrt(hidden)
    )
    for layer in range(config["num_hidden_layers"]):
        at, wide = f"model.layers.{layer}", config["intermediate_size"]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}.{norm}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
        linear(f"{at}.self_attn.q_proj", heads * head, hidden, bias=bias)
        linear(f"{at}.self_attn.k_proj", kv, hidden, bias=bias)
        linear(f"{at}.self_attn.v_proj", kv, hidden, bias=bias)
        linear(f"{at}.self_attn.o_proj", hidden, heads * head, scale=into_residual)
        linear(f"{at}.mlp.gate_proj", wide, hidden)
        linear(f"{at}.mlp.up_proj", wide, hidden)
        linear(f"{at}.mlp.down_proj", hidden, wide, scale=into_residual)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    write_text(folder / "config.json", json.dumps(config, indent=1))


def ask(name: str, label: str, checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The choices of one engine, in a process of its own."""
    out = options.work / f"{label}-{checkpoint.name}.json"
    command = [sys.executable, __file__, "--child", label, str(checkpoint), "--out", str(out)]
    command += ["--positions", str(options.positions), "--work", str(options.work)]
    command += ["--tensor-parallel-size", str(options.tensor_parallel_size)]
    command += ["--eager"] if options.eager else []
    print(f"asking {name}", flush=True)
    environment = {**os.environ, ATTEMPT_VARIABLE: "compare_tokens", GEMM_VARIABLE: label}
    # Each compiles for itself, unless they are to share.
    environment.setdefault("VLLM_CACHE_ROOT", str(options.work / f"{out.stem}-cache"))
    with (options.work / f"{out.stem}.log").open("w") as log:
        subprocess.run(command, check=True, env=environment, stdout=log, stderr=log)
    answer: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return answer


def choices(label: str, checkpoint: str, options: argparse.Namespace) -> dict[str, Any]:
    """The most likely token after every position, and the two largest logits there.

    Ranks add their sums with plain NCCL, the same for every backend.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # for collective_rpc
    os.environ["VLLM_ALLREDUCE_USE_SYMM_MEM"] = "0"
    import torch
    import vllm

    from slidesparse_bench.vllm_plugin import evidence
    from slidesparse_bench.vllm_plugin.engine_arguments import with_own_gemm

    length = PROMPT_LEN - 1
    arguments = {
        "model": checkpoint,
        "skip_tokenizer_init": True,
        "max_model_len": PROMPT_LEN + 1,
        "max_num_seqs": 4,
        "max_num_batched_tokens": 4 * PROMPT_LEN,
        "enable_prefix_caching": False,
        "kv_cache_memory_bytes": KV_CACHE_BYTES,
        "gpu_memory_utilization": MEMORY_SHARE,
        "enforce_eager": options.eager,
        "logprobs_mode": "raw_logits",
        "max_logprobs": 2,
        "seed": SEED,
        "tensor_parallel_size": options.tensor_parallel_size,
        "disable_custom_all_reduce": True,
        "compilation_config": {"inductor_compile_config": INDUCTOR},
    }
    llm = vllm.LLM(**with_own_gemm(arguments, label))
    vocabulary = llm.llm_engine.vllm_config.model_config.get_vocab_size()
    generator = torch.Generator().manual_seed(SEED)
    prompts = torch.randint(
        0, vocabulary, (-(-options.positions // length), PROMPT_LEN), generator=generator
    )
    sampling = vllm.SamplingParams(
        temperature=0.0, max_tokens=1, ignore_eos=True, detokenize=False, prompt_logprobs=2
    )
    asked = [{"prompt_token_ids": row} for row in prompts.tolist()]
    answers = llm.generate(asked, sampling, use_tqdm=False)
    best = [
        sorted(position.items(), key=lambda item: item[1].rank)[:2]
        for answer in answers
        for position in answer.prompt_logprobs[1:]
    ][: options.positions]
    for summary in (summaries := llm.collective_rpc(evidence.of_rank)):
        if summary is None or summary["library"] != label.partition("-")[0]:
            raise SystemExit(f"no GEMM of {label} ran in one of {len(summaries)} ranks")
    return {
        "label": label,
        "vllm": vllm.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "library": f"{summary['library']} {summary['version']}",
        "emulated": summary["emulated"],
        "prologues": sorted({gemm["prologue"] for gemm in summary["gemms"]}),
        "tokens": [int(first[0]) for first, _ in best],
        "logits": [[float(first[1].logprob), float(second[1].logprob)] for first, second in best],
    }


def tied(answer: dict[str, Any]) -> set[int]:
    """Positions whose two largest logits are the same, or neighbours, in bfloat16."""
    return {
        number
        for number, (first, second) in enumerate(answer["logits"])
        if first - second <= step_of_bfloat16(first)
    }


def step_of_bfloat16(value: float) -> float:
    """The distance to the next number."""
    exponent = math.frexp(value)[1]
    return math.ldexp(1.0, exponent - BFLOAT16_DIGITS)


def agreement(a: dict[str, Any], b: dict[str, Any], without: set[int]) -> float:
    """Share of equal choices among the positions that are not left out.

    Raises:
        SystemExit: all of them are.
    """
    compared = [n for n in range(len(a["tokens"])) if n not in without]
    if not compared:
        raise SystemExit(f"all {len(a['tokens'])} positions are ties; ask for more")
    equal = sum(1 for n in compared if a["tokens"][n] == b["tokens"][n])
    return equal / len(compared)


def page(
    options: argparse.Namespace, answers: dict[str, dict[str, Any]], ties: set[int], least: float
) -> str:
    """The evidence as Markdown."""
    (dense_name, dense), *others = answers.items()
    count, used = len(dense["tokens"]), len(set(dense["tokens"]))
    facts = (
        f"{dense['device']}, vLLM {dense['vllm']}; random weights (seed {SEED}), {count} positions "
        f"of random prompts of {PROMPT_LEN} tokens, {'eager' if options.eager else 'compiled deterministically'}, "
        f"tensor parallel size {options.tensor_parallel_size}; inputs of the GEMMs by "
        f"{' and '.join(dense['prologues'])}. {used} different tokens are chosen. "
        f"{len(ties)} positions are ties: their two largest logits differ by at most one step of "
        "bfloat16."
    )
    lines = [
        f"# Tokens of {options.model}, {options.quantization.upper()}, {options.sparsity}",
        "",
        facts,
        "",
        f"Reference: {dense_name} ({dense['library']}).",
        "",
        "| engine | library | equal choices | without ties |",
        "|:--|:--|--:|--:|",
    ]
    for name, answer in others:
        everywhere, untied = agreement(dense, answer, set()), agreement(dense, answer, ties)
        lines.append(f"| {name} | {answer['library']} | {everywhere:.4%} | {untied:.4%} |")
    asked = "all choices" if least == 1.0 else f"{least:.0%} of the choices that are no ties"
    lines += ["", f"Asked of cusparselt: {asked}, and the same tokens from both ways of pruning."]
    lines += ["The last row shows what pruning alone changes.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
