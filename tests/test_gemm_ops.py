"""The op behind our linear layers, on the CPU: quantize, stretch, pad, multiply; torch.compile."""

# ruff: noqa: E402 (what needs torch is imported once it is known to be there)

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from torch._dynamo.testing import CompileCounterWithBackend

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin import gemm, ops
from slidesparse_bench.vllm_plugin.dequantize import silu_and_mul
from slidesparse_bench.vllm_plugin.gemm import padded_columns
from slidesparse_bench.vllm_plugin.ops import (
    library_of,
    quantize,
    silu_and_mul_w8a8_gemm,
    w8a8_gemm,
)
from slidesparse_bench.vllm_plugin.packing import DENSE_GROUP
from slidesparse_bench.vllm_plugin.reference_gemm import (
    FP8_MIN_SCALE,
    accumulate,
    quantize_per_token,
    quantize_static,
)
from slidesparse_bench.vllm_plugin.sparsity import prune, slide, stretch, stretched_k

# Inductor, which torch.compile imports whatever the backend, is full of torch.jit (torch 2.13).
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

FP8 = torch.float8_e4m3fn
CPU = torch.device("cpu")
GROUPS = Sparsity.GROUPS
BOTH_TYPES = pytest.mark.parametrize("q_dtype", [torch.int8, FP8], ids=["int8", "fp8"])
DENSE_AND_SPARSE = pytest.mark.parametrize(
    "sparsity", [None, Sparsity(4), Sparsity(8), Sparsity(10)], ids=str
)


def activations(m, k, dtype=torch.bfloat16, seed=0):
    """`[m, k]`, rows of very different magnitudes."""
    generator = torch.Generator().manual_seed(seed)
    magnitudes = torch.logspace(-3, 3, m).unsqueeze(1)
    return (torch.randn((m, k), generator=generator) * magnitudes).to(dtype)


def weights(n, k, dtype, seed=1):
    """`[n, k]` over the whole range of int8 or FP8."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-127, 128, (n, k), generator=generator)
    return values.to(torch.float32).to(dtype)


class Layer:
    """A weight as `linear.py` hands it to the op; `sparsity` None is the dense library."""

    def __init__(self, n, k, q_dtype, sparsity):
        weight = weights(n, k, q_dtype)
        self.name = "cublaslt" if sparsity is None else "cusparselt"
        self.pruned = weight if sparsity is None else prune(weight, sparsity)
        packable = padded_columns(weight) if sparsity is None else slide(self.pruned, sparsity)
        library = library_of(self.name, CPU)
        raw_dtype = library.raw_dtype(q_dtype, torch.bfloat16)
        group = DENSE_GROUP if sparsity is None else sparsity.group
        self.packed = library.pack(packable)
        k_out = packable.shape[1] if sparsity else self.packed.shape[1]
        self.rest = (self.name, n, k_out, group, 0, q_dtype, raw_dtype)

    def arguments(self, x, static_scale=None):
        return (x, self.packed, static_scale, *self.rest)


@pytest.fixture(autouse=True)
def _compiled_for_one_test_only():
    yield
    torch.compiler.reset()


class Case:
    """One quantization: what goes in, and what the reference makes of it."""

    def __init__(self, m, k, group, x_dtype, q_dtype, scale, seed):
        self.x = activations(m, k, x_dtype, seed)
        self.scale = None if scale is None else torch.tensor([scale])
        self.k_used = stretched_k(k, Sparsity(group), align=1)
        self.arguments = (stretched_k(k, Sparsity(group)), group, q_dtype)
        if scale is None:
            q, self.scales = quantize_per_token(self.x, q_dtype)
        else:
            q, self.scales = quantize_static(self.x, self.scale, q_dtype)
        self.q = stretch(q, Sparsity(group), align=1)


CASES = st.builds(
    Case,
    m=st.integers(1, 40),
    k=st.integers(1, 70),
    group=st.sampled_from(GROUPS),
    x_dtype=st.sampled_from([torch.bfloat16, torch.float16]),
    q_dtype=st.sampled_from([torch.int8, FP8]),
    scale=st.none() | st.sampled_from([0.01, 1.0, 37.5]),
    seed=st.integers(0, 2**16),
)


def as_bytes(tensor):
    return tensor.contiguous().view(torch.uint8)


# Quantize


@given(CASES)
def test_quantized_rows_are_those_of_the_reference_stretched(case):
    q, scales = quantize(case.x, case.scale, *case.arguments)
    m = case.x.shape[0]
    assert torch.equal(as_bytes(q[:m, : case.k_used]), as_bytes(case.q))
    assert torch.equal(scales, case.scales)


@given(CASES)
def test_rows_are_padded_to_16_and_columns_with_zeros(case):
    q, scales = quantize(case.x, case.scale, *case.arguments)
    m = case.x.shape[0]
    assert q.shape[0] % 16 == 0
    assert 0 <= q.shape[0] - m < 16
    assert (scales.shape, scales.dtype) == ((m, 1), torch.float32)
    assert not as_bytes(q[:m, case.k_used :]).any()


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0]),
        (8, [0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7]),
    ],
)
def test_eight_activations_stretch_to_their_windows(group, expected):
    x = torch.arange(8, dtype=torch.bfloat16).unsqueeze(0)
    q, _ = quantize(x, torch.tensor([1.0]), len(expected), group, torch.int8)
    assert q[0].tolist() == expected


@pytest.mark.parametrize("group", [6, 8, 10])
@BOTH_TYPES
def test_rows_that_begin_within_a_group_are_stretched_from_there(group, q_dtype):
    x = activations(3, 22)
    for phase in range(0, group, 2):
        k_out = stretched_k(22 + phase, Sparsity(group))
        shifted = torch.nn.functional.pad(x, (phase, 0))
        q, scales = quantize(x, None, k_out, group, q_dtype, phase)
        expected, expected_scales = quantize(shifted, None, k_out, group, q_dtype)
        assert torch.equal(as_bytes(q[:3]), as_bytes(expected[:3]))
        assert torch.equal(scales, expected_scales)


@BOTH_TYPES
def test_row_of_zeros_is_quantized_to_zeros(q_dtype):
    q, scales = quantize(torch.zeros((1, 8), dtype=torch.bfloat16), None, 8, 4, q_dtype)
    assert q[0].float().tolist() == [0.0] * 8
    assert scales.item() == pytest.approx(0.0 if q_dtype == torch.int8 else FP8_MIN_SCALE)


@pytest.mark.parametrize(
    ("q_dtype", "limits"), [(torch.int8, [127, -128]), (FP8, [448, -448])], ids=["int8", "fp8"]
)
def test_activations_beyond_a_static_scale_saturate(q_dtype, limits):
    x = torch.tensor([[6e4, -6e4]], dtype=torch.float16)
    q, scales = quantize(x, torch.tensor([1.0]), 4, 4, q_dtype)
    assert q[0, :2].float().tolist() == limits
    assert scales.tolist() == [[1.0]]


def test_static_scale_of_no_dimension_is_one_scale_too():
    x = torch.tensor([[2.0, 4.0], [6.0, 8.0]], dtype=torch.bfloat16)
    q, scales = quantize(x, torch.tensor(2.0), 4, 4, torch.int8)
    assert q[:2, :2].tolist() == [[1, 2], [3, 4]]
    assert scales.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("view", [lambda x: x[:, ::2], lambda x: x[:6].t()], ids=["step", "t"])
def test_strided_activations_give_what_contiguous_ones_do(view):
    x = view(activations(6, 24))
    for strided, plain in zip(
        quantize(x, None, 32, 4, torch.int8),
        quantize(x.contiguous(), None, 32, 4, torch.int8),
        strict=True,
    ):
        assert torch.equal(strided[: x.shape[0]], plain[: x.shape[0]])


# The op


@BOTH_TYPES
@pytest.mark.parametrize("sparsity", [None, *map(Sparsity, GROUPS)], ids=str)
@pytest.mark.parametrize("m", [1, 15, 16, 17])
def test_sums_are_the_product_of_quantized_activations_and_pruned_weights(m, sparsity, q_dtype):
    layer = Layer(48, 70, q_dtype, sparsity)
    x = activations(m, 70)
    raw, scale = w8a8_gemm(*layer.arguments(x))
    q_x, x_scale = quantize_per_token(x, q_dtype)
    assert torch.equal(raw, accumulate(q_x, layer.pruned))
    assert torch.equal(scale, x_scale)


@DENSE_AND_SPARSE
def test_static_scale_goes_through_to_the_sums(sparsity):
    layer = Layer(32, 24, torch.int8, sparsity)
    x, static_scale = activations(5, 24), torch.tensor([0.25])
    raw, scale = w8a8_gemm(*layer.arguments(x, static_scale))
    q_x, _ = quantize_static(x, static_scale, torch.int8)
    assert torch.equal(raw, accumulate(q_x, layer.pruned))
    assert scale.tolist() == [[0.25]] * 5


@DENSE_AND_SPARSE
def test_no_tokens_give_no_sums(sparsity):
    layer = Layer(32, 24, torch.int8, sparsity)
    raw, scale = w8a8_gemm(*layer.arguments(activations(0, 24)))
    assert (raw.shape, scale.shape) == ((0, 32), (0, 1))


def test_what_lies_past_the_last_token_changes_nothing(monkeypatch):
    layer = Layer(32, 24, FP8, Sparsity(8))
    clean, _ = w8a8_gemm(*layer.arguments(activations(3, 24)))
    nans = torch.full((16, 64), 0x7F, dtype=torch.uint8).view(FP8)
    monkeypatch.setattr(
        "slidesparse_bench.vllm_plugin.ops.quantize",
        lambda *arguments: (nans_past(nans, quantize(*arguments)[0]), quantize(*arguments)[1]),
    )
    dirty, _ = w8a8_gemm(*layer.arguments(activations(3, 24)))
    assert torch.equal(dirty, clean)


def nans_past(nans, q):
    return torch.cat([as_bytes(q[:3]), as_bytes(nans[3:, : q.shape[1]])]).view(FP8)


@BOTH_TYPES
@DENSE_AND_SPARSE
@pytest.mark.parametrize("static_scale", [None, torch.tensor([0.5])], ids=["dynamic", "static"])
@pytest.mark.parametrize("m", [1, 16, 21])
def test_op_is_what_torch_expects_of_one(m, static_scale, sparsity, q_dtype):
    """Shapes, strides and dtypes of the fake implementation, no aliasing, no mutation."""
    layer = Layer(32, 42, q_dtype, sparsity)
    checks = ["test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    if layer.packed.dtype != FP8:  # the schema's test multiplies its arguments (torch 2.13)
        checks.append("test_schema")
    done = torch.library.opcheck(
        w8a8_gemm, layer.arguments(activations(m, 42), static_scale), test_utils=checks
    )
    assert done == dict.fromkeys(checks, "SUCCESS")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@DENSE_AND_SPARSE
def test_one_graph_serves_every_number_of_tokens(backend, sparsity):
    layer = Layer(32, 42, torch.int8, sparsity)
    scales = torch.rand((1, 32))

    def forward(x):
        raw, x_scale = w8a8_gemm(*layer.arguments(x))
        return x_scale * (scales * raw)

    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(forward, fullgraph=True, dynamic=True, backend=counter)
    for m in (7, 16, 33, 2):
        x = activations(m, 42)
        assert torch.equal(compiled(x), forward(x))
    assert counter.frame_count == 1


def test_one_token_is_a_graph_of_its_own_and_as_right():
    layer = Layer(32, 42, FP8, Sparsity(8))
    compiled = torch.compile(
        lambda x: w8a8_gemm(*layer.arguments(x))[0], fullgraph=True, backend="aot_eager"
    )
    x = activations(1, 42)
    assert torch.equal(compiled(x), w8a8_gemm(*layer.arguments(x))[0])


# The op with SiLU before it


def gate_up(m, d, raw_dtype):
    generator = torch.Generator().manual_seed(m + d)
    raw = torch.randint(-(2**12), 2**12, (m, 2 * d), generator=generator).to(raw_dtype)
    scales = torch.rand((m, 1), generator=generator), torch.rand((1, 2 * d), generator=generator)
    return raw, scales[0] * 1e-2, scales[1]


RAW_TYPES = pytest.mark.parametrize("raw_dtype", [torch.int32, torch.bfloat16], ids=str)


def test_activation_is_silu_of_the_first_half_times_the_second():
    raw = torch.tensor([[2, -3, 5, 7]], dtype=torch.int32)
    x_scale, w_scale = torch.tensor([[0.5]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    out = silu_and_mul(raw, x_scale, w_scale, torch.float16)
    gate, up = torch.tensor([[1.0, -3.0]]), torch.tensor([[7.5, 14.0]])
    assert torch.equal(out, (gate / (1 + (-gate).exp()) * up).to(torch.float16))


@RAW_TYPES
@DENSE_AND_SPARSE
def test_op_with_silu_is_the_op_of_the_activations(raw_dtype, sparsity):
    layer = Layer(32, 42, torch.int8, sparsity)
    sums = gate_up(5, 42, raw_dtype)
    raw, scale = silu_and_mul_w8a8_gemm(*sums, torch.bfloat16, *layer.arguments(None)[1:])
    activations_ = silu_and_mul(*sums, torch.bfloat16)
    expected, expected_scale = w8a8_gemm(*layer.arguments(activations_))
    assert torch.equal(raw, expected)
    assert torch.equal(scale, expected_scale)


def test_no_tokens_have_no_activations():
    layer = Layer(32, 42, torch.int8, Sparsity(8))
    sums = gate_up(0, 42, torch.int32)
    raw, scale = silu_and_mul_w8a8_gemm(*sums, torch.bfloat16, *layer.arguments(None)[1:])
    assert (raw.shape, scale.shape) == ((0, 32), (0, 1))


@RAW_TYPES
@pytest.mark.parametrize("static_scale", [None, torch.tensor([0.5])], ids=["dynamic", "static"])
def test_op_with_silu_is_what_torch_expects_of_one(raw_dtype, static_scale):
    layer = Layer(32, 42, torch.int8, Sparsity(8))
    checks = ["test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    arguments = (*gate_up(21, 42, raw_dtype), torch.bfloat16)
    arguments += layer.arguments(None, static_scale)[1:]
    done = torch.library.opcheck(silu_and_mul_w8a8_gemm, arguments, test_utils=checks)
    assert done == dict.fromkeys(checks, "SUCCESS")


# Libraries


@pytest.mark.parametrize("name", ["cublaslt", "cusparselt"])
def test_library_of_the_cpu_is_emulated_and_made_once(name):
    library = library_of(name, CPU)
    assert (library.name, library.emulated) == (name, True)
    assert library_of(name, CPU) is library


def test_only_cusparselt_takes_nothing_but_2_4():
    too_dense = torch.ones((16, 8), dtype=torch.int8)
    library_of("cublaslt", CPU).pack(too_dense)
    with pytest.raises(ValueError, match="more than two"):
        library_of("cusparselt", CPU).pack(too_dense)


# Plans


class Plan:
    algorithm, provisional = "the only one", False

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


@pytest.fixture
def two_plans_at_most(monkeypatch):
    monkeypatch.setattr(gemm, "MAX_PLANS", 2)
    return gemm.Plans()


def test_plan_is_made_once(two_plans_at_most):
    plan = two_plans_at_most.get((16,), Plan)
    assert two_plans_at_most.get((16,), Plan) is plan


def test_plan_beyond_the_limit_closes_an_old_one_and_no_other(two_plans_at_most):
    plans = [two_plans_at_most.get((m,), Plan) for m in (16, 32, 48)]
    assert [plan.closed for plan in plans] == [True, False, False]


def test_plan_in_use_outlives_idle_ones(two_plans_at_most):
    busy, idle = (two_plans_at_most.get((m,), Plan) for m in (16, 32))
    two_plans_at_most.get((16,), Plan)
    two_plans_at_most.get((48,), Plan)
    assert (busy.closed, idle.closed) == (False, True)


def test_plan_that_cannot_be_made_is_not_kept(two_plans_at_most):
    with pytest.raises(ZeroDivisionError):
        two_plans_at_most.get((16,), lambda: 1 / 0)
    assert isinstance(two_plans_at_most.get((16,), Plan), Plan)


@given(st.integers(0, 2**20))
def test_rows_are_padded_to_the_next_multiple_of_16(m):
    assert gemm.padded_rows(m) % 16 == 0
    assert m <= gemm.padded_rows(m) < m + 16


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_the_kernel_gets_pairs_at_addresses_that_four_divides(offset):
    memory = torch.arange(64, dtype=torch.bfloat16)
    x = memory[offset : offset + 32].view(2, 16)
    pairs = ops._in_pairs(x)
    assert pairs.data_ptr() % 4 == 0
    assert torch.equal(pairs, x)
    assert (pairs is x) is (offset % 2 == 0)
