"""`slidesparse import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidesparse_bench.cli.output import RUNS, Json, RunsDir, console, print_json
from slidesparse_bench.importers import Claims, ImportedRun, read_bench, read_tree, write_run
from slidesparse_bench.wire import SCHEMA_VERSION

_SHOWN_WARNINGS = 20

import_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help=(
        "Make a run of results that another tool left behind; `status`, `report` and `compare` "
        "then work on it.\n\nThe source is only read. Every import makes a run folder of its own. "
        "What nobody recorded stays empty, with the reason in environment.json."
    ),
)


def slidesparse_tree(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="It holds throughput_benchmark_results/.")
    ],
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="Which GPU, where the tree has several.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Import a result tree of the public SlideSparse scripts.

    Attempts come from the logs, with their settings, times and outcomes; numbers from the JSON
    files, else CSV, else as printed. Every failed attempt is classified anew from its log.

    **Examples**

    - `slidesparse import slidesparse-tree slidesparse/tools`
    - `slidesparse import slidesparse-tree slidesparse/tools --gpu "RTX 4090"`
    """
    _finish(read_tree(folder, gpu), runs_dir, json_mode=json_mode)


def vllm_bench(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSON result files.")],
    model: Annotated[
        str | None, typer.Option("--model", help="Its name in cell ids [default: from model_id].")
    ] = None,
    quantization: Annotated[str | None, typer.Option("--quantization", help="int8 or fp8.")] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="native, cutlass, cublaslt or cusparselt."),
    ] = None,
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", help="2:L, of cusparselt only.")
    ] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="prefill or decode.")] = None,
    m: Annotated[
        list[int] | None,
        typer.Option("--m", help="M; once for all files, or per file [default: x_M<M>.json]."),
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help="The GPU, as NVML names it.")] = None,
    input_len: Annotated[
        int | None, typer.Option("--input-len", help="As given to vllm bench latency.")
    ] = None,
    output_len: Annotated[
        int | None, typer.Option("--output-len", help="As given to vllm bench latency.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="As given to vllm bench latency.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_mode: Json = False,
) -> None:
    """Import JSON files of `vllm bench throughput`, `latency` or `serve`.

    No such file says which cell it is of: state what it lacks. The lengths of the requests must be
    those of the cell; the tokens in the file are checked against them. Several files of one cell
    are several attempts at it, and the last one counts.

    **Examples**

    - `slidesparse import vllm-bench out.json --model my-7b --quantization int8 --backend native
      --stage prefill --m 4096`
    - `slidesparse import vllm-bench results/*_M*.json --quantization fp8 --backend cutlass --stage
      decode --gpu "NVIDIA H200"`
    """
    claims = Claims(
        model, quantization, backend, sparsity, stage, tuple(m or ()), gpu, input_len, output_len,
        batch_size,
    )  # fmt: skip
    _finish(read_bench(files, claims), runs_dir, json_mode=json_mode)


def _finish(imported: ImportedRun, runs_dir: Path, *, json_mode: bool) -> None:
    store = write_run(imported, runs_dir)
    out = console(json_mode=json_mode)
    for warning in imported.warnings[:_SHOWN_WARNINGS]:
        out.print(f"warning: {warning}", markup=False)
    if len(imported.warnings) > _SHOWN_WARNINGS:
        out.print(f"{len(imported.warnings)} warnings; all of them are in environment.json")
    counts = store.record.counts
    if json_mode:
        document = {"run": str(store.folder), "counts": counts, "warnings": imported.warnings}
        print_json({"schema_version": SCHEMA_VERSION, **document})
        return
    told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    out.print(f"{store.folder}: {told}", markup=False)
    out.print(f"Next: slidesparse report {store.folder.name}", markup=False)


def register(app: typer.Typer) -> None:
    import_app.command("slidesparse-tree")(slidesparse_tree)
    import_app.command("vllm-bench")(vllm_bench)
    app.add_typer(import_app, name="import")
