"""Kernels and libraries on a real GPU: the same bytes and sums as on the CPU, at any size."""

# ruff: noqa: E402 (what needs torch is imported once it is known to be there)

import itertools

import pytest

torch = pytest.importorskip("torch", reason="comes with the vllm and cpu extras")

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.units import GIB, MIB
from slidesparse_bench.vllm_plugin import gemm
from slidesparse_bench.vllm_plugin.dequantize import silu_and_mul
from slidesparse_bench.vllm_plugin.ops import (
    library_of,
    quantize,
    silu_and_mul_quantize,
    w8a8_gemm,
)
from slidesparse_bench.vllm_plugin.packing import DENSE_GROUP, pack
from slidesparse_bench.vllm_plugin.reference_gemm import accumulate
from slidesparse_bench.vllm_plugin.sparsity import prune, slide, stretched_k

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
    pytest.mark.filterwarnings("default"),  # what torch and triton say of this GPU is theirs
]

FP8 = torch.float8_e4m3fn
BF16, FP16 = torch.bfloat16, torch.float16
BOTH_TYPES = pytest.mark.parametrize("q_dtype", [torch.int8, FP8], ids=["int8", "fp8"])
BOTH_LIBRARIES = pytest.mark.parametrize("name", ["cublaslt", "cusparselt"])
LARGEST_M, LARGEST_N = 65536, 37888
"""Qwen2.5-7B's gate_up at the largest M of the public matrix: more than 2^31 sums."""


@pytest.fixture
def device():
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture
def nvmath():
    return pytest.importorskip("nvmath", reason="comes with the vllm extra")


@pytest.fixture(autouse=True)
def _memory_given_back():
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def as_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).cpu()


def activations(m, k, dtype=BF16, seed=0):
    """`[m, k]` on the CPU. Row 0 is zeros; row 1 lies on the halves between two int8 values."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((m, k), generator=generator) * torch.logspace(-2, 2, m).unsqueeze(1)
    if m > 1:
        x[0] = 0
        x[1] = torch.arange(k) % 509 - 254
        x[1, 0] = 254
    return x.to(dtype)


class Weights:
    """Pruned, slid and packed on the GPU; `sparsity` None is the dense library."""

    def __init__(self, device, n, k, q_dtype, sparsity=None, out_dtype=BF16):
        generator = torch.Generator().manual_seed(n + k)
        weight = torch.randint(-127, 128, (n, k), generator=generator).float().to(q_dtype)
        weight = weight.to(device)
        self.pruned = weight if sparsity is None else prune(weight, sparsity)
        packable = weight if sparsity is None else slide(self.pruned, sparsity)
        self.name = "cublaslt" if sparsity is None else "cusparselt"
        library = library_of(self.name, device)
        self.packed = library.pack(packable)
        self.raw_dtype = library.raw_dtype(q_dtype, out_dtype)
        k_out = self.packed.shape[1] if sparsity is None else packable.shape[1]
        group = DENSE_GROUP if sparsity is None else sparsity.group
        self.k_out, self.group, self.q_dtype = k_out, group, q_dtype
        self.rest = (self.name, n, k_out, group, 0, q_dtype, self.raw_dtype)

    def times(self, x, static_scale=None):
        return w8a8_gemm(x, self.packed, static_scale, *self.rest)

    def exact(self, x):
        """The sums without any rounding, of the same quantized activations."""
        k = self.pruned.shape[1]
        q, _ = quantize(x, None, stretched_k(k, Sparsity(4), 16), 4, self.q_dtype)
        return accumulate(q[: x.shape[0], :k], self.pruned)


def a_weight(device, name, q_dtype=torch.int8, **sizes):
    sizes = {"n": 96, "k": 256, **sizes}
    sparsity = Sparsity(8) if name == "cusparselt" else None
    return Weights(device, sizes["n"], sizes["k"], q_dtype, sparsity)


# Quantize


QUANTIZATIONS = [
    *itertools.product(Sparsity.GROUPS, [BF16], [torch.int8, FP8], [None]),
    *itertools.product((4, 8, 10), [FP16], [torch.int8, FP8], [None]),
    *itertools.product((4, 10), [BF16, FP16], [torch.int8, FP8], [0.37]),
]


@pytest.mark.parametrize(("group", "x_dtype", "q_dtype", "scale"), QUANTIZATIONS, ids=str)
def test_kernel_quantizes_to_the_bytes_of_the_reference(device, group, x_dtype, q_dtype, scale):
    k = 1006  # in no group's multiples, and long enough for two blocks of the kernel
    k_out = stretched_k(k, Sparsity(group))
    for m in (1, 37):
        x = activations(m, k, x_dtype)
        static = None if scale is None else torch.tensor([scale])
        q, scales = quantize(x, static, k_out, group, q_dtype)
        on_gpu = None if static is None else static.to(device)
        q_gpu, scales_gpu = quantize(x.to(device), on_gpu, k_out, group, q_dtype)
        assert q_gpu.shape == q.shape
        assert torch.equal(as_bytes(q_gpu[:m]), as_bytes(q[:m]))
        assert torch.equal(scales_gpu.cpu(), scales)


@pytest.mark.parametrize("k", [2, 64, 2048, 3584, 18944])
@pytest.mark.parametrize("group", [4, 8])
def test_every_length_of_a_row_is_quantized_to_its_end(device, k, group):
    x, k_out = activations(5, k), stretched_k(k, Sparsity(group))
    q, _ = quantize(x, None, k_out, group, torch.int8)
    for _ in range(2):  # compiled, then found
        q_gpu, _ = quantize(x.to(device), None, k_out, group, torch.int8)
        assert torch.equal(as_bytes(q_gpu[:5]), as_bytes(q[:5]))


def test_rows_of_a_wider_tensor_are_quantized_where_they_lie(device):
    wide = activations(20, 512).to(device)
    for part in (wide[:, :256], wide[:, 256:], wide[::2, :256]):
        q, _ = quantize(part, None, 256, 4, torch.int8)
        plain, _ = quantize(part.contiguous(), None, 256, 4, torch.int8)
        m = part.shape[0]
        assert torch.equal(as_bytes(q[:m]), as_bytes(plain[:m]))


def test_transposed_activations_are_quantized_right(device):
    x = activations(64, 32).to(device).t()
    q, _ = quantize(x, None, 64, 4, torch.int8)
    plain, _ = quantize(x.contiguous(), None, 64, 4, torch.int8)
    assert torch.equal(as_bytes(q[:32]), as_bytes(plain[:32]))


def test_odd_k_is_quantized_right(device):
    x = activations(8, 63)
    q, _ = quantize(x, None, 64, 4, torch.int8)
    q_gpu, _ = quantize(x.to(device), None, 64, 4, torch.int8)
    assert torch.equal(as_bytes(q_gpu[:8]), as_bytes(q[:8]))


def test_quantized_activations_beyond_2_31_bytes_are_where_they_belong(device):
    needs(24 * GIB)
    # Random in its last rows only: what lies before them takes time and shows nothing.
    x = torch.zeros((LARGEST_M, LARGEST_N), dtype=BF16, device=device)
    x[-3:] = activations(3, LARGEST_N).to(device)
    k_out = stretched_k(LARGEST_N, Sparsity(8))
    q_gpu, scales_gpu = quantize(x, None, k_out, 8, torch.int8)
    q, scales = quantize(x[-3:].cpu(), None, k_out, 8, torch.int8)
    assert torch.equal(as_bytes(q_gpu[-3:]), as_bytes(q[:3]))
    assert torch.equal(scales_gpu[-3:].cpu(), scales)
    assert not q_gpu[1000].any()


# SiLU, product and quantization in one


SILU_CASES = [
    *itertools.product((4, 8, 10), [BF16, torch.int32], [BF16], [torch.int8, FP8], [None]),
    *itertools.product((4, 6), [FP16, torch.int32], [FP16], [torch.int8, FP8], [None]),
    *itertools.product((8,), [torch.float32], [BF16], [torch.int8, FP8], [None, 0.37]),
]


def gate_up(device, m, d, dtype):
    """Sums and their scales; activations are near one, those of token 0 of several are zeros."""
    generator = torch.Generator(device).manual_seed(d)
    raw = torch.randint(-9999, 9999, (m, 2 * d), device=device, generator=generator)
    if m > 1:
        raw[0] = 0
    x_scale = torch.rand((m, 1), device=device, generator=generator) * 1e-3
    w_scale = torch.rand((1, 2 * d), device=device, generator=generator)
    return raw.to(dtype), x_scale, w_scale


@pytest.mark.parametrize(("group", "raw_dtype", "x_dtype", "q_dtype", "scale"), SILU_CASES, ids=str)
def test_activation_kernel_is_the_expression_quantized(
    device, group, raw_dtype, x_dtype, q_dtype, scale
):
    static = None if scale is None else torch.tensor([scale], device=device)
    for m, d in ((1, 1006), (1500, 1006), (3, 8192)):  # more tokens than programs; several blocks
        sums = gate_up(device, m, d, raw_dtype)
        rest = (static, stretched_k(d, Sparsity(group)), group, q_dtype)
        for _ in range(2):  # compiled, then found
            q, scales = silu_and_mul_quantize(*sums, x_dtype, *rest)
        expected, expected_scales = quantize(silu_and_mul(*sums, x_dtype), *rest)
        assert q.shape == expected.shape
        # Exponentials differ in their last bit, which seldom rounds to another neighbour.
        assert (as_bytes(q[:m]) == as_bytes(expected[:m])).double().mean() > 0.999
        assert torch.allclose(q[:m].float(), expected[:m].float(), rtol=2**-3, atol=1)
        assert torch.allclose(scales, expected_scales, rtol=2**-7)


@pytest.mark.parametrize(("group", "phase"), [(8, 2), (8, 6), (10, 4), (10, 8)])
@BOTH_TYPES
def test_rows_that_begin_within_a_group_are_stretched_from_there(device, group, phase, q_dtype):
    d = 1006
    k_out = stretched_k(d + phase, Sparsity(group))
    x = activations(5, d).to(device)
    shifted = torch.nn.functional.pad(x, (phase, 0))
    q, scales = quantize(x, None, k_out, group, q_dtype, phase)
    expected, expected_scales = quantize(shifted, None, k_out, group, q_dtype)
    assert torch.equal(as_bytes(q[:5]), as_bytes(expected[:5]))
    assert torch.equal(scales, expected_scales)
    sums = gate_up(device, 5, d, BF16)
    fused, _ = silu_and_mul_quantize(*sums, BF16, None, k_out, group, q_dtype, phase)
    apart, _ = quantize(silu_and_mul(*sums, BF16), None, k_out, group, q_dtype, phase)
    assert (as_bytes(fused[:5]) == as_bytes(apart[:5])).double().mean() > 0.999


@pytest.mark.parametrize(("d", "dtype"), [(63, BF16), (64, torch.float32)])
def test_activations_that_the_kernel_cannot_pair_are_refused(device, d, dtype):
    with pytest.raises(ValueError, match="an even number of bfloat16"):
        silu_and_mul_quantize(*gate_up(device, 3, d, BF16), dtype, None, 64, 4, torch.int8)


def test_token_that_is_not_a_number_spoils_no_other(device):
    raw, x_scale, w_scale = gate_up(device, 40, 64, BF16)
    rest = (w_scale, BF16, None, 64, 4, FP8)
    clean, clean_scales = silu_and_mul_quantize(raw, x_scale, *rest)
    raw[7, 3] = float("nan")
    q, scales = silu_and_mul_quantize(raw, x_scale, *rest)
    assert scales.isnan().flatten().nonzero().tolist() == [[7]]
    others = [row for row in range(40) if row != 7]
    assert torch.equal(as_bytes(q[others]), as_bytes(clean[others]))
    assert torch.equal(scales[others], clean_scales[others])


def test_activations_of_more_than_2_31_sums_are_where_they_belong(device):
    needs(16 * GIB)
    raw, x_scale, _ = gate_up(device, LARGEST_M, 64, BF16)
    wide = torch.zeros((LARGEST_M, LARGEST_N), dtype=BF16, device=device)
    wide[:, :64] = raw[:, :64]
    wide[:, LARGEST_N // 2 : LARGEST_N // 2 + 64] = raw[:, 64:]
    scale = torch.ones((1, LARGEST_N), device=device)
    q, scales = silu_and_mul_quantize(
        wide, x_scale, scale, BF16, None, LARGEST_N // 2, 4, torch.int8
    )
    narrow, narrow_scales = silu_and_mul_quantize(
        raw, x_scale, torch.ones((1, 128), device=device), BF16, None, 64, 4, torch.int8
    )
    assert torch.equal(q[:, :64], narrow)
    assert not q[:, 64:].any()
    assert torch.equal(scales, narrow_scales)


# GEMM


SPARSITIES = [None, Sparsity(4), Sparsity(8), Sparsity(10)]


@pytest.mark.parametrize("sparsity", SPARSITIES, ids=str)
@pytest.mark.parametrize("out_dtype", [BF16, FP16], ids=str)
def test_int8_sums_are_exact(device, nvmath, sparsity, out_dtype):
    weight = Weights(device, 96, 1000, torch.int8, sparsity, out_dtype)
    for m in (1, 130):
        x = activations(m, 1000).to(device)
        raw, _ = weight.times(x)
        assert raw.shape == (m, 96)
        assert torch.equal(raw, weight.exact(x).float().to(raw.dtype))


@pytest.mark.parametrize("sparsity", SPARSITIES, ids=str)
def test_fp8_sums_are_within_a_hundredth(device, nvmath, sparsity):
    weight = Weights(device, 96, 1000, FP8, sparsity)
    x = activations(130, 1000).to(device)
    raw, _ = weight.times(x)
    exact = weight.exact(x).double()
    assert (raw.double() - exact).norm() < 1e-2 * exact.norm()


@BOTH_LIBRARIES
def test_no_tokens_are_no_gemm(device, nvmath, name):
    raw, scale = a_weight(device, name).times(activations(0, 256).to(device))
    assert (raw.shape, scale.shape) == ((0, 96), (0, 1))


@BOTH_LIBRARIES
def test_sums_beyond_2_31_are_where_they_belong(device, nvmath, name):
    needs(30 * GIB)
    weight = a_weight(device, name, n=LARGEST_N, k=64)
    x = activations(LARGEST_M, 64).to(device)
    raw, _ = weight.times(x)
    for rows in (slice(0, 2), slice(40000, 40002), slice(-2, None)):
        expected = weight.exact(x[rows]).float().to(raw.dtype)
        assert torch.equal(raw[rows], expected)


def test_cusparselt_refuses_weights_that_are_not_2_4(device, nvmath):
    weight = torch.zeros((32, 64), dtype=torch.int8, device=device)
    weight[5, 8:11] = 1
    with pytest.raises(ValueError, match="not 2:4"):
        library_of("cusparselt", device).pack(weight)


# Dequantize


def expression(raw, x_scale, w_scale, bias, out_dtype):
    """What the kernel may give: with and without a fused multiply-add for the bias."""
    sums = raw[:, : w_scale.shape[1]].float()
    if out_dtype == BF16:
        sums = sums.to(BF16).float()
    scaled = w_scale * sums
    if bias is None:
        return [(x_scale * scaled).to(out_dtype)]
    fused = x_scale.double() * scaled.double() + bias.double()
    return [(x_scale * scaled + bias.float()).to(out_dtype), fused.float().to(out_dtype)]


@pytest.fixture
def unsplit_blocks():
    """The allocator as vLLM sets it while it loads a model."""
    torch._C._accelerator_setAllocatorSettings("max_split_size_mb:20")
    yield
    torch._C._accelerator_setAllocatorSettings(f"max_split_size_mb:{2**44 - 1}")


def test_packed_weights_take_no_more_memory_than_they_have_bytes(device, nvmath, unsplit_blocks):
    """The dense weight of a layer before leaves a block that is a little too large."""
    library = library_of("cusparselt", device)
    weight, before = (
        torch.randint(-127, 128, (8192, 8192), dtype=torch.int8, device=device) for _ in range(2)
    )
    del before
    allocated = torch.cuda.memory_allocated()
    packed, _ = pack(weight, library, Sparsity(8))
    assert packed.nbytes == weight.nbytes * 15 // 16
    assert torch.cuda.memory_allocated() - allocated <= packed.nbytes + 2 * MIB


@pytest.mark.parametrize("raw_dtype", [torch.int32, torch.float32, BF16], ids=str)
@pytest.mark.parametrize("out_dtype", [BF16, FP16], ids=str)
@pytest.mark.parametrize("with_bias", [False, True], ids=["no-bias", "bias"])
def test_dequantize_kernel_is_the_expression(device, raw_dtype, out_dtype, with_bias):
    from slidesparse_bench.vllm_plugin.dequantize_kernel import dequantize

    m, n = 19, 2051
    generator = torch.Generator(device).manual_seed(0)
    raw = torch.randint(-(2**20), 2**20, (m, n + 13), device=device, generator=generator)
    raw = raw.to(raw_dtype)
    x_scale = torch.rand((m, 1), device=device, generator=generator)
    w_scale = torch.rand((1, n), device=device, generator=generator) * 1e-4
    bias = torch.randn(n, device=device, generator=generator).to(out_dtype) if with_bias else None
    out = dequantize(raw, x_scale, w_scale, bias, out_dtype)
    assert (out.shape, out.dtype) == ((m, n), out_dtype)
    allowed = expression(raw, x_scale, w_scale, bias, out_dtype)
    assert torch.stack([out == each for each in allowed]).any(0).all()


def test_dequantized_sums_beyond_2_31_are_where_they_belong(device):
    from slidesparse_bench.vllm_plugin.dequantize_kernel import dequantize

    needs(16 * GIB)
    raw = torch.zeros((LARGEST_M, LARGEST_N), dtype=BF16, device=device)
    raw[-1], raw[40000] = 3, 2
    x_scale = torch.ones((LARGEST_M, 1), device=device)
    w_scale = torch.arange(LARGEST_N, device=device).reshape(1, -1) % 8 + 1.0
    out = dequantize(raw, x_scale, w_scale, None, BF16)
    assert torch.equal(out[-1].float(), 3 * w_scale[0])
    assert torch.equal(out[40000].float(), 2 * w_scale[0])
    assert not out[39999].any()


# Plans and algorithms


@BOTH_LIBRARIES
def test_plans_beyond_the_limit_are_closed_and_made_again(device, nvmath, name, monkeypatch):
    monkeypatch.setattr(gemm, "MAX_PLANS", 2)
    library = new_library(name, device, None)
    weight = a_weight(device, name)
    for m in (16, 32, 48, 16, 64, 32):
        x = activations(m, 256).to(device)
        q, _ = quantize(x, None, weight.k_out, weight.group, torch.int8)
        raw = library.multiply(q, weight.packed, 96, weight.raw_dtype)
        assert torch.equal(raw, weight.exact(x).float().to(raw.dtype))
    assert len(library._plans._plans) == 2


@BOTH_LIBRARIES
def test_second_process_does_not_search(device, nvmath, name, tmp_path, monkeypatch):
    weight = a_weight(device, name)
    q = torch.ones((32, weight.k_out), dtype=torch.int8, device=device)
    first = new_library(name, device, tmp_path)
    expected = first.multiply(q, weight.packed, 96, weight.raw_dtype)
    second = new_library(name, device, tmp_path)
    monkeypatch.setattr(second._algorithms, "put", None)  # a search would end here
    assert torch.equal(second.multiply(q, weight.packed, 96, weight.raw_dtype), expected)


@BOTH_LIBRARIES
def test_another_m_of_the_bucket_runs_with_what_the_first_found(device, nvmath, name, tmp_path):
    weight = a_weight(device, name)
    library = new_library(name, device, tmp_path)
    for m in (256, 144):
        q = torch.ones((m, weight.k_out), dtype=torch.int8, device=device)
        raw = library.multiply(q, weight.packed, 96, weight.raw_dtype)
        dense = torch.ones((m, 256), dtype=torch.int8, device=device)
        assert torch.equal(raw, accumulate(dense, weight.pruned).float().to(raw.dtype))
    assert len(list(tmp_path.rglob("*.json"))) == 1


def new_library(name, device, folder):
    """As a new process has it."""
    if name == "cublaslt":
        from slidesparse_bench.vllm_plugin.cublaslt import CublasltGemm

        return CublasltGemm(device, folder)
    from slidesparse_bench.vllm_plugin.cusparselt import CusparseltGemm

    return CusparseltGemm(device, folder)


# vLLM's layers


@pytest.fixture
def linear(monkeypatch):
    """`vllm_plugin.linear`, whatever it registers forgotten after the test."""
    pytest.importorskip("vllm")
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.kernels import linear as vllm_linear
    from vllm.platforms import current_platform

    from slidesparse_bench.vllm_plugin import linear

    monkeypatch.setenv("VLLM_DISABLED_KERNELS", "")
    for possible in (vllm_linear._POSSIBLE_INT8_KERNELS, vllm_linear._POSSIBLE_FP8_KERNELS):
        kernels = list(possible[current_platform._enum])
        monkeypatch.setitem(possible, current_platform._enum, kernels)
    with set_current_vllm_config(VllmConfig()):
        yield linear


def a_layer(device, q_dtype):
    """A qkv layer of odd sizes as vLLM's scheme has it when the checkpoint is loaded."""
    n, k = 105, 250
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (n, k), generator=generator).float().to(q_dtype)
    layer = torch.nn.Module()
    layer.logical_widths = [75, 15, 15]
    turned = weight if q_dtype == torch.int8 else weight.t()
    layer.weight = torch.nn.Parameter(turned, requires_grad=False)
    scales = torch.rand((n, 1), generator=generator) * 1e-3
    layer.weight_scale = torch.nn.Parameter(scales, requires_grad=False)
    layer.input_scale = None
    return layer.to(device)


def processed(linear, label, layer, q_dtype):
    """The kernel that vLLM picks, its weights taken."""
    from vllm.model_executor.kernels import linear as vllm_linear
    from vllm.model_executor.layers.quantization.utils.quant_utils import (
        kFp8DynamicTokenSym,
        kFp8StaticChannelSym,
    )

    linear.register(label)
    before = torch.get_default_dtype()
    torch.set_default_dtype(BF16)  # as vLLM does while it makes and loads a model
    try:
        if q_dtype == torch.int8:
            kernel = vllm_linear.init_int8_linear_kernel(
                is_channelwise=True,
                is_static_input_scheme=False,
                input_symmetric=True,
                module_name="test",
            )
        else:
            kernel = vllm_linear.init_fp8_linear_kernel(
                activation_quant_key=kFp8DynamicTokenSym,
                weight_quant_key=kFp8StaticChannelSym,
                input_dtype=BF16,
                out_dtype=BF16,
                weight_shape=(105, 250),
                module_name="test",
            )
        kernel.process_weights_after_loading(layer)
    finally:
        torch.set_default_dtype(before)
    return kernel


LABELS = pytest.mark.parametrize("label", ["cublaslt", "cusparselt-2_4", "cusparselt-2_8"])


@LABELS
@BOTH_TYPES
def test_layer_gives_what_its_emulation_on_the_cpu_does(device, nvmath, linear, label, q_dtype):
    x = activations(21, 250)
    emulated, real = (a_layer(where, q_dtype) for where in ("cpu", device))
    expected = processed(linear, label, emulated, q_dtype).apply_weights(emulated, x)
    out = processed(linear, label, real, q_dtype).apply_weights(real, x.to(device)).cpu()
    assert out.shape == (21, 105)
    if q_dtype == torch.int8:
        assert torch.equal(out, expected)
    else:
        difference = (out.double() - expected.double()).norm()
        assert difference < 1e-2 * expected.double().norm()


@pytest.mark.parametrize(
    "label",
    ["cublaslt", "cusparselt-2_8"],
)
def test_compiled_int8_layer_gives_what_the_eager_one_does(device, nvmath, linear, label):
    layer = a_layer(device, torch.int8)
    kernel = processed(linear, label, layer, torch.int8)
    compiled = torch.compile(lambda x: kernel.apply_weights(layer, x), fullgraph=True, dynamic=True)
    x = activations(33, 250).to(device)
    assert torch.equal(compiled(x), kernel.apply_weights(layer, x))


# CUDA graphs; last in the file, as a capture that goes wrong can take the rest with it


@BOTH_LIBRARIES
@BOTH_TYPES
def test_captured_op_replays_on_new_activations(device, nvmath, name, q_dtype):
    weight = a_weight(device, name, q_dtype)
    x = activations(21, 256).to(device)
    weight.times(x)  # as vLLM does before it captures
    graph, (raw, scale) = captured(weight, x)
    x.copy_(activations(21, 256, seed=1))
    expected_raw, expected_scale = (tensor.clone() for tensor in weight.times(x))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(raw, expected_raw)
    assert torch.equal(scale, expected_scale)


@BOTH_LIBRARIES
def test_problem_first_met_while_capturing_runs_without_a_search(device, nvmath, name):
    weight = a_weight(device, name, n=160)
    weight.times(activations(16, 256).to(device))  # the quantize kernel is compiled
    x = activations(777, 256).to(device)
    graph, (raw, _) = captured(weight, x)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(raw, weight.exact(x).float().to(raw.dtype))


@BOTH_LIBRARIES
def test_captured_gemm_outlives_its_plan(device, nvmath, name):
    weight = a_weight(device, name, n=128)
    x = activations(48, 256).to(device)
    weight.times(x)
    graph, (raw, _) = captured(weight, x)
    plans = library_of(name, device)._plans._plans
    while plans:  # as when others drive it out
        plans.popitem()[1].close()
    raw.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(raw, weight.exact(x).float().to(raw.dtype))


def captured(weight, x):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = weight.times(x)
    return graph, out


def needs(free_bytes):
    free, _ = torch.cuda.mem_get_info()
    if free < free_bytes:
        pytest.skip(f"needs {free_bytes / GIB:.0f} GiB of free GPU memory, {free / GIB:.0f} are")
