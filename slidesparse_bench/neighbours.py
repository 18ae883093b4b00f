"""Who else computes on a GPU while we measure there.

A false alarm costs a measurement, and an idle server that merely holds memory disturbs nobody. So
a process is called foreign only when all of this is proven:

1. It computed since the last look: the driver counts at least 1 % of the SMs' time for it, and for
   what only draws (a desktop's cursor and clock) `LEAST_DRAWING_PERCENT`. Where the driver does not
   count (MIG), it holds memory for computing and did not when we began to look.
2. The pid means here what it means to the driver. In a container it need not: the list of
   utilization comes with the host's pids, the list of processes with the container's (HAMi-core
   #112, nvidia-docker #1483). The proof is that the same list has named a process of ours; until
   then nobody is called foreign.
3. The driver also lists it as holding memory on this GPU, and it exists here: the list of
   utilization has been seen with values and pids that are none (nvtop #110).
4. It is not ours: neither it nor one of its parents carries our token, and none did at an earlier
   look (a process that exits loses its environment before the driver forgets it).
5. That is no mere lack of evidence: it belongs to another user, or began before we looked, or has
   an environment that can be read. (It is empty in the middle of an exec, and once setproctitle
   has written over it, as for vLLM's engine processes.)
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

from slidesparse_bench import processes

LOOK_EVERY_S = 1.0
LEAST_DRAWING_PERCENT = 5
"""Of the SMs' time; below it a process that does not compute is taken for an idle desktop's."""
START_TIME_ERROR_S = 2.0
"""The kernel counts from the boot, whose time of day it tells in whole seconds (/proc/stat)."""


@dataclass(frozen=True)
class _Users:
    """Pids of one of the driver's lists: all that it names, and those that computed lately."""

    source: str
    named: set[int]
    suspects: set[int]


class Neighbours:
    """The processes on one GPU, as NVML tells of them, seen from an attempt marked with `token`.

    `nvml` is the module, `handle` the device. Nothing here raises.
    """

    def __init__(self, nvml: Any, handle: Any, token: str | None) -> None:
        self._nvml = nvml
        self._handle = handle
        self._token = token
        self._began = time.time()
        self._seen_us = int(self._began * 1e6)
        self._there_at_first = self._computing_pids()
        self._trusted: set[str] = set()
        self._ours: set[psutil.Process] = set()
        self._due_s = time.monotonic()

    def look(self) -> list[str] | None:
        """Those proven to be foreign, each as `name (pid N)`.

        None when the last look was less than `LOOK_EVERY_S` ago, or nothing could be told.
        """
        now_s = time.monotonic()
        if now_s < self._due_s:
            return None
        self._due_s = max(self._due_s + LOOK_EVERY_S, now_s)
        users = self._users()
        if users is None:
            return None
        if users.source not in self._trusted and any(map(self._is_ours, users.named)):
            self._trusted.add(users.source)
        if users.suspects and users.source not in self._trusted:
            return None
        return sorted(map(_called, filter(self._is_foreign, users.suspects)))

    def _users(self) -> _Users | None:
        nvml = self._nvml
        try:
            entries = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._seen_us)
        except nvml.NVMLError_NotFound:  # nobody since then
            return _Users("utilization", set(), set())
        except nvml.NVMLError:
            # Once it has worked, a refusal will pass: no reason to count by a coarser rule.
            return None if "utilization" in self._trusted else self._newcomers()
        busy = self._busy(entries)
        return _Users("utilization", busy, busy)

    def _busy(self, entries: list[Any]) -> set[int]:
        # Entries that are older than asked for, or above 100 %, do occur (nvtop #110).
        valid = [each for each in entries if each.timeStamp > self._seen_us and each.smUtil <= 100]
        self._seen_us = max((each.timeStamp for each in valid), default=self._seen_us)
        drawing = self._drawing_pids() - (self._computing_pids() or set())
        return {
            each.pid
            for each in valid
            if each.smUtil >= (LEAST_DRAWING_PERCENT if each.pid in drawing else 1)
        }

    def _newcomers(self) -> _Users | None:
        now = self._computing_pids()
        if now is None or self._there_at_first is None:
            return None
        return _Users("processes", now, now - self._there_at_first)

    def _computing_pids(self) -> set[int] | None:
        try:
            listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return None
        return {process.pid for process in listed}

    def _drawing_pids(self) -> set[int]:
        try:
            listed = self._nvml.nvmlDeviceGetGraphicsRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return set()
        return {process.pid for process in listed}

    def _is_ours(self, pid: int) -> bool:
        if self._token is None:
            return False
        try:
            process = psutil.Process(pid)
            if process in self._ours:
                return True
            family = [pid, *(parent.pid for parent in process.parents())]
        except (psutil.Error, OSError):
            return False
        ours = any(processes.carries(member, self._token) for member in family)
        if ours:
            self._ours.add(process)
        return ours

    def _is_foreign(self, pid: int) -> bool:
        """Points 3 to 5."""
        return not self._is_ours(pid) and self._holds_memory(pid) and self._is_another(pid)

    def _holds_memory(self, pid: int) -> bool:
        return pid in (self._computing_pids() or set()) | self._drawing_pids()

    def _is_another(self, pid: int) -> bool:
        try:
            process = psutil.Process(pid)
            another_users = process.uids().real != os.getuid()
            older = process.create_time() < self._began - START_TIME_ERROR_S
            return another_users or older or bool(process.environ())
        except (psutil.Error, OSError):
            return False


def _called(pid: int) -> str:
    """`name (pid N)`; a process names itself, so only what can be printed and parsed again."""
    name = processes.name_of(pid)
    plain = "".join(letter if letter.isprintable() and letter != "|" else "?" for letter in name)
    return f"{plain} (pid {pid})"
