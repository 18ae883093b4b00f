"""Drawing the figures as PNG: the one file that imports matplotlib, and only when it draws.

Readable in grey and without colour vision: every series has its own marker and line style, the
colours (Okabe and Ito) differ in lightness, and the states of the heat map are letters as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slidesparse_bench.records import CellState
from slidesparse_bench.report.figures import (
    PLOT_FOLDER,
    HeatMap,
    Line,
    LineFigure,
    Panel,
    figures_of,
)
from slidesparse_bench.report.languages import ENGLISH, Language, plain_text
from slidesparse_bench.report.view import RunView
from slidesparse_bench.report.words import Text, say

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLES = ("-", "--", "-.", ":")

STATES = {
    CellState.PASSED: ("P", "#F2F2F2", say("passed")),
    CellState.FAILED: ("F", "#D55E00", say("failed")),
    CellState.SKIPPED: ("S", "#9ECAE1", say("skipped")),
    CellState.PENDING: ("-", "#FFFFFF", say("not finished")),
    CellState.RUNNING: ("-", "#FFFFFF", say("not finished")),
}
"""Letter, colour and word of a cell's state; the lightness of the colours differs, too."""


CHINESE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC",
    "Hiragino Sans GB", "Heiti SC", "Noto Sans CJK JP", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
"""Fonts with Chinese glyphs, as Linux, Windows and macOS ship them, the best first."""


def can_draw() -> tuple[bool, str]:
    """Whether plots can be drawn here, else the reason."""
    try:
        import matplotlib.figure  # noqa: F401 - whether it can be imported is the question
    except ImportError:
        return False, "matplotlib is not installed (`pip install 'slidesparse-bench[plots]'`)"
    return True, ""


def fonts_for(language: Language) -> list[str]:
    """Installed fonts that have the glyphs of a language; matplotlib's own has those of English."""
    if not can_draw()[0]:
        return []
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    wanted = ("DejaVu Sans",) if language is ENGLISH else CHINESE_FONTS
    return [name for name in wanted if name in installed]


def labels_in(language: Language) -> Language:
    """The language of the labels: English where no font has the glyphs, never empty boxes."""
    return language if fonts_for(language) else ENGLISH


def remarks(language: Language) -> tuple[Text, ...]:
    """What a reader has to be told of the plots."""
    if labels_in(language) is language:
        return ()
    return (
        say(
            "The labels of the plots are in English: matplotlib finds no font with the characters of "
            "this language (`fonts-noto-cjk` is one)."
        ),
    )


def folder_for(language: Language) -> str:
    """Where the plots stand, relative to the report."""
    labels = labels_in(language)
    return PLOT_FOLDER if labels is ENGLISH else f"{PLOT_FOLDER}/{labels.code}"


def write(view: RunView, folder: Path, language: Language = ENGLISH) -> list[Path]:
    """Draw every figure of the run below `folder`; nothing when matplotlib is missing."""
    labels = labels_in(language)
    figures = figures_of(view, labels)
    if not figures or not can_draw()[0]:
        return []
    from matplotlib import rc_context

    target = folder / folder_for(language)
    target.mkdir(parents=True, exist_ok=True)
    with rc_context({"font.family": [*fonts_for(labels)[:1], "DejaVu Sans"]}):
        return [_save(figure, target, labels) for figure in figures]


def _save(figure: LineFigure | HeatMap, folder: Path, language: Language) -> Path:
    drawn = draw_map(figure, language) if isinstance(figure, HeatMap) else draw_lines(figure)
    path = folder / figure.file_name
    # Without the library's version in it, the same numbers give the same file.
    drawn.savefig(path, dpi=120, metadata={"Software": None})
    return path


def _new_figure(width: float, height: float, **options: Any) -> Any:
    """A figure that no window system and no global state knows of. Sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


LEGEND_COLUMNS = 3
_MARKER_SIZE = 6
_PANEL, _HEIGHT = 6.2, 4.8
_LEFT, _RIGHT, _TOP, _TICKS, _LEGEND_ROW = 0.95, 0.15, 0.45, 0.85, 0.24
"""Inches. Fixed margins: matplotlib's own layouts draw each figure twice more to find them."""


def draw_lines(figure: LineFigure) -> Any:
    """The matplotlib figure of one or two panels side by side."""
    labels = [line.label for panel in figure.panels for line in panel.lines]
    order = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    rows = math.ceil((len(order) + bool(figure.doubts)) / LEGEND_COLUMNS)
    width, height = _PANEL * len(figure.panels), _HEIGHT + rows * _LEGEND_ROW
    canvas = _new_figure(width, height)
    canvas.suptitle(figure.title, y=1 - 0.3 * _TOP / height, va="top", fontsize="large")
    all_axes = canvas.subplots(1, len(figure.panels), squeeze=False)[0]
    canvas.subplots_adjust(
        left=_LEFT / width,
        right=1 - _RIGHT / width,
        top=1 - _TOP / height,
        bottom=(_TICKS + rows * _LEGEND_ROW) / height,
        wspace=_LEFT / (_PANEL - _LEFT - _RIGHT),
    )
    for axes, panel in zip(all_axes, figure.panels, strict=True):
        _draw_panel(axes, panel, order)
    _add_legend(canvas, all_axes, figure.doubts)
    return canvas


def _add_legend(canvas: Any, all_axes: Sequence[Any], doubts: str) -> None:
    """One legend below the panels, where it cannot hide a curve."""
    entries: dict[str, Any] = {}
    for axes in all_axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    if doubts:
        entries[doubts] = _hollow("o", "#000000")
    canvas.legend(
        entries.values(),
        entries.keys(),
        loc="lower center",
        ncols=LEGEND_COLUMNS,
        fontsize="small",
        frameon=False,
    )


def _draw_panel(axes: Any, panel: Panel, order: dict[str, int]) -> None:
    for line in panel.lines:
        _draw_line(axes, line, order[line.label])
    if panel.level is not None:
        axes.axhline(panel.level, color="#666666", linewidth=1)
    axes.set_ylim(*_limits(panel))
    _label_m_axis(axes, sorted({point.x for line in panel.lines for point in line.points}))
    axes.set_ylabel(panel.y_label)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.yaxis.set_major_formatter("{x:,g}")


SHOWN_ERROR = 0.1
"""An error bar up to this share of its value is shown whole. A longer one runs out of the axes: a single
interval of ±165 % would press all curves into a few pixels."""
_LEAST_SPAN = 0.1


def _limits(panel: Panel) -> tuple[float, float]:
    """Lower and upper end of the y axis: every point, the level, and the bars that are not long."""
    known = [(p.y, p.error or 0.0) for line in panel.lines for p in line.points if p.y is not None]
    if panel.level is None:
        return 0.0, 1.08 * max(y for y, _ in known)
    bars = [(y, error if error <= SHOWN_ERROR * y else 0.0) for y, error in known]
    lowest = min(panel.level, *(y - error for y, error in bars))
    highest = max(panel.level, *(y + error for y, error in bars))
    space = max(0.05 * (highest - lowest), (_LEAST_SPAN - (highest - lowest)) / 2)
    return lowest - space, highest + space


def _draw_line(axes: Any, line: Line, place: int) -> None:
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    axes.errorbar(
        [point.x for point in line.points],
        [math.nan if point.y is None else point.y for point in line.points],
        yerr=[point.error or 0.0 for point in line.points],
        label=line.label,
        color=colour,
        marker=marker,
        linestyle=STYLES[place % len(STYLES)],
        markersize=_MARKER_SIZE,
        capsize=2,
        linewidth=1.4,
        elinewidth=1.0,
    )
    doubted = [point for point in line.points if point.doubted and point.y is not None]
    if doubted:
        hollow = _hollow(marker, colour)
        hollow.set_data([point.x for point in doubted], [point.y for point in doubted])
        axes.add_line(hollow)


def _hollow(marker: str, colour: str) -> Any:
    """Points without a line, white inside, above the curves that they belong to."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        linestyle="none",
        marker=marker,
        markersize=_MARKER_SIZE,
        markeredgecolor=colour,
        markerfacecolor="white",
        zorder=3,
    )


def _label_m_axis(axes: Any, ms: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ms, [f"{m:.0f}" for m in ms], rotation=45, fontsize="small")
    axes.minorticks_off()
    axes.set_xlabel("M")


def draw_map(figure: HeatMap, language: Language = ENGLISH) -> Any:
    """The matplotlib figure of the states, one lettered square per cell; blank = not planned."""
    from matplotlib.patches import Rectangle

    rows, columns = len(figure.row_labels), len(figure.column_labels)
    canvas = _new_figure(4.0 + 0.42 * columns, 1.6 + 0.26 * rows, layout="constrained")
    axes = canvas.subplots()
    for (row, column), state in figure.states.items():
        letter, colour, _ = STATES[state]
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white"))
        axes.text(column + 0.5, row + 0.5, letter, ha="center", va="center", fontsize=8)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_xticks(
        [c + 0.5 for c in range(columns)], figure.column_labels, rotation=60, ha="right", fontsize=8
    )
    axes.set_yticks([r + 0.5 for r in range(rows)], figure.row_labels, fontsize=8)
    axes.tick_params(length=0)
    axes.set_title(f"{figure.title}\n{_legend(figure, language)}", fontsize=9)
    return canvas


def _legend(figure: HeatMap, language: Language) -> str:
    present = dict.fromkeys(STATES[state] for state in CellState if state in figure.states.values())
    return ", ".join(f"{letter} = {plain_text(word, language)}" for letter, _, word in present)
