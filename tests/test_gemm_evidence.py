"""What a process says of the GEMMs that it ran."""

# ruff: noqa: E402 (what needs torch is imported once it is known to be there)

import json

import pytest

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from slidesparse_bench.vllm_plugin import ops
from slidesparse_bench.vllm_plugin.emulated import EmulatedGemm
from slidesparse_bench.vllm_plugin.evidence import Evidence

LIBRARY = EmulatedGemm("cusparselt", sparse=True)


def run(evidence, m=16, n=32, k=64, raw_dtype=torch.int32):
    """As if a GEMM of this problem had just been launched."""
    q_x = torch.empty((m, k), dtype=torch.int8)
    evidence.record(LIBRARY, q_x, torch.empty((m, n), dtype=raw_dtype), "quantize")


@pytest.fixture
def evidence():
    return Evidence()


@pytest.fixture
def evidence_of_ops(monkeypatch):
    """Of what this test alone runs through the op."""
    evidence = Evidence()
    monkeypatch.setattr(ops, "EVIDENCE", evidence)
    return evidence


def test_process_without_gemms_of_ours_has_no_evidence(evidence):
    assert evidence.summary() is None


def test_evidence_names_library_problem_algorithm_and_calls(evidence):
    for _ in range(3):
        run(evidence)
    assert evidence.summary() == {
        "library": "cusparselt",
        "version": LIBRARY.version,
        "emulated": True,
        "gemms": [
            {
                "m": 16, "n": 32, "k": 64, "input_type": "int8", "output_type": "int32",
                "algorithm": "float64 product", "prologue": "quantize", "calls": 3,
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    "other", [{"m": 32}, {"n": 48}, {"k": 96}, {"raw_dtype": torch.bfloat16}], ids=str
)
def test_problems_are_counted_apart(evidence, other):
    run(evidence)
    run(evidence, **other)
    run(evidence, **other)
    assert sorted(gemm["calls"] for gemm in evidence.summary()["gemms"]) == [1, 2]


def test_different_m_of_one_bucket_are_different_gemms(evidence):
    run(evidence, m=48)
    run(evidence, m=64)
    assert [gemm["m"] for gemm in evidence.summary()["gemms"]] == [48, 64]


def test_each_problem_is_one_line_of_the_log(evidence, capsys):
    for m in (16, 32, 16, 32, 16):
        run(evidence, m=m)
    assert capsys.readouterr().out.splitlines() == [
        "slidesparse cusparselt runs m16-n32-k64 int8 to int32 after quantize: float64 product",
        "slidesparse cusparselt runs m32-n32-k64 int8 to int32 after quantize: float64 product",
    ]


def test_evidence_is_plain_json(evidence):
    run(evidence)
    assert json.loads(json.dumps(evidence.summary())) == evidence.summary()


def test_the_op_leaves_evidence_of_the_problem_that_really_ran(evidence_of_ops):
    packed = torch.zeros((32, 24), dtype=torch.int8)
    x = torch.ones((5, 24), dtype=torch.bfloat16)
    for _ in range(2):
        ops.w8a8_gemm(x, packed, None, "cublaslt", 32, 24, 4, 0, torch.int8, torch.int32)
    [gemm] = evidence_of_ops.summary()["gemms"]
    assert (gemm["m"], gemm["n"], gemm["k"], gemm["calls"]) == (16, 32, 24, 2)
    assert evidence_of_ops.summary()["library"] == "cublaslt"


def test_the_op_with_silu_says_so(evidence_of_ops):
    packed = torch.zeros((32, 24), dtype=torch.int8)
    sums = torch.ones((5, 48), dtype=torch.int32), torch.ones((5, 1)), torch.ones((1, 48))
    rest = (packed, None, "cublaslt", 32, 24, 4, 0, torch.int8, torch.int32)
    ops.silu_and_mul_w8a8_gemm(*sums, torch.bfloat16, *rest)
    [gemm] = evidence_of_ops.summary()["gemms"]
    assert (gemm["prologue"], gemm["k"]) == ("silu_and_mul_quantize", 24)


def test_tracing_the_op_is_no_evidence(evidence_of_ops):
    with torch._subclasses.FakeTensorMode():
        packed = torch.zeros((32, 24), dtype=torch.int8)
        x = torch.ones((5, 24), dtype=torch.bfloat16)
        ops.w8a8_gemm(x, packed, None, "cublaslt", 32, 24, 4, 0, torch.int8, torch.int32)
    assert evidence_of_ops.summary() is None
