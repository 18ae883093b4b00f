"""A pass over vLLM's compiled graph, which lets less be written between our GEMMs.

- SiLU and its product go into the GEMM op that follows them. What is looked for is traced from
  vLLM's own code, so that another version's expression is either found as it is there, or left alone.
- Query, key and value are scaled each for itself. Scaled in one piece, the piece is written, since
  the value is a view of it; each for itself, query and key are scaled where the rotation reads them.

vLLM takes passes of others by its configuration (`inductor_compile_config`, 0.25 to 0.33) and does
the same for quantization ops of its own.
"""

from __future__ import annotations

import functools
import operator
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch._guards import detect_fake_mode
from torch._inductor import pattern_matcher
from vllm.compilation.passes.inductor_pass import InductorPass, enable_fake_mode
from vllm.model_executor.layers.activation import SiluAndMul

from slidesparse_bench.vllm_plugin import ops
from slidesparse_bench.vllm_plugin.dequantize import scaled
from slidesparse_bench.vllm_plugin.ops import silu_and_mul_w8a8_gemm, w8a8_gemm

INDUCTOR_HOOK = "post_grad_custom_post_pass"
"""Where Inductor, and so vLLM's `inductor_compile_config`, takes a pass."""
_SPLIT = torch.ops.aten.split_with_sizes.default
_OPERANDS = ("raw", "x_scale", "w_scale")
_WIDTH = 11
"""Of the traced example: a number that stands for nothing else in its graph."""


class GemmFusion(InductorPass):
    """`w8a8_gemm(silu_and_mul(scaled(raw)))` becomes `silu_and_mul_w8a8_gemm(raw)`, and
    `scaled(raw).split(sizes)` the `scaled(part)` of each part of `raw`."""

    def __call__(self, graph: fx.Graph) -> None:
        for gemm in graph.find_nodes(op="call_function", target=w8a8_gemm.default):
            _fuse_activation(graph, gemm)
        for split in graph.find_nodes(op="call_function", target=_SPLIT):
            _scale_parts(graph, split)
        graph.eliminate_dead_code()

    def uuid(self) -> str:
        """Part of the keys of compile caches, which see nothing of what the op does either."""
        files = (Path(__file__), Path(ops.__file__))
        return str(self.hash_source(*(file.read_text(encoding="utf-8") for file in files)))


def _fuse_activation(graph: fx.Graph, gemm: fx.Node) -> None:
    found = _activation(gemm.args[0])
    if found is not None:
        with graph.inserting_before(gemm):
            fused = graph.call_function(silu_and_mul_w8a8_gemm.default, (*found, *gemm.args[1:]))
        fused.meta["val"] = gemm.meta["val"]
        gemm.replace_all_uses_with(fused)
        graph.erase_node(gemm)


def _activation(x: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node, torch.dtype] | None:
    """`gate_up`, its two scales and the dtype of x, if x is the SiLU and product of just that."""
    dtype = x.meta["val"].dtype
    for raw_dtype in (torch.bfloat16, torch.float16, torch.int32, torch.float32):
        match = _pattern(raw_dtype, dtype).match(x)
        if not pattern_matcher.is_match(match):
            continue
        raw, x_scale, w_scale = (match.kwargs[name] for name in _OPERANDS)
        width = match.kwargs["width"]
        if width % 2 == 0 and _is_output(raw, 0) and _is_output(x_scale, 1):
            known = raw.meta["val"]
            if (
                known.dtype == raw_dtype
                and known.shape[1] == w_scale.meta["val"].numel() == 2 * width
            ):
                return raw, x_scale, w_scale, dtype
    return None


def _is_output(node: fx.Node, number: int) -> bool:
    """Of one of our GEMMs."""
    return (
        node.target is operator.getitem
        and node.args[1] == number
        and node.args[0].target in (w8a8_gemm.default, silu_and_mul_w8a8_gemm.default)
    )


def _scale_parts(graph: fx.Graph, split: fx.Node) -> None:
    """Give each part of the last dimension the expression that was split, on slices of its inputs."""
    whole, sizes, *dim = split.args
    expression = _elementwise(whole)
    inputs = {each for node in expression for each in node.all_input_nodes} - expression
    if (
        not any(_is_output(each, 0) for each in inputs)
        or not all(isinstance(each.meta.get("val"), torch.Tensor) for each in inputs)
        or any(user not in expression for node in expression - {whole} for user in node.users)
        or any(user.target is not operator.getitem for user in split.users)
        or len(whole.users) > 1
        or dim not in ([-1], [whole.meta["val"].dim() - 1])
    ):
        return
    inputs_in_order, in_order = (
        [node for node in graph.nodes if node in some] for some in (inputs, expression)
    )
    width = whole.meta["val"].shape[-1]
    for part in list(split.users):
        start = sum(sizes[: part.args[1]])
        columns = (start, start + sizes[part.args[1]])
        with graph.inserting_before(split):
            known = {each: _columns(graph, each, width, columns) for each in inputs_in_order}
            for node in in_order:
                known[node] = _with_value(graph.node_copy(node, known.__getitem__))
        part.replace_all_uses_with(known[whole])
        graph.erase_node(part)
    graph.erase_node(split)


def _elementwise(last: fx.Node) -> set[fx.Node]:
    """The ops behind one another that make each element of `last` of one of each of their inputs."""
    found: set[fx.Node] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node not in found and _is_elementwise(node):
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _is_elementwise(node: fx.Node) -> bool:
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    if node.target is torch.ops.aten.view.dtype:
        before = node.args[0].meta.get("val")
        return before is not None and before.itemsize == node.meta["val"].itemsize
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


def _columns(graph: fx.Graph, node: fx.Node, width: int, columns: tuple[int, int]) -> fx.Node:
    """Of `node`, or `node` itself if it is the same for all of the `width` columns."""
    shape = node.meta["val"].shape
    if not shape or shape[-1] != width:
        return node
    arguments = (node, len(shape) - 1, *columns)
    return _with_value(graph.call_function(torch.ops.aten.slice.Tensor, arguments))


def _with_value(node: fx.Node) -> fx.Node:
    """With the fake result that passes behind this one look at."""
    arguments, options = fx.map_arg((node.args, node.kwargs), lambda each: each.meta["val"])
    with detect_fake_mode([each.meta["val"] for each in node.all_input_nodes]):
        node.meta["val"] = node.target(*arguments, **options)
    return node


@functools.cache
def _pattern(raw_dtype: torch.dtype, dtype: torch.dtype) -> pattern_matcher.PatternExpr:
    def activation(raw: torch.Tensor, x_scale: torch.Tensor, w_scale: torch.Tensor) -> Any:
        return SiluAndMul.forward_native(scaled(raw, x_scale, w_scale, None, dtype))

    @enable_fake_mode
    def traced() -> fx.GraphModule:
        scales = torch.empty(3, 1), torch.empty(1, 2 * _WIDTH)
        raw = torch.empty(3, 2 * _WIDTH, dtype=raw_dtype)
        return pattern_matcher.fwd_only(activation, [raw, *scales])

    return pattern_matcher.fx_to_pattern(
        traced(), argnames=_OPERANDS, scalar_workaround={"width": _WIDTH}
    )
