"""Figures: what is worth drawing, and that it can be told apart without colour."""

from __future__ import annotations

import itertools
import math
import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from builders import build_failed, build_passed, build_run, build_skipped

from slidesparse_bench.records import CellState
from slidesparse_bench.report import ReportInputs, plots, write_report
from slidesparse_bench.report.figures import HeatMap, LineFigure, figures_of
from slidesparse_bench.report.view import RunView, view_of

SERIES = ("cutlass", "cublaslt", "cusparselt-2_4", "cusparselt-2_6", "cusparselt-2_8")


def cell_id(backend: str, m: int, stage: str = "prefill") -> str:
    return f"llama3.2-1b.int8.{backend}.{stage}.m{m}"


def view(cells, **inputs) -> RunView:
    return view_of(ReportInputs(build_run(cells), Path("runs/x"), **inputs))


def passed(*ids: str) -> dict:
    return {each: build_passed(each) for each in ids}


def line_figures(cells) -> list[LineFigure]:
    return [figure for figure in figures_of(view(cells)) if isinstance(figure, LineFigure)]


def test_one_backend_at_two_m_gives_throughput_alone():
    (figure,) = line_figures(passed(cell_id("cutlass", 512), cell_id("cutlass", 1024)))
    assert [panel.y_label for panel in figure.panels] == ["tokens_per_second"]
    assert [point.x for point in figure.panels[0].lines[0].points] == [512, 1024]


def test_sparse_beside_dense_gives_a_speedup_panel_without_the_reference():
    ids = [cell_id(b, m) for b in ("cutlass", "cusparselt-2_8") for m in (512, 1024)]
    (figure,) = line_figures(passed(*ids))
    assert figure.panels[1].y_label == "speed-up over cutlass"
    assert [line.label for line in figure.panels[1].lines] == ["cusparselt 2:8 (25 % zeros)"]
    assert figure.panels[1].level == 1.0


def test_single_m_is_no_curve():
    assert line_figures(passed(cell_id("cutlass", 512), cell_id("cublaslt", 512))) == []


def test_failed_cells_leave_a_gap_and_empty_series_no_line():
    cells = passed(cell_id("cutlass", 512), cell_id("cutlass", 2048))
    cells[cell_id("cutlass", 1024)] = build_failed(cell_id("cutlass", 1024))
    cells[cell_id("cublaslt", 512)] = build_failed(cell_id("cublaslt", 512))
    (figure,) = line_figures(cells)
    (line,) = figure.panels[0].lines
    assert [(point.x, point.y is None) for point in line.points] == [
        (512, False),
        (1024, True),
        (2048, False),
    ]


def test_error_bar_is_the_interval_of_the_rate():
    ids = (cell_id("cutlass", 512), cell_id("cutlass", 1024))
    cells = {i: build_passed(i, tokens_per_second=1000.0, ci95_pct=2.0) for i in ids}
    (figure,) = line_figures(cells)
    assert figure.panels[0].lines[0].points[0].error == pytest.approx(20.0)


def doubtful_speedup() -> dict:
    """The reference started cold at M = 512."""
    cells = {}
    for backend, first in (("cublaslt", 2_000.0), ("cusparselt-2_4", 35_000.0)):
        for m, rate in ((512, first), (1024, 32_000.0), (2048, 34_000.0), (4096, 36_000.0)):
            name = cell_id(backend, m)
            cells[name] = build_passed(name, tokens_per_second=rate)
    return cells


def test_point_of_a_doubted_number_is_marked_in_both_panels():
    (figure,) = line_figures(doubtful_speedup())
    doubted = [
        [(line.label, point.x) for line in panel.lines for point in line.points if point.doubted]
        for panel in figure.panels
    ]
    assert doubted == [[("cublaslt", 512)], [("cusparselt 2:4 (50 % zeros)", 512)]]
    assert figure.doubts == "hollow: in doubt (see Anomalies)"


def test_doubted_points_are_hollow_and_the_others_are_not():
    pytest.importorskip("matplotlib")
    (figure,) = line_figures(doubtful_speedup())
    drawn = plots.draw_lines(figure)
    hollow = [line for line in _curves(drawn.axes[0]) if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[512]]
    assert drawn.legends[0].get_texts()[-1].get_text() == figure.doubts
    (sound,) = line_figures(passed(*(cell_id("cutlass", m) for m in (512, 1024))))
    texts = [text.get_text() for text in plots.draw_lines(sound).legends[0].get_texts()]
    assert texts == ["cutlass"]


def speedup_axes(*widths_pct: float):
    """Of a sparse backend at 1.2 times the reference, with these intervals by M."""
    cells = {}
    for backend, rate in (("cublaslt", 1_000.0), ("cusparselt-2_4", 1_200.0)):
        for n, width in enumerate(widths_pct):
            name = cell_id(backend, 512 << n)
            cells[name] = build_passed(name, tokens_per_second=rate, ci95_pct=width)
    (figure,) = line_figures(cells)
    return plots.draw_lines(figure).axes[1]


def test_one_long_error_bar_does_not_set_the_axis_of_the_speedups():
    pytest.importorskip("matplotlib")
    assert speedup_axes(1.0, 150.0).get_ylim() == speedup_axes(1.0, 1.0).get_ylim()


def test_axis_of_the_speedups_holds_its_level_its_points_and_short_bars():
    pytest.importorskip("matplotlib")
    low, high = speedup_axes(5.0, 5.0).get_ylim()
    assert low < 1.0
    assert high > 1.2 * (1 + math.hypot(0.05, 0.05))
    assert (low, high) == pytest.approx((1.0, 1.28), abs=0.03)


def test_equal_speedups_are_not_blown_up_to_the_height_of_the_axis():
    pytest.importorskip("matplotlib")
    cells = passed(*(cell_id(b, m) for b in ("cublaslt", "cutlass") for m in (512, 1024)))
    for each in cells.values():
        each.metrics = replace(each.metrics, step_time_ms=None)
    (figure,) = line_figures(cells)
    low, high = plots.draw_lines(figure).axes[1].get_ylim()
    assert high - low == pytest.approx(0.1)


def test_fake_numbers_say_so_in_the_title():
    cells = passed(cell_id("cutlass", 512), cell_id("cutlass", 1024))
    (figure, _) = figures_of(view(cells, environment={"engine": "fake"}))
    assert "not a measurement" in figure.title


def test_heat_map_has_every_cell_with_prefill_before_decode():
    cells = {
        cell_id("cutlass", 64, "decode"): build_passed(cell_id("cutlass", 64, "decode")),
        cell_id("cutlass", 512): build_skipped(),
        cell_id("cublaslt", 512): build_failed(cell_id("cublaslt", 512)),
    }
    (figure,) = figures_of(view(cells))
    assert isinstance(figure, HeatMap)
    assert figure.column_labels == ("prefill 512", "decode 64")
    assert figure.states == {
        (0, 1): CellState.PASSED,
        (0, 0): CellState.SKIPPED,
        (1, 0): CellState.FAILED,
    }


def test_run_with_nothing_to_draw_has_no_figure():
    assert figures_of(view({})) == []
    assert figures_of(view(passed(cell_id("cutlass", 512)))) == []


def test_every_series_has_its_own_marker_and_line_style():
    pytest.importorskip("matplotlib")
    (figure,) = line_figures(passed(*(cell_id(b, m) for b in SERIES for m in (512, 1024))))
    axes = plots.draw_lines(figure).axes[0]
    looks = {(line.get_marker(), line.get_linestyle()) for line in _curves(axes)}
    assert len(looks) == len(SERIES)


def _curves(axes) -> list:
    return [line for line in axes.get_lines() if line.get_marker() not in ("None", None, "_", "|")]


def test_lightness_of_heat_map_colours_tells_states_apart_in_grey():
    colours = {plots.STATES[s][1] for s in (CellState.PASSED, CellState.FAILED, CellState.SKIPPED)}
    lightness = sorted(_luminance(colour) for colour in colours)
    assert min(b - a for a, b in itertools.pairwise(lightness)) > 0.1


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_files_are_images_of_a_readable_size(tmp_path):
    pytest.importorskip("matplotlib")
    cells = passed(*(cell_id(b, m) for b in SERIES[:3] for m in (512, 1024)))
    written = plots.write(view(cells), tmp_path)
    assert [path.name for path in written] == ["llama3.2-1b-int8-prefill.png", "completeness.png"]
    for path in written:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", data[16:24])
        assert 400 < width < 2500
        assert 150 < height < 2500


def test_curve_with_a_gap_is_drawn_in_two_pieces():
    pytest.importorskip("matplotlib")
    cells = passed(*(cell_id("cutlass", m) for m in (512, 1024, 4096, 8192)))
    cells[cell_id("cutlass", 2048)] = build_failed(cell_id("cutlass", 2048))
    (figure,) = line_figures(cells)
    (curve,) = _curves(plots.draw_lines(figure).axes[0])
    assert [math.isnan(y) for y in curve.get_ydata()] == [False, False, True, False, False]


def test_without_matplotlib_the_report_says_so_and_shows_no_image(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    cells = passed(*(cell_id("cutlass", m) for m in (512, 1024)))
    written = write_report(ReportInputs(build_run(cells), Path("runs/x")), tmp_path)
    assert [path.suffix for path in written] == [".md", ".html", ".csv", ".csv", ".csv"]
    text = written[0].read_text(encoding="utf-8")
    assert "There are no plots: matplotlib is not installed" in text
    assert "![" not in text
