"""A cell: one point of the matrix, its id, and the work it stands for.

GEMM sizes follow the field: activations `x: [m, k]`, weights `w: [n, k]`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum

PREFILL_PROMPT_LEN = 1024
"""Longest prompt of a prefill cell: above it M grows by sequences (public SlideSparse method)."""
DECODE_PROMPT_LEN = 16
DECODE_OUTPUT_LEN = 256
FEWEST_PREFILL_ITERATIONS, PREFILL_ITERATIONS = 5, 128
FEWEST_DECODE_ITERATIONS, DECODE_ITERATIONS = 3, 8
"""One iteration is 255 decode steps, so few are needed; the public method runs one."""

DEFAULT_M = {
    "prefill": (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
    "decode": (64, 128, 256, 512),
}


class Stage(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"


class Quantization(StrEnum):
    """W8A8: 8-bit weights (per channel) and 8-bit activations (per token, dynamic)."""

    INT8 = "int8"
    FP8 = "fp8"


@dataclass(frozen=True, order=True)
class Sparsity:
    """`2:L`: at least two zeros in every L consecutive weights along K.

    The SlideSparse paper counts non-zeros, `(L-2):L`; here and in the public result trees the
    zeros are counted, so its 6:8 is `2:8`.
    """

    group: int

    GROUPS = (4, 6, 8, 10, 12, 14, 16)

    @classmethod
    def parse(cls, text: str) -> Sparsity:
        """Read `2:8` or `2_8`.

        Raises:
            ValueError: anything else; the message lists what is allowed.
        """
        match = re.fullmatch(r"2[:_](\d{1,2})", text)
        if match is None or int(match[1]) not in cls.GROUPS:
            allowed = ", ".join(str(cls(group)) for group in cls.GROUPS)
            raise ValueError(f"sparsity '{text}' is not one of {allowed}")
        return cls(int(match[1]))

    @property
    def zero_share(self) -> float:
        """Share of weights that are zero: 0.5 for 2:4, 0.25 for 2:8."""
        return 2 / self.group

    @property
    def k_stretch(self) -> float:
        """How much the sliding windows stretch k: 2(L-2)/L (SlideSparse, arXiv 2603.05232)."""
        return 2 * (self.group - 2) / self.group

    @property
    def path_form(self) -> str:
        return f"2_{self.group}"

    def __str__(self) -> str:
        return f"2:{self.group}"


@dataclass(frozen=True)
class Workload:
    """What the engine is asked to do for one cell.

    One iteration is `max_num_seqs` requests of `prompt_len` random tokens, each answered with
    `output_len` tokens. In prefill that is one step of exactly m tokens; in decode it is one
    prefill step of 16 m tokens, then `output_len - 1` steps of exactly m tokens.
    """

    prompt_len: int
    output_len: int
    max_num_seqs: int
    max_model_len: int
    max_num_batched_tokens: int
    min_iterations: int
    max_iterations: int

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Tokens of the different steps of an iteration."""
        if self.output_len == 1:
            return (self.max_num_seqs * self.prompt_len,)
        return (self.max_num_seqs * self.prompt_len, self.max_num_seqs)


_ID = re.compile(
    r"(?P<model>.+)\.(?P<quantization>int8|fp8)\.(?P<backend>[a-z0-9]+)(?:-(?P<sparsity>2_\d+))?"
    r"\.(?P<stage>prefill|decode)\.m(?P<m>\d+)"
)


@dataclass(frozen=True)
class Cell:
    """One point of the matrix. `m` is the rows of the GEMM in one engine step."""

    model: str
    quantization: Quantization
    backend: str
    sparsity: Sparsity | None
    stage: Stage
    m: int

    @classmethod
    def parse(cls, cell_id: str) -> Cell:
        """Rebuild a cell from its id.

        Raises:
            ValueError: the text is not a cell id.
        """
        match = _ID.fullmatch(cell_id)
        if match is None:
            raise ValueError(
                f"'{cell_id}' is not a cell id: <model>.<quantization>.<backend>[-2_L].<stage>.m<M>"
            )
        sparsity = match["sparsity"]
        return cls(
            model=match["model"],
            quantization=Quantization(match["quantization"]),
            backend=match["backend"],
            sparsity=Sparsity.parse(sparsity) if sparsity else None,
            stage=Stage(match["stage"]),
            m=int(match["m"]),
        )

    @property
    def backend_label(self) -> str:
        """`native`, or `cusparselt-2_8` as it stands in ids and paths."""
        return f"{self.backend}-{self.sparsity.path_form}" if self.sparsity else self.backend

    @property
    def series(self) -> str:
        """The id without its M: the cells of one series differ in M only."""
        return f"{self.model}.{self.quantization}.{self.backend_label}.{self.stage}"

    @property
    def id(self) -> str:
        return f"{self.series}.m{self.m}"

    def __str__(self) -> str:
        return self.id

    @property
    def workload(self) -> Workload:
        """Lengths and limits of the public SlideSparse method, so that numbers compare."""
        if self.stage is Stage.PREFILL:
            prompt_len, output_len = min(self.m, PREFILL_PROMPT_LEN), 1
            max_num_seqs = math.ceil(self.m / PREFILL_PROMPT_LEN)
            step_tokens = self.m
            fewest, most = FEWEST_PREFILL_ITERATIONS, PREFILL_ITERATIONS
        else:
            prompt_len, output_len = DECODE_PROMPT_LEN, DECODE_OUTPUT_LEN
            max_num_seqs = self.m
            step_tokens = DECODE_PROMPT_LEN * self.m
            fewest, most = FEWEST_DECODE_ITERATIONS, DECODE_ITERATIONS
        max_model_len = prompt_len + output_len
        return Workload(
            prompt_len=prompt_len,
            output_len=output_len,
            max_num_seqs=max_num_seqs,
            max_model_len=max_model_len,
            max_num_batched_tokens=max(step_tokens, max_model_len),
            min_iterations=fewest,
            max_iterations=most,
        )


def m_is_possible(stage: Stage, m: int) -> tuple[bool, str]:
    """Whether a step of exactly m tokens exists in this stage, and the reason when it does not."""
    if m < 1:
        return False, "M must be at least 1"
    if stage is Stage.PREFILL and m > PREFILL_PROMPT_LEN and m % PREFILL_PROMPT_LEN:
        below = m // PREFILL_PROMPT_LEN * PREFILL_PROMPT_LEN
        return False, (
            f"prefill M above {PREFILL_PROMPT_LEN} is sequences x {PREFILL_PROMPT_LEN}, so no step "
            f"has exactly {m} tokens; the nearest are {below} and {below + PREFILL_PROMPT_LEN}"
        )
    return True, ""
