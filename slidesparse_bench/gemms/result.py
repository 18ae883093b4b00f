"""What `slidesparse gemm` leaves behind: the content of `gemm.json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from slidesparse_bench.backends import DeviceFacts
from slidesparse_bench.gemm_wire import Facts, Row, RowState, Task
from slidesparse_bench.gemms.ratios import Ratios, quantize_share_of_copy, ratios_of, tflops
from slidesparse_bench.wire import SCHEMA_VERSION, encode

COLD = (
    "cold: before every timed call a buffer larger than the last-level cache is read, so that "
    "operands come from memory, as the weights of a model do in every step"
)
WARM = (
    "warm: calls follow each other on the same operands, so that whatever fits into the last-level "
    "cache stays there"
)


@dataclass(frozen=True)
class GemmResult:
    """Every row of one measurement and what it ran on.

    `facts` are the measuring program's own, None when it never started. `environment` is
    `provenance.sitting`; `left_out` says of a model of a matrix why it has no rows. `interrupted`: a
    signal or a full disk has left rows pending.
    """

    name: str
    created: str
    seed: int
    cold: bool
    device: DeviceFacts
    facts: Facts | None
    environment: dict[str, Any]
    left_out: dict[str, str]
    rows: list[Row]
    interrupted: bool = False
    schema_version: int = field(default=SCHEMA_VERSION)

    @cached_property
    def ratios(self) -> dict[Task, Ratios]:
        """By task; of measured rows only."""
        return ratios_of(self.rows)

    @property
    def counts(self) -> dict[RowState, int]:
        return {state: sum(row.state is state for row in self.rows) for state in RowState}

    @property
    def emulated(self) -> bool:
        """Whether any number is that of an emulation."""
        return any(row.numbers is not None and row.numbers.emulated for row in self.rows)

    def document(self) -> dict[str, Any]:
        """`gemm.json`: the measurement, and in every row what follows from it."""
        plain: dict[str, Any] = encode(self)
        plain["rows"] = [self._row(row) for row in self.rows]
        return plain

    def _row(self, row: Row) -> dict[str, Any]:
        task, ratios = encode(row.task), self.ratios.get(row.task)
        derived = {
            "tflops": tflops(row.task, row.numbers) if row.numbers else None,
            "quantize_share_of_copy": quantize_share_of_copy(row.numbers) if row.numbers else None,
            **(encode(ratios) if ratios else {}),
        }
        return {
            "id": row.task.id,
            **task,
            "state": row.state.value,
            "reason": row.reason,
            "numbers": encode(row.numbers),
            "derived": derived if row.numbers else None,
        }
