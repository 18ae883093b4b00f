"""The report of the public RTX 4090 tree beside the one that its authors wrote by hand.

Runs where the tree is (`test_import_corpus`). Numbers are checked in the Chinese report, in the
places where a reader of the hand-written one looks for them.
"""

from __future__ import annotations

import re
import tarfile

import pytest
from test_import_corpus import CORPUS

from slidesparse_bench.importers import read_tree, write_run
from slidesparse_bench.report import ReportInputs, plots
from slidesparse_bench.report.document import render
from slidesparse_bench.report.languages import CHINESE
from slidesparse_bench.report.view import view_of

pytestmark = pytest.mark.skipif(
    not (CORPUS / "rtx4090.tar.xz").exists(), reason="the public result trees are not here"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rtx4090")
    with tarfile.open(CORPUS / "rtx4090.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def text(tree):
    store = write_run(read_tree(tree), tree / "runs")
    inputs = ReportInputs(
        run=store.record,
        run_folder=store.folder,
        plan=store.plan(),
        environment=store.environment(),
    )
    return render(view_of(inputs), CHINESE)


def part(text: str, heading: str) -> str:
    level = heading.split(maxsplit=1)[0]
    rest = text[text.index(heading) + len(heading) :]
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, heads and rules included."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[field.strip() for field in line.strip("|").split("|")] for line in lines]


def row(text: str, *begin: str) -> list[str]:
    """The first row that begins with these fields, without them."""
    return next(r[len(begin) :] for r in rows(text) if r[: len(begin)] == list(begin))


@pytest.mark.parametrize(
    "heading",
    [
        "## 整体测试概览",
        "### 完全成功",
        "### 部分失败",
        "### 完全失败",
        "### 各阶段完成度：prefill",
        "### 各阶段完成度：decode",
        "## 失败原因分析",
        "### 调整设置无法消除的限制",
        "### 建议",
        "## 可用数据",
        "## 异常数据",
        "## 文件",
    ],
)
def test_every_section_of_the_hand_written_report_is_there(text, heading):
    assert f"\n{heading}" in text


def test_summary_counts_the_cells(text):
    assert "**634 个测试单元中有 585 个通过**（92 %），49 个失败" in text


@pytest.mark.parametrize(
    ("stage", "model", "quantization", "expected"),
    [
        ("prefill", "llama3.2-3b", "INT8", ["未计划", "8/8", "8/8", "8/8", "8/8", "8/8", "40/40"]),
        ("prefill", "qwen2.5-7b", "INT8", ["未计划", "7/8", "7/8", "7/8", "7/8", "7/8", "35/40"]),
        ("prefill", "qwen2.5-7b", "FP8", ["未计划", "8/8", "7/8", "7/8", "7/8", "7/8", "36/40"]),
        ("prefill", "qwen2.5-14b", "INT8", ["未计划", "6/8", "7/8", "6/8", "5/8", "0/8", "24/40"]),
        ("prefill", "bitnet-2b", "FP8", ["未计划", "7/7", "7/7", "7/7", "7/7", "7/7", "35/35"]),
        ("decode", "qwen2.5-14b", "FP8", ["未计划", "4/4", "4/4", "4/4", "3/4", "1/4", "16/20"]),
        ("decode", "bitnet-2b", "INT8", ["未计划", "4/4", "4/4", "4/4", "4/4", "4/4", "20/20"]),
    ],
)
def test_completeness_by_model_and_backend(text, stage, model, quantization, expected):
    assert row(part(text, f"### 各阶段完成度：{stage}"), model, quantization) == expected


def test_hand_written_rates_of_bitnet_are_ours(text, tree):
    """Requests per second and tokens per second of its four tables, to the last digit."""
    (path,) = tree.glob("vllm_bench_logs/RTX4090/*BitNet*.md")
    theirs = path.read_text(encoding="utf-8")
    found = 0
    for quantization, stage, number in (
        ("INT8", "prefill", 2),
        ("FP8", "prefill", 2),
        ("INT8", "decode", 3),
        ("FP8", "decode", 3),
    ):
        table = part(
            part(theirs, f"## {number}."), f"### 性能数据 (BitNet-2B-{quantization} cuBLASLt)"
        )
        ours = part(text, f"### bitnet-2b, {quantization}, {stage}")
        for m, _, rate, _ in rows(table)[2:]:
            assert row(ours, m)[0].split("，")[0] == rate, (quantization, stage, m)
            found += 1
    assert found == 22


def test_failed_attempts_by_class(text):
    table = part(text, "## 失败原因分析")
    counts = {r[0].strip("`"): [int(n) for n in r[1:4]] for r in rows(table)[2:6]}
    assert counts["gpu_memory_busy"] == [80, 40, 0]
    assert counts["kv_cache_insufficient"][2] == 41
    assert counts["illegal_memory_access"] == [13, 9, 8]


def test_what_they_called_a_hardware_limit_was_refused_at_start_up(text):
    """Their 40 retries asked for 0.95 and 0.98 of a card of which 0.93 was free."""
    told = part(text, "## 失败原因分析")
    assert "80 次尝试" in told
    assert "0.95 … 0.98" in told
    advice = part(text, "### 建议")
    assert "`gpu_memory_utilization` 不要高于 0.93" in advice
    table = part(text, "### 显存不足的测试单元：41 个测试单元")
    assert (
        "`gpu_memory_utilization` 0.89 即可"
        in row(table, "qwen2.5-14b INT8 cublaslt prefill", "32768")[3]
    )


def test_decode_that_our_engine_cannot_hold_is_not_advised_to_be_repeated(text):
    table = part(text, "### 显存不足的测试单元：41 个测试单元")
    assert "达不到 M" in row(table, "qwen2.5-14b INT8 cusparselt 2:8 decode", "512")[3]
    assert "重试 19 个测试单元" in part(text, "### 建议")


def test_what_they_called_a_triton_bug_is_a_32_bit_index(text):
    block = part(text, "### `illegal_memory_access`：8 个测试单元")
    assert "65,536 x 37,888 = 2,483,027,968" in block
    passed = part(text, "### 其他后端溢出而该单元通过：1 个测试单元")
    assert "`qwen2.5-7b.fp8.cublaslt.prefill.m65536`" in passed


@pytest.mark.parametrize(
    ("group", "m", "expected"),
    [
        ("llama3.2-1b, INT8, prefill", "16384", ["1.30x", "1.16x", "1.13x", "1.06x"]),
        ("qwen2.5-14b, INT8, prefill", "2048", ["1.43x", "1.21x", "1.14x"]),
        ("llama3.2-3b, INT8, prefill", "65536", ["?4.36x", "?3.32x", "?3.10x", "?2.59x"]),
    ],
)
def test_main_speedups(text, group, m, expected):
    table = part(text, f"### {group}").split("的加速比", maxsplit=1)[1]
    factors = [field.split(" ")[0] for field in row(table, m) if re.match(r"\??\d+\.\d\dx", field)]
    assert factors == expected


def test_speedup_of_four_is_an_anomaly_of_its_reference(text):
    table = part(text, "### 孤立的加速比")
    line = row(table, "llama3.2-3b, INT8, prefill", "cusparselt 2:4", "65536")
    assert line[0] == "4.36x"
    assert "参考后端" in line[-1]


def test_rates_that_fall_off_are_found(text):
    table = part(text, "### 与相邻 M 不符的速率")
    assert row(table, "llama3.2-3b, INT8, prefill", "cublaslt", "65536")[0] == "5,555"
    assert sum("骤降" in r for r in rows(table)) >= 27


def test_nothing_of_our_worker_is_claimed_of_theirs(text):
    methods = part(text, "## 方法")
    assert "没有预热" in methods
    assert "引入段" not in methods
    assert plots.can_draw()[0] or "没有图" in text
