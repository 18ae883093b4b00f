"""Every number of docs/theory.md and docs/backends.md that the code can compute, computed."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from slidesparse_bench.backends import BACKENDS  # noqa: E402 - see above
from slidesparse_bench.cell import Quantization, Sparsity  # noqa: E402
from slidesparse_bench.memory_model import compressed_bytes_per_element  # noqa: E402
from slidesparse_bench.vllm_plugin import reference_gemm, sparsity  # noqa: E402
from slidesparse_bench.vllm_plugin.algorithms import M_STEP, AlgorithmCache, Problem  # noqa: E402
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm  # noqa: E402
from slidesparse_bench.vllm_plugin.evidence import Evidence  # noqa: E402
from slidesparse_bench.vllm_plugin.packing import N_STEP  # noqa: E402
from slidesparse_bench.vllm_plugin.sparsity import prune, slide, stretch  # noqa: E402
from slidesparse_bench.wire import (  # noqa: E402
    ATTEMPT_VARIABLE,
    CAMPAIGN_VARIABLE,
    GEMM_VARIABLE,
)

DOCS = Path(__file__).parents[1] / "docs"
THEORY = (DOCS / "theory.md").read_text(encoding="utf-8")
BACKENDS_DOC = (DOCS / "backends.md").read_text(encoding="utf-8")


def table(text, first_heading):
    """Cells of the rows of the table whose first heading this is."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(f"| {first_heading} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def hand_example():
    """The lines of the example that are written out, by their first word."""
    section = THEORY.split("## 2:8 by hand")[1].split("```pycon")[0]
    found = {}
    for line in section.splitlines():
        match = re.fullmatch(r"    (\S+(?: \d)?)  +(.*)", line)
        if match:
            found.setdefault(match[1], []).append(match[2])
    return found


def numbers(text):
    return [int(number) for number in re.findall(r"-?\d+", text)]


def test_the_blocks_say_what_the_code_says():
    outcome = doctest.testfile(str(DOCS / "theory.md"), module_relative=False)
    assert outcome.attempted >= 15
    assert outcome.failed == 0


def test_the_example_by_hand_is_what_the_code_does():
    lines = hand_example()
    weight, pruned = (torch.tensor([numbers(line)], dtype=torch.int8) for line in lines["w"])
    x = torch.tensor([numbers(lines["x"][0])], dtype=torch.int8)
    two_eight = Sparsity(8)

    assert numbers(lines["column"][0]) == list(range(8))
    assert prune(weight, two_eight).tolist() == pruned.tolist()
    assert slide(pruned, two_eight, align=4).tolist() == [numbers(lines["w'"][0])]
    assert stretch(x, two_eight, align=4).tolist() == [numbers(lines["x'"][0])]
    for name in ("dense", "sparse"):
        products, terms, total = lines[name][0].split("=")
        factors = re.findall(r"(-?\d+)\*(-?\d+)", products)
        signed = terms.replace("- ", "-")
        assert len(factors) == 6
        assert sum(int(a) * int(b) for a, b in factors) == int(total) == sum(numbers(signed)) == 4


@pytest.mark.parametrize("window", range(3))
def test_every_window_by_hand_takes_what_the_code_gives_it(window):
    lines = hand_example()
    first, last, taken = re.fullmatch(
        r"columns (\d)-(\d) .* takes (-?\d+ and -?\d+).*", lines[f"window {window}"][0]
    ).groups()
    row = numbers(lines["w'"][0])[4 * window : 4 * window + 4]
    assert (int(first), int(last)) == (2 * window, 2 * window + 3)
    assert numbers(taken) == [weight for weight in row if weight]


def test_notations_and_shares_of_zeros():
    rows = table(THEORY, "here")
    assert [row[0] for row in rows] == [str(Sparsity(group)) for group in Sparsity.GROUPS]
    for here, zeros, paper, nonzeros in rows:
        group = Sparsity.parse(here).group
        assert zeros == f"{Sparsity(group).zero_share:.0%}".replace("%", " %")
        assert (paper, int(nonzeros)) == (f"{group - 2}:{group}", group - 2)


def test_stretch_ceiling_and_memory_of_every_sparsity():
    rows = table(THEORY, "sparsity")
    assert [row[0] for row in rows] == [str(Sparsity(group)) for group in Sparsity.GROUPS]
    sm90, sm80 = (compressed_bytes_per_element(Quantization.INT8, sm) for sm in (90, 80))
    for row in rows:
        found = Sparsity.parse(row[0])
        columns = sparsity.stretched_k(found.group, found, align=1)
        stretched = columns / found.group
        assert [int(cell) for cell in row[1:3]] == [columns // 4, columns]
        expected = [stretched, 2 / stretched, sm90 * stretched, sm80 * stretched]
        assert [float(cell) for cell in row[3:]] == pytest.approx(expected, abs=0.00051)
        assert found.k_stretch == stretched


@pytest.mark.parametrize(
    ("quantization", "sm", "bytes_per_column"),
    [
        ("int8", 90, 0.625),
        ("fp8", 100, 0.625),
        ("fp8", 120, 0.625),
        ("int8", 80, 0.75),
        ("fp8", 89, 0.75),
        ("int8", 120, 0.75),
    ],
)
def test_bytes_of_compressed_weights_by_gpu(quantization, sm, bytes_per_column):
    assert compressed_bytes_per_element(Quantization(quantization), sm) == bytes_per_column


def test_limits_are_those_of_the_code():
    assert (sparsity.ALIGN, M_STEP, reference_gemm.EXACT_K) == (32, 16, 131_072)
    limits = [row[1] for row in table(THEORY, "what")]
    assert limits[0] == ", ".join(str(group) for group in Sparsity.GROUPS)
    assert limits[2] == "multiples of 32 and 16, padded by us"
    assert limits[3] == f"multiples of {N_STEP}, padded by us"
    assert limits[4] == f"multiples of {M_STEP}, padded by us"
    assert limits[5] == "below 131,072"
    int8 = BACKENDS["cusparselt"].min_sm[Quantization.INT8]
    fp8 = BACKENDS["cusparselt"].min_sm[Quantization.FP8]
    assert limits[6] == f"INT8 from sm_{int8}, FP8 from sm_{fp8}"


def test_raw_sums_of_the_emulated_library():
    emulated = next(row for row in table(THEORY, "library") if row[0] == "emulated")
    library = EmulatedGemm("cusparselt", sparse=True)
    for dtype, name in zip((torch.int8, torch.float8_e4m3fn), emulated[1:], strict=True):
        assert str(library.raw_dtype(dtype, torch.bfloat16)) == f"torch.{name}"


def test_capabilities_of_the_backends():
    rows = table(BACKENDS_DOC, "backend")
    assert [row[0].strip("`") for row in rows] == list(BACKENDS)
    for row in rows:
        backend = BACKENDS[row[0].strip("`")]
        assert (row[3] == "needed") == backend.needs_sparsity
        assert (row[6] == "unsupported") == backend.cuda_only
        assert (row[6] == "emulated") == backend.own_kernels
        for quantization, cell in zip(Quantization, row[4:6], strict=True):
            if backend.min_sm is None:
                continue
            expected = [backend.min_sm[quantization], (backend.below_sm or {}).get(quantization)]
            said = [round(10 * float(number)) for number in re.findall(r"\d+\.\d", cell)]
            assert said == [sm for sm in expected if sm is not None]


def test_variables_are_called_what_the_code_calls_them():
    named = {row[0].strip("`") for row in table(BACKENDS_DOC, "variable")}
    assert {ATTEMPT_VARIABLE, CAMPAIGN_VARIABLE, GEMM_VARIABLE} <= named


def test_searched_algorithms_lie_where_the_page_says(tmp_path):
    cache = AlgorithmCache(tmp_path / "gemm", "cusparselt-0.8.0", "NVIDIA H200", bool)
    problem = Problem(m=5000, n=37888, k=5376, input_type="int8", output_type="bfloat16")
    cache.put(problem, {"config_id": 1})
    [file] = (path for path in tmp_path.rglob("*") if path.is_file())
    pattern = re.search(r"\$SLIDESPARSE_CACHE/(gemm/search-.*?\.json)", BACKENDS_DOC)[1]
    said = {
        "<library>-<version>": "cusparselt-0.8.0",
        "<GPU>": "NVIDIA-H200",
        "<bucket>": "8192",
        "<n>": "37888",
        "<k>": "5376",
        "<input>": "int8",
        "<output>": "bfloat16",
    }
    for placeholder, value in said.items():
        pattern = pattern.replace(placeholder, value)
    assert file.relative_to(tmp_path).as_posix() == pattern


def test_evidence_has_the_keys_of_the_example():
    example = json.loads(BACKENDS_DOC.split("```json")[1].split("```")[0])
    evidence = Evidence()
    q, raw = torch.zeros((16, 32), dtype=torch.int8), torch.zeros((16, 16), dtype=torch.int32)
    evidence.record(EmulatedGemm("cusparselt", sparse=True), q, raw, "quantize")
    found = evidence.summary()
    assert list(example) == list(found)
    assert list(example["gemms"][0]) == list(found["gemms"][0])
