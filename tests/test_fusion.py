"""Our pass over vLLM's compiled graph: what it puts into one op, and what it leaves alone."""

import copy
import pickle
import warnings

import pytest

pytest.importorskip("vllm", reason="needs the cpu extra")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # vLLM's own imports
    import torch
    import torch._inductor.config as inductor
    from vllm.config import CompilationConfig, VllmConfig
    from vllm.model_executor.layers.activation import SiluAndMul

    from slidesparse_bench.vllm_plugin.dequantize import scaled
    from slidesparse_bench.vllm_plugin.engine_arguments import with_own_gemm
    from slidesparse_bench.vllm_plugin.fusion import INDUCTOR_HOOK, GemmFusion
    from slidesparse_bench.vllm_plugin.ops import silu_and_mul_w8a8_gemm, w8a8_gemm

from slidesparse_bench.cell import Sparsity
from slidesparse_bench.vllm_plugin.sparsity import stretched_k

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

HIDDEN, WIDTH = 32, 48
SUMS = pytest.mark.parametrize(
    ("raw_dtype", "dtype"),
    [
        (torch.int32, torch.bfloat16),
        (torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        (torch.int32, torch.float16),
        (torch.float16, torch.float16),
    ],
    ids=str,
)


class Counting(GemmFusion):
    """Counts the ops that a graph has after the pass."""

    def __init__(self):
        self.fused, self.plain, self.splits = 0, 0, 0

    def __call__(self, graph):
        super().__call__(graph)
        # vLLM lowers its own ops in a pass behind this one, by the values of their arguments.
        assert all("val" in node.meta for node in graph.nodes if node.op == "call_function")
        self.fused += self.count(graph, silu_and_mul_w8a8_gemm.default)
        self.plain += self.count(graph, w8a8_gemm.default)
        self.splits += self.count(graph, torch.ops.aten.split_with_sizes.default)

    def count(self, graph, target):
        return len(graph.find_nodes(op="call_function", target=target))


class Mlp:
    """The layers of an MLP as `linear.py` compiles them; `activation` is what stands between."""

    def __init__(self, activation, raw_dtype, dtype, width=WIDTH):
        self.activation, self.raw_dtype, self.dtype = activation, raw_dtype, dtype
        generator = torch.Generator().manual_seed(0)
        self.gate_up = torch.randint(-9, 10, (2 * width, HIDDEN), generator=generator)
        self.down = torch.randint(-9, 10, (HIDDEN, width), generator=generator)
        self.gate_up, self.down = self.gate_up.to(torch.int8), self.down.to(torch.int8)
        self.scales = torch.rand((1, 2 * width), generator=generator) * 1e-2

    def linear(self, x, weight):
        n, k = weight.shape
        rest = ("cublaslt", n, k, 4, 0, torch.int8, self.raw_dtype)
        return w8a8_gemm(x.reshape(-1, k), weight, None, *rest)

    def __call__(self, x):
        both = scaled(*self.linear(x, self.gate_up), self.scales, None, self.dtype)
        both = both.reshape(*x.shape[:-1], self.gate_up.shape[0])
        return self.linear(self.activation(both), self.down)


class Attention:
    """The projection to query, key and value, and a rotation of the first two."""

    SIZES = (64, 16, 16)

    def __init__(self, raw_dtype, dtype, biased):
        self.raw_dtype, self.dtype = raw_dtype, dtype
        generator = torch.Generator().manual_seed(0)
        n = sum(self.SIZES)
        self.weight = torch.randint(-9, 10, (n, HIDDEN), generator=generator).to(torch.int8)
        self.scales = torch.rand((1, n), generator=generator) * 1e-2
        self.bias = torch.rand((n,), generator=generator).to(dtype) if biased else None

    def sums(self, x):
        n, k = self.weight.shape
        rest = ("cublaslt", n, k, 4, 0, torch.int8, self.raw_dtype)
        return w8a8_gemm(x, self.weight, None, *rest)

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        query, key, value = both.split(self.SIZES, dim=-1)
        return rotated(query), rotated(key), value.view(-1, 2, 8)


def rotated(x):
    first, second = x.view(x.shape[0], -1, 16).chunk(2, dim=-1)
    return torch.cat((first - second, second + first), dim=-1)


def compiled(mlp, m=7):
    """The pass after it was run, and what the compiled layers give with it and without."""
    x = torch.randn((m, HIDDEN), generator=torch.Generator().manual_seed(1)).to(mlp.dtype)
    torch._dynamo.mark_dynamic(x, 0)
    fusion, outputs = Counting(), []
    for hook in (fusion, None):
        torch.compiler.reset()
        with inductor.patch({INDUCTOR_HOOK: hook, "fx_graph_cache": False}):
            outputs.append(torch.compile(mlp, fullgraph=True)(x))
    torch.compiler.reset()
    return fusion, *outputs


@SUMS
def test_silu_goes_into_the_gemm_behind_it_and_changes_no_token(raw_dtype, dtype):
    fusion, fused, plain = compiled(Mlp(SiluAndMul.forward_native, raw_dtype, dtype))
    assert (fusion.fused, fusion.plain) == (1, 1)
    assert torch.equal(fused[0], plain[0])
    assert torch.equal(fused[1], plain[1])


def test_one_graph_fused_serves_every_number_of_tokens():
    mlp = Mlp(SiluAndMul.forward_native, torch.int32, torch.bfloat16)
    fusion = Counting()
    torch.compiler.reset()
    with inductor.patch({INDUCTOR_HOOK: fusion, "fx_graph_cache": False}):
        run = torch.compile(mlp, fullgraph=True, dynamic=True)
        for m in (9, 2, 40):
            x = torch.randn((m, HIDDEN)).to(torch.bfloat16)
            (raw, scale), (expected, expected_scale) = run(x), mlp(x)
            assert raw.shape == expected.shape
            error = raw * scale - expected * expected_scale  # eager rounds more often
            assert error.norm() < 0.02 * (expected * expected_scale).norm()
    torch.compiler.reset()
    assert fusion.fused == 1


def swapped(x):
    d = x.shape[-1] // 2
    return torch.nn.functional.silu(x[..., d:]) * x[..., :d]


def gelu(x):
    d = x.shape[-1] // 2
    return torch.nn.functional.gelu(x[..., :d]) * x[..., d:]


def twice(x):
    return SiluAndMul.forward_native(x) * 2


@pytest.mark.parametrize("activation", [swapped, gelu, twice], ids=lambda each: each.__name__)
def test_any_other_activation_is_left_alone(activation):
    fusion, fused, plain = compiled(Mlp(activation, torch.int32, torch.bfloat16))
    assert (fusion.fused, fusion.plain) == (0, 2)
    assert torch.equal(fused[0], plain[0])


def test_sums_of_anybody_else_are_left_alone():
    """The same expression, of a product that is none of ours."""
    mlp = Mlp(SiluAndMul.forward_native, torch.float32, torch.bfloat16)
    gemm = mlp.linear

    def linear(x, weight):
        if weight is mlp.down:
            return gemm(x, weight)
        return x.float() @ weight.t().float(), torch.ones((x.shape[0], 1))

    mlp.linear = linear
    assert compiled(mlp)[0].fused == 0


def test_odd_width_is_left_alone():
    """The kernel reads two activations at once."""
    mlp = Mlp(SiluAndMul.forward_native, torch.int32, torch.bfloat16, width=33)
    assert compiled(mlp)[0].fused == 0


@SUMS
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
def test_query_key_and_value_are_scaled_each_for_itself(raw_dtype, dtype, biased):
    fusion, parts, whole = compiled(Attention(raw_dtype, dtype, biased))
    assert fusion.splits == 0
    assert [part.shape for part in parts] == [part.shape for part in whole]
    assert all(torch.equal(*pair) for pair in zip(parts, whole, strict=True))
    assert (parts[2].stride(), whole[2].stride()) == ((16, 8, 1), (96, 8, 1))  # of its own, a view


class Nested(Attention):
    """Key and value are split from each other later."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        query, rest = both.split([64, 32], dim=-1)
        key, value = rest.split([16, 16], dim=-1)
        return rotated(query), rotated(key), value.view(-1, 2, 8)


class Normed(Attention):
    """The whole query is normed, not head by head."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        query, key, value = both.split(self.SIZES, dim=-1)
        query = query / query.float().pow(2).mean(-1, keepdim=True).sqrt().to(query.dtype)
        return rotated(query), rotated(key), value.view(-1, 2, 8)


class BySize(Attention):
    """Something is scaled by the number of tokens."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype) * x.shape[0]
        query, key, value = both.split(self.SIZES, dim=-1)
        return rotated(query), rotated(key), value.view(-1, 2, 8)


@pytest.mark.parametrize(("kind", "splits"), [(Nested, 1), (Normed, 0), (BySize, 1)])
def test_parts_may_go_anywhere(kind, splits):
    fusion, parts, whole = compiled(kind(torch.int32, torch.bfloat16, biased=True))
    assert fusion.splits == splits
    assert all(torch.equal(*pair) for pair in zip(parts, whole, strict=True))


class Shared(Attention):
    """What is split is wanted whole as well."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        query, key, _ = both.split(self.SIZES, dim=-1)
        return rotated(query), rotated(key), both


class Rows(Attention):
    """Tokens are split, not columns."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        first, second = both.split([3, x.shape[0] - 3], dim=0)
        return rotated(first), rotated(second)


class Normalized(Attention):
    """Between the scales and the split is what needs whole rows."""

    def __call__(self, x):
        both = scaled(*self.sums(x), self.scales, self.bias, self.dtype)
        return tuple(map(rotated, both.softmax(dim=-1).split(self.SIZES, dim=-1)))


class Foreign(Attention):
    """The product is none of ours."""

    def sums(self, x):
        return x.float() @ self.weight.t().float(), torch.ones((x.shape[0], 1))


@pytest.mark.parametrize("kind", [Shared, Rows, Normalized, Foreign])
def test_any_other_split_is_left_alone(kind):
    attention = kind(torch.float32, torch.bfloat16, biased=True)
    fusion, parts, whole = compiled(attention)
    assert fusion.splits == 1
    assert all(torch.equal(*pair) for pair in zip(parts, whole, strict=True))


def test_phase_of_a_rank_goes_along():
    mlp = Mlp(SiluAndMul.forward_native, torch.int32, torch.bfloat16)
    k_out = stretched_k(WIDTH + 2, Sparsity(8))
    mlp.down = torch.randint(-9, 10, (HIDDEN, k_out)).to(torch.int8)
    gemm = mlp.linear

    def linear(x, weight):
        if weight is mlp.gate_up:
            return gemm(x, weight)
        rest = ("cublaslt", HIDDEN, k_out, 8, 2, torch.int8, torch.int32)
        return w8a8_gemm(x.reshape(-1, WIDTH), weight, None, *rest)

    mlp.linear = linear
    fusion, fused, plain = compiled(mlp)
    assert fusion.fused == 1
    assert torch.equal(fused[0], plain[0])


def test_pass_is_part_of_the_keys_of_compile_caches():
    config = CompilationConfig(**with_own_gemm({}, "cublaslt")["compilation_config"])
    again = CompilationConfig(**with_own_gemm({}, "cublaslt")["compilation_config"])
    assert config.compute_hash() == again.compute_hash()
    assert config.compute_hash() != CompilationConfig().compute_hash()


def test_another_backend_is_another_key_of_compile_caches():
    keys = {
        VllmConfig(additional_config=with_own_gemm({}, label)["additional_config"]).compute_hash()
        for label in ("cublaslt", "cusparselt-2_4", "cusparselt-2_8")
    }
    assert len(keys) == 3


def test_engine_arguments_keep_what_they_had():
    asked = {
        "seed": 3,
        "additional_config": {"mine": 1},
        "compilation_config": {
            "cudagraph_capture_sizes": [8],
            "inductor_compile_config": {"max_autotune": True},
        },
    }
    before = copy.deepcopy(asked)
    merged = with_own_gemm(asked, "cusparselt-2_8")
    assert asked == before
    assert isinstance(
        merged["compilation_config"]["inductor_compile_config"].pop(INDUCTOR_HOOK),
        GemmFusion,
    )
    assert merged["compilation_config"] == asked["compilation_config"]
    assert (
        merged["additional_config"].items()
        > {"mine": 1, "slidesparse_gemm": "cusparselt-2_8"}.items()
    )
    assert merged["seed"] == 3


@pytest.mark.parametrize(
    "given", [None, {}, {"inductor_compile_config": None}, 3, {"mode": 3}], ids=str
)
def test_every_form_of_the_compilation_config_gets_the_pass(given):
    config = with_own_gemm({"compilation_config": given}, "cublaslt")["compilation_config"]
    assert isinstance(config["inductor_compile_config"][INDUCTOR_HOOK], GemmFusion)
    assert config.get("mode") == (3 if given in (3, {"mode": 3}) else None)


def test_no_compilation_at_all_stays_asked_for():
    config = with_own_gemm({"compilation_config": 0}, "cublaslt")["compilation_config"]
    assert config["mode"] == 0


def test_pass_that_was_asked_for_is_not_replaced():
    asked = {"compilation_config": {"inductor_compile_config": {INDUCTOR_HOOK: "theirs"}}}
    merged = with_own_gemm(asked, "cublaslt")["compilation_config"]
    assert merged == asked["compilation_config"]


def test_pass_reaches_other_ranks_as_it_is():
    sent = pickle.loads(pickle.dumps(GemmFusion()))
    assert sent.uuid() == GemmFusion().uuid()
