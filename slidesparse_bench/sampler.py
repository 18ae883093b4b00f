"""Watches a device while an attempt runs: a thread that writes `telemetry.csv`."""

from __future__ import annotations

import contextlib
import csv
import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from slidesparse_bench.device import Device
from slidesparse_bench.telemetry import COLUMNS, Sample, row

RATE_HZ = 10
JOIN_LIMIT_S = 5.0
"""A question that hangs in the driver of a lost GPU must not hold up the campaign."""


class Sampler:
    """Samples one device `RATE_HZ` times a second, and at `start` and `stop`; for one use.

    `token` marks the processes of ours on it. A device that gives nothing at first is left alone,
    and there is no file. When the file cannot be written (disk full), the samples are kept in
    memory all the same.
    """

    def __init__(self, device: Device, path: Path, token: str) -> None:
        self._device = device
        self._path = path
        self._token = token
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"telemetry of {device.label}", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[Sample]:
        """End it; all samples, in order. Without a `start` there are none."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_LIMIT_S)
        return list(self._samples)

    def _run(self) -> None:
        sample = self._device.sample(self._token)
        if sample is None:
            return
        began = time.monotonic()
        with contextlib.closing(_Lines(self._path)) as lines:
            lines.write(COLUMNS)
            self._keep(sample, lines)
            over = False
            while not over:
                elapsed_s = time.monotonic() - began
                over = self._stop.wait(next_tick(elapsed_s) - elapsed_s)
                # Once more after the end: the last round's energy lies between two samples.
                self._keep(self._device.sample(self._token), lines)

    def _keep(self, sample: Sample | None, lines: _Lines) -> None:
        if sample is not None:
            self._samples.append(sample)
            lines.write(row(sample))


def next_tick(elapsed_s: float) -> float:
    """When the next sample is due; both in seconds since the first.

    Ticks are multiples of the period: a late one does not shift the next, a missed one is left
    out.
    """
    return (math.floor(elapsed_s * RATE_HZ) + 1) / RATE_HZ


class _Lines:
    """A CSV file that grows line by line; given up at the first line that cannot be written."""

    def __init__(self, path: Path) -> None:
        self._stream: TextIO | None = None
        with contextlib.suppress(OSError):
            self._stream = path.open("w", encoding="utf-8", newline="")

    def write(self, cells: Sequence[str]) -> None:
        if self._stream is None:
            return
        try:
            csv.writer(self._stream, lineterminator="\n").writerow(cells)
            self._stream.flush()
        except OSError:
            self.close()

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):  # what could not be flushed is tried once more
                stream.close()
