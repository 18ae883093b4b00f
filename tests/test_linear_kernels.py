"""Our four linear kernels in real vLLM: layers made by hand, no engine, emulated on the CPU."""

import os
import shutil
import types
import warnings

import pytest

pytest.importorskip("vllm", reason="needs the cpu extra")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from vllm.config import VllmConfig, get_current_vllm_config, set_current_vllm_config
    from vllm.model_executor import parameter as vllm_parameter
    from vllm.model_executor.kernels import linear as vllm_linear
    from vllm.model_executor.layers.quantization.compressed_tensors.schemes import (
        CompressedTensorsW8A8Fp8,
        CompressedTensorsW8A8Int8,
    )
    from vllm.model_executor.layers.quantization.utils.quant_utils import (
        kFp8DynamicTensorSym,
        kFp8DynamicTokenSym,
        kFp8StaticChannelSym,
        kFp8StaticTensorSym,
    )
    from vllm.platforms import current_platform

    from slidesparse_bench.vllm_plugin import linear, random_weights, register
    from slidesparse_bench.vllm_plugin.linear import Choice

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.reference_gemm import (
    accumulate,
    quantize_per_token,
    quantize_static,
)
from slidesparse_bench.vllm_plugin.sparsity import prune
from slidesparse_bench.wire import ATTEMPT_VARIABLE, GEMM_VARIABLE

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

FP8 = torch.float8_e4m3fn
LABELS = ("cublaslt", *(f"cusparselt-2_{group}" for group in Sparsity.GROUPS))
EVERY_LABEL = pytest.mark.parametrize("label", LABELS)
SOME_LABELS = pytest.mark.parametrize("label", ["cublaslt", "cusparselt-2_4", "cusparselt-2_8"])
BOTH_TYPES = pytest.mark.parametrize("q_dtype", [torch.int8, FP8], ids=["int8", "fp8"])
BOTH_OUTPUTS = pytest.mark.parametrize("out_dtype", [torch.bfloat16, torch.float16], ids=str)
KINDS = {
    "int8": vllm_linear._POSSIBLE_INT8_KERNELS,
    "fp8": vllm_linear._POSSIBLE_FP8_KERNELS,
}
QKV, GATE_UP = (64, 16, 16), (80, 80)


@pytest.fixture(scope="module", autouse=True)
def _vllm_config():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = VllmConfig()
    with set_current_vllm_config(config):
        yield


@pytest.fixture(autouse=True)
def _registered_for_one_test_only(monkeypatch):
    monkeypatch.setenv("VLLM_DISABLED_KERNELS", "")
    for possible in KINDS.values():
        kernels = possible[current_platform._enum]
        monkeypatch.setitem(possible, current_platform._enum, list(kernels))
    for kernels in linear._KERNELS.values():
        for kernel in kernels:
            monkeypatch.setattr(kernel, "choice", None, raising=False)


@pytest.fixture
def default_dtype():
    """Sets torch's default dtype, as vLLM does while it makes and loads a model."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True)
def _compiled_for_one_test_only():
    yield
    torch.compiler.reset()


class Layer:
    """A linear layer as vLLM's scheme has it when the checkpoint is loaded.

    Args:
        widths: n of each merged part.
        tensor_scales: one scale per part; else one per row of the weight.
        static_scale: of the activations.
    """

    def __init__(
        self,
        q_dtype,
        widths=(48,),
        k=96,
        *,
        out_dtype=torch.bfloat16,
        tensor_scales=False,
        static_scale=None,
        bias=False,
    ):
        self.q_dtype, self.out_dtype, self.widths = q_dtype, out_dtype, widths
        self.tensor_scales, self.static_scale = tensor_scales, static_scale
        n = sum(widths)
        generator = torch.Generator().manual_seed(n * k)
        self.weight = torch.randint(-127, 128, (n, k), generator=generator).float().to(q_dtype)
        count = len(widths) if tensor_scales else n
        self.scales = torch.rand(count, generator=generator) * 1e-3 + 1e-4
        self.bias = torch.randn(n, generator=generator).to(out_dtype) if bias else None
        self.x = (torch.randn((7, k), generator=generator) * 3).to(out_dtype)

    @property
    def scale_per_row(self):
        if not self.tensor_scales:
            return self.scales
        return torch.repeat_interleave(self.scales, torch.tensor(self.widths))

    def module(self):
        """FP8 weights come as `[k, n]`, as vLLM's FP8 scheme turns them before our kernel's turn."""
        scales = self.scales if self.tensor_scales else self.scales.unsqueeze(1)
        static = None if self.static_scale is None else torch.tensor([self.static_scale])
        module = torch.nn.Module()
        module.logical_widths = list(self.widths)
        module.weight = parameter(self.weight if self.q_dtype == torch.int8 else self.weight.t())
        module.weight_scale = parameter(scales)
        module.input_scale = None if static is None else parameter(static)
        return module

    def kernel(self):
        """Whichever vLLM picks."""
        if self.q_dtype == torch.int8:
            return vllm_linear.init_int8_linear_kernel(
                is_channelwise=not self.tensor_scales,
                is_static_input_scheme=self.static_scale is not None,
                input_symmetric=True,
                module_name="test",
            )
        return vllm_linear.init_fp8_linear_kernel(
            activation_quant_key=(
                kFp8DynamicTokenSym if self.static_scale is None else kFp8StaticTensorSym
            ),
            weight_quant_key=kFp8StaticTensorSym if self.tensor_scales else kFp8StaticChannelSym,
            input_dtype=self.out_dtype,
            out_dtype=self.out_dtype,
            weight_shape=tuple(self.weight.shape),
            module_name="test",
        )

    def loaded(self, label):
        """Kernel and module as after `process_weights_after_loading`, run as vLLM runs it."""
        linear.register(label)
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.out_dtype)  # as vLLM does while it makes and loads a model
        try:
            kernel, module = self.kernel(), self.module()
            kernel.process_weights_after_loading(module)
        finally:
            torch.set_default_dtype(before)
        return kernel, module

    def run(self, label, x=None):
        kernel, module = self.loaded(label)
        return kernel.apply_weights(module, self.x if x is None else x, self.bias)

    def pruned(self, label):
        sparsity = Choice.parse(label).sparsity
        return self.weight if sparsity is None else prune(self.weight, sparsity)

    def expected(self, label, x=None):
        """The layer on the pruned weight; sums of bfloat16 layers are rounded to it first."""
        q_x, x_scale = self.quantized(self.x if x is None else x)
        sums = accumulate(q_x, self.pruned(label)).float()
        if self.out_dtype == torch.bfloat16:
            sums = sums.to(torch.bfloat16).float()
        out = x_scale * (self.scale_per_row * sums)
        return (out if self.bias is None else out + self.bias.float()).to(self.out_dtype)

    def quantized(self, x):
        if self.static_scale is None:
            return quantize_per_token(x, self.q_dtype)
        return quantize_static(x, torch.tensor([self.static_scale]), self.q_dtype)


def parameter(tensor):
    return torch.nn.Parameter(tensor.clone(memory_format=torch.preserve_format), False)


# Results


@EVERY_LABEL
@BOTH_TYPES
@BOTH_OUTPUTS
def test_layer_with_a_scale_per_channel_is_the_reference_on_pruned_weights(
    label, q_dtype, out_dtype
):
    layer = Layer(q_dtype, out_dtype=out_dtype)
    out = layer.run(label)
    assert out.dtype == out_dtype
    assert torch.equal(out, layer.expected(label))


@SOME_LABELS
@BOTH_TYPES
@pytest.mark.parametrize("widths", [(48,), QKV, GATE_UP], ids=["single", "qkv", "gate_up"])
def test_merged_layers_keep_a_scale_for_each_part(label, q_dtype, widths):
    layer = Layer(q_dtype, widths, tensor_scales=True)
    assert torch.equal(layer.run(label), layer.expected(label))


@SOME_LABELS
@BOTH_TYPES
@BOTH_OUTPUTS
def test_bias_is_added_after_scaling(label, q_dtype, out_dtype):
    layer = Layer(q_dtype, QKV, out_dtype=out_dtype, bias=True)
    assert torch.equal(layer.run(label), layer.expected(label))


@SOME_LABELS
@BOTH_TYPES
def test_static_scale_of_the_checkpoint_quantizes_activations(label, q_dtype):
    layer = Layer(q_dtype, static_scale=0.0625, bias=True)
    assert torch.equal(layer.run(label), layer.expected(label))


@SOME_LABELS
@BOTH_TYPES
@pytest.mark.parametrize(("n", "k"), [(1, 32), (17, 44), (33, 100), (48, 36)])
def test_sizes_that_no_library_takes_are_padded(label, q_dtype, n, k):
    layer = Layer(q_dtype, (n,), k, bias=True)
    out = layer.run(label)
    assert out.shape == (7, n)
    assert torch.equal(out, layer.expected(label))


@SOME_LABELS
@BOTH_TYPES
@pytest.mark.parametrize("k", [34, 67])
def test_k_that_is_no_multiple_of_four_is_padded(label, q_dtype, k):
    layer = Layer(q_dtype, k=k)
    assert torch.equal(layer.run(label), layer.expected(label))


@SOME_LABELS
@pytest.mark.parametrize("shape", [(1, 96), (16, 96), (2, 3, 96), (0, 96)], ids=str)
def test_output_has_the_leading_dimensions_of_the_input(label, shape):
    layer = Layer(torch.int8, (40,))
    x = torch.ones(shape, dtype=torch.bfloat16)
    out = layer.run(label, x)
    assert out.shape == (*shape[:-1], 40)
    assert torch.equal(out.reshape(-1, 40), layer.expected(label, x.reshape(-1, 96)))


@SOME_LABELS
def test_activations_that_are_a_slice_of_something_wider_give_the_same(label):
    layer = Layer(torch.int8)
    wide = torch.cat([layer.x, layer.x + 1], dim=1)
    assert torch.equal(layer.run(label, wide[:, :96]), layer.expected(label))


@EVERY_LABEL
@BOTH_TYPES
@BOTH_OUTPUTS
def test_random_weights_give_a_float64_product_within_the_rounding_of_the_output(
    label, q_dtype, out_dtype
):
    layer = Layer(q_dtype, QKV, 160, out_dtype=out_dtype)
    module = layer.module()
    random_weights.fill(module, "weight", module.weight.data, seed=3)
    random_weights.fill(module, "weight_scale", module.weight_scale.data, seed=4)
    layer.weight = module.weight.data if q_dtype == torch.int8 else module.weight.data.t()
    layer.scales = module.weight_scale.data.flatten()
    q_x, x_scale = layer.quantized(layer.x)
    sums = q_x.double() @ layer.pruned(label).double().t()
    exact = x_scale.double() * layer.scale_per_row.double() * sums
    assert exact.abs().max() > 0.1
    # Half a step of the output, in bfloat16 twice, and float32 on the way there.
    roundings = 2 if out_dtype == torch.bfloat16 else 1
    rtol = roundings * (torch.finfo(out_dtype).eps / 2) * 1.01
    torch.testing.assert_close(layer.run(label).double(), exact, rtol=rtol, atol=2.0**-24)


@SOME_LABELS
@BOTH_TYPES
def test_compiled_layer_is_one_graph_and_gives_the_same(label, q_dtype):
    layer = Layer(q_dtype, QKV, bias=True)
    kernel, module = layer.loaded(label)
    compiled = torch.compile(
        lambda x: kernel.apply_weights(module, x, layer.bias),
        fullgraph=True,
        dynamic=True,
        backend="aot_eager",
    )
    for rows in (3, 7):
        assert torch.equal(compiled(layer.x[:rows]), layer.expected(label, layer.x[:rows]))


@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor compiles C++ on the CPU")
def test_layer_compiled_by_inductor_gives_the_same_to_the_last_bit():
    layer = Layer(torch.int8, QKV)
    kernel, module = layer.loaded("cublaslt")
    compiled = torch.compile(lambda x: kernel.apply_weights(module, x), fullgraph=True)
    assert torch.equal(compiled(layer.x), layer.expected("cublaslt"))


# Through vLLM's own schemes


def scheme_of(layer, monkeypatch):
    """The scheme that vLLM makes for such a checkpoint, its layer filled as a loader does it."""
    monkeypatch.setattr(vllm_parameter, "get_tensor_model_parallel_rank", lambda: 0)
    monkeypatch.setattr(vllm_parameter, "get_tensor_model_parallel_world_size", lambda: 1)
    strategy = "tensor" if layer.tensor_scales else "channel"
    static = layer.static_scale is not None
    if layer.q_dtype == torch.int8:
        scheme = CompressedTensorsW8A8Int8(strategy, static, input_symmetric=True)
    else:
        model = types.SimpleNamespace(dtype=layer.out_dtype)
        monkeypatch.setattr(get_current_vllm_config(), "model_config", model)
        arguments = QuantizationArgs(num_bits=8, type="float", strategy=strategy)
        scheme = CompressedTensorsW8A8Fp8(arguments, static)
    module, (n, k) = torch.nn.Module(), layer.weight.shape
    scheme.create_weights(
        module,
        output_partition_sizes=list(layer.widths),
        input_size_per_partition=k,
        input_size=k,
        output_size=n,
        params_dtype=layer.out_dtype,
        weight_loader=lambda *_: None,
    )
    module.weight.data.copy_(layer.weight)
    module.weight_scale.data.copy_(layer.scales.reshape(module.weight_scale.shape))
    if static:
        module.input_scale.data.fill_(layer.static_scale)
    return scheme, module


@SOME_LABELS
@BOTH_TYPES
@BOTH_OUTPUTS
@pytest.mark.parametrize("static_scale", [None, 0.0625], ids=["dynamic", "static"])
def test_layer_of_a_compressed_tensors_checkpoint_goes_the_same_way(
    label, q_dtype, out_dtype, static_scale, monkeypatch, default_dtype
):
    layer = Layer(q_dtype, QKV, out_dtype=out_dtype, static_scale=static_scale, bias=True)
    linear.register(label)
    default_dtype(out_dtype)
    scheme, module = scheme_of(layer, monkeypatch)
    scheme.process_weights_after_loading(module)
    out = scheme.apply_weights(module, layer.x, layer.bias)
    assert torch.equal(out, layer.expected(label))


@SOME_LABELS
def test_int8_checkpoint_with_a_scale_per_tensor_goes_the_same_way(label, monkeypatch):
    layer = Layer(torch.int8, GATE_UP, out_dtype=torch.float32, tensor_scales=True)
    linear.register(label)
    scheme, module = scheme_of(layer, monkeypatch)
    scheme.process_weights_after_loading(module)
    assert torch.equal(scheme.apply_weights(module, layer.x, None), layer.expected(label))


# What becomes of the layer


@BOTH_TYPES
def test_sparse_layer_keeps_the_packed_weight_and_nothing_of_the_dense_one(q_dtype):
    layer = Layer(q_dtype, (64,), 128)
    _, module = layer.loaded("cusparselt-2_8")
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        "weight": (int(0.625 * 64 * 192),),
        "weight_scale": (1, 64),
    }
    assert not any(p.requires_grad for p in module.parameters())


@SOME_LABELS
@BOTH_TYPES
def test_weights_of_the_checkpoint_are_not_modified(label, q_dtype):
    layer = Layer(q_dtype, (33,))
    linear.register(label)
    kernel, module = layer.kernel(), layer.module()
    given = module.weight.data
    before = given.float().clone()
    kernel.process_weights_after_loading(module)
    assert torch.equal(given.float(), before)


def test_largest_of_several_static_scales_serves_the_merged_layer():
    layer = Layer(torch.int8, static_scale=0.5)
    linear.register("cublaslt")
    kernel, module = layer.kernel(), layer.module()
    module.input_scale = parameter(torch.tensor([0.125, 0.5, 0.25]))
    kernel.process_weights_after_loading(module)
    assert module.input_scale.tolist() == [0.5]


# Which layers


def test_checkpoint_with_zero_points_is_refused_with_the_reason():
    linear.register("cusparselt-2_4")
    with pytest.raises(ValueError, match=r"SlideSparseCusparseLtInt8.*takes symmetric activations"):
        vllm_linear.init_int8_linear_kernel(
            is_channelwise=True,
            is_static_input_scheme=False,
            input_symmetric=False,
            module_name="test",
        )


def test_dynamic_scale_of_the_whole_batch_is_refused_with_the_reason():
    linear.register("cublaslt")
    with pytest.raises(ValueError, match=r"SlideSparseCublasLtFP8.*dynamic activations per token"):
        vllm_linear.init_fp8_linear_kernel(
            activation_quant_key=kFp8DynamicTensorSym,
            weight_quant_key=kFp8StaticTensorSym,
            input_dtype=torch.bfloat16,
            out_dtype=torch.bfloat16,
            weight_shape=(32, 32),
            module_name="test",
        )


@SOME_LABELS
@BOTH_TYPES
def test_kernel_is_the_one_that_proves_the_backend(label, q_dtype):
    linear.register(label)
    backend = BACKENDS[label.partition("-")[0]]
    assert backend.kernel_pattern in type(Layer(q_dtype).kernel()).__name__


# Registration


@pytest.mark.parametrize(
    "label",
    ["", "native", "cusparselt", "cublaslt-2_8", "cusparselt-2_5", "cusparselt-", "CUBLASLT"],
)
def test_label_of_no_kernel_of_ours_is_an_error(label):
    with pytest.raises(ValueError, match=r"neither cublaslt nor|is not one of 2:4"):
        Choice.parse(label)


def test_labels_say_library_and_sparsity():
    assert Choice.parse("cublaslt") == Choice("cublaslt", None)
    assert Choice.parse("cusparselt-2_10") == Choice("cusparselt", Sparsity(10))


@SOME_LABELS
def test_every_other_kernel_is_disabled(label):
    linear.register(label)
    disabled = os.environ["VLLM_DISABLED_KERNELS"].split(",")
    for possible in KINDS.values():
        left = [k.__name__ for k in possible[current_platform._enum] if k.__name__ not in disabled]
        assert len(left) == 1
        assert left[0].startswith("SlideSparse")


def test_kernels_for_scales_by_block_are_disabled_too(monkeypatch):
    class OneByBlock:
        pass

    blocks = {current_platform._enum: [OneByBlock]}
    monkeypatch.setattr(linear.vllm_linear, "_POSSIBLE_FP8_BLOCK_KERNELS", blocks)
    linear.register("cusparselt-2_8")
    assert "OneByBlock" in os.environ["VLLM_DISABLED_KERNELS"].split(",")


def test_kernels_that_the_user_disabled_stay_disabled(monkeypatch):
    monkeypatch.setenv("VLLM_DISABLED_KERNELS", "SomeKernel,AnotherKernel")
    linear.register("cublaslt")
    assert os.environ["VLLM_DISABLED_KERNELS"].startswith("SomeKernel,AnotherKernel,")


@SOME_LABELS
def test_registering_again_changes_nothing(label):
    linear.register(label)
    once = registered()
    linear.register(label)
    assert registered() == once


def test_the_label_registered_last_is_the_one_that_runs():
    for label in ("cublaslt", "cusparselt-2_4", "cublaslt"):
        linear.register(label)
    assert "CublasLt" in type(Layer(torch.int8).kernel()).__name__


def registered():
    return (
        {kind: list(possible[current_platform._enum]) for kind, possible in KINDS.items()},
        os.environ["VLLM_DISABLED_KERNELS"],
    )


def test_outside_an_attempt_the_plugin_does_nothing(monkeypatch):
    monkeypatch.delenv(ATTEMPT_VARIABLE, raising=False)
    monkeypatch.setenv(GEMM_VARIABLE, "cusparselt-2_4")
    before = registered()
    register()
    assert registered() == before


@pytest.mark.parametrize("label", [None, "cusparselt-2_4"])
def test_attempt_gets_the_kernels_it_asked_for_and_no_others(monkeypatch, label):
    monkeypatch.setenv(ATTEMPT_VARIABLE, "1")
    monkeypatch.setattr(random_weights, "register", lambda _: None)
    monkeypatch.delenv(GEMM_VARIABLE, raising=False)
    before = registered()
    if label is not None:
        monkeypatch.setenv(GEMM_VARIABLE, label)
    register()
    assert (registered() == before) == (label is None)


def test_gpu_too_old_for_the_library_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(linear, "current_platform", types.SimpleNamespace(is_cuda=lambda: True))
    linear.SlideSparseCusparseLtInt8LinearKernel.choice = Choice.parse("cusparselt-2_4")
    linear.SlideSparseCublasLtFP8LinearKernel.choice = Choice.parse("cublaslt")
    assert linear.SlideSparseCusparseLtInt8LinearKernel.is_supported(75) == (
        False, "needs compute capability 80, has 75",
    )  # fmt: skip
    assert linear.SlideSparseCublasLtFP8LinearKernel.is_supported(86) == (
        False, "needs compute capability 89, has 86",
    )  # fmt: skip
