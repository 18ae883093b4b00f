"""Passing over kernels that are only tried: Inductor compiles many and takes the fastest."""

from __future__ import annotations

from slidesparse_bench.failures.trace import Place

_FAILED = ("error during autotuning:", "error during autotuning: ")
_PASSED_OVER = "Ignoring this choice"
_MOST_LINES_OF_A_CHOICE = 200
"""Inductor says first that a choice failed, then how, then that it goes on without."""

_LOGGER = "torch/_inductor/select_algorithm.py:"
"""The file that tries kernels, where a logger puts its name: if none is left, an exception says so."""

_TRYING = "precompile_with_captured_stdout"
"""The function of Inductor's threads that compile ahead; what they raise is logged, and that is all."""


class Tuning:
    """Which lines tell how one of many kernels failed."""

    def __init__(self) -> None:
        self._printer: str | None = None
        self._lines_left = 0

    def passes_over(self, printer: str, raw: str, text: str, place: Place) -> bool:
        """Whether this line tells nothing but that; lines must come in their order.

        `raw` is the line with its prefixes, `text` without them.
        """
        if place.ends_traceback and _TRYING in place.frames:
            return True
        if printer != self._printer and not text.endswith(_FAILED):
            return _LOGGER in raw and _LOGGER not in text
        self._take(printer, text)
        return True

    def _take(self, printer: str, text: str) -> None:
        if printer != self._printer:
            self._printer, self._lines_left = printer, _MOST_LINES_OF_A_CHOICE
        self._lines_left -= 1
        if _PASSED_OVER in text or not self._lines_left:
            self._printer = None
