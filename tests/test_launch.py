"""Attempts as real process trees: small Python programs that behave as engines do at their worst."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from slidesparse_bench import processes
from slidesparse_bench.launch import Ending, EndingKind, end_owned, launch
from slidesparse_bench.settings import Timeouts
from slidesparse_bench.wire import ATTEMPT_VARIABLE

RUN = f"testrun-{os.getpid()}"
SLEEP = "import time; time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
DEAF += f"; {SLEEP}"
ENGINE_CORE = "VLLM::EngineCor"
"""What the kernel keeps of vLLM's name for its engine process: 15 characters."""
LEAVE = "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {code!r}]{more})"


def leaving(code: str = SLEEP, more: str = "") -> str:
    """A program that starts a child, prints its pid, and goes on."""
    return (
        LEAVE.format(code=code, more=f", {more}" if more else "")
        + "; print(child.pid, flush=True)\n"
    )


@dataclass
class Attempt:
    """Builds and launches one attempt; `code` is a Python program, or `command` anything."""

    folder: Path
    token: str = f"{RUN}/cell/1"
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    @property
    def child(self) -> int:
        """The pid that `leaving` printed."""
        return int(self.lines[0])

    def stop_when_ready(self) -> None:
        """For `on_tick`: stop the attempt once it has printed something."""
        if self.log.stat().st_size:
            self.stop.set()

    def launch(
        self,
        code: str = "",
        *,
        command: list[str] | None = None,
        watched: list[Path] | None = None,
        on_tick: Callable[[], None] | None = None,
        **timeouts: float,
    ) -> Ending:
        program = textwrap.dedent(code)
        return launch(
            command or [sys.executable, "-u", "-c", program],
            log=self.log,
            watched=watched or [],
            environment={"PATH": os.environ["PATH"]},
            token=self.token,
            timeouts=Timeouts(**{"attempt_s": 30.0, "grace_s": 5.0, **timeouts}),
            stop=self.stop,
            on_tick=on_tick,
        )


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    yield Attempt(tmp_path)
    assert end_owned(f"{RUN}/", 0.0) == 0


def start(token: str | None = None, code: str = SLEEP, **options: Any) -> subprocess.Popen[bytes]:
    """A process that no attempt started, with or without a token."""
    environment = {key: os.environ[key] for key in os.environ if key != ATTEMPT_VARIABLE}
    marked = processes.mark(environment, token) if token else environment
    return subprocess.Popen([sys.executable, "-c", code], env=marked, **options)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited for 10 s"
        time.sleep(0.02)


# How it ended


@pytest.mark.parametrize("code", [0, 1, 42])
def test_exit_code_is_reported(attempt: Attempt, code: int) -> None:
    ending = attempt.launch(f"raise SystemExit({code})")
    assert (ending.kind, ending.exit_code, ending.signal) == (EndingKind.EXITED, code, None)
    assert (ending.processes_left, ending.detail) == (0, "")


def test_killed_mid_way_keeps_its_log_tail(attempt: Attempt) -> None:
    ending = attempt.launch("""
        import os
        print("capturing graphs: 35 of 67")
        os.write(2, b"unfinished li")
        os.kill(os.getpid(), 9)
    """)
    assert (ending.kind, ending.exit_code) == (EndingKind.SIGNALLED, None)
    assert ending.signal == "SIGKILL"
    assert attempt.lines == ["capturing graphs: 35 of 67", "unfinished li"]


def test_core_dump_is_a_signal_with_its_name(attempt: Attempt) -> None:
    ending = attempt.launch("""
        import os, resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    """)
    assert (ending.kind, ending.signal) == (EndingKind.SIGNALLED, "SIGABRT")


def test_real_time_signal_has_a_name_too(attempt: Attempt) -> None:
    ending = attempt.launch("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)")
    assert ending.signal == f"SIG{signal.SIGRTMIN + 3}"


@pytest.mark.parametrize(
    ("command", "reason"),
    [("/no/such/python", "No such file or directory"), ("{log}", "Permission denied")],
)
def test_command_that_cannot_be_started_is_an_ending_that_says_so(
    attempt: Attempt, command: str, reason: str
) -> None:
    attempt.log.write_text("an earlier line\n")
    ending = attempt.launch(command=[command.format(log=attempt.log)])
    assert (ending.kind, ending.exit_code, ending.signal) == (EndingKind.EXITED, None, None)
    assert "cannot start" in ending.detail
    assert reason in ending.detail
    assert attempt.lines == ["an earlier line", f"slidesparse: driver_or_env: {ending.detail}"]


def test_log_that_cannot_be_opened_is_an_ending_that_says_so(tmp_path: Path) -> None:
    ending = Attempt(tmp_path / "missing").launch("")
    assert ending.exit_code is None
    assert "missing/worker.log" in ending.detail


def test_status_lost_to_ignored_sigchld_is_not_taken_for_success(attempt: Attempt) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ending = attempt.launch("")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (ending.kind, ending.exit_code, ending.signal) == (EndingKind.EXITED, None, None)
    assert "exit status is lost" in ending.detail


# What it is given


def test_environment_is_as_given_plus_the_marks(attempt: Attempt) -> None:
    attempt.launch("print(open('/proc/self/environ').read().replace('\\0', '\\n'))")
    given = {f"PATH={os.environ['PATH']}"}
    assert set(attempt.lines) - {""} == given | {
        f"SLIDESPARSE_ATTEMPT={attempt.token}",
        f"SLIDESPARSE_CAMPAIGN={os.getpid()}",
        "SPT_NOENV=1",
    }


def test_stdin_is_empty_even_if_ours_is_not(attempt: Attempt) -> None:
    ours, (read_end, write_end) = os.dup(0), os.pipe()
    os.write(write_end, b"typed ahead")
    os.dup2(read_end, 0)
    try:
        attempt.launch("import os; print(os.read(0, 100))")
    finally:
        os.dup2(ours, 0)
        for descriptor in (ours, read_end, write_end):
            os.close(descriptor)
    assert attempt.lines == ["b''"]


def test_session_and_group_are_its_own(attempt: Attempt) -> None:
    attempt.launch("import os; print(os.getsid(0) == os.getpgrp() == os.getpid())")
    assert attempt.lines == ["True"]


def test_log_is_appended_to(attempt: Attempt) -> None:
    attempt.log.write_text("first\n")
    attempt.launch("print('second')")
    assert attempt.lines == ["first", "second"]


def test_flood_neither_blocks_nor_takes_memory(attempt: Attempt) -> None:
    before = psutil.Process().memory_info().rss
    ending = attempt.launch("""
        import os
        for _ in range(160):
            os.write(2, b"x" * 131072)
        print("end")
    """)
    assert ending.exit_code == 0
    assert attempt.log.stat().st_size == 160 * 131072 + len("end\n")
    assert psutil.Process().memory_info().rss - before < 10 * 2**20


# Limits


def test_too_long_is_ended_and_says_which_limit(attempt: Attempt) -> None:
    ending = attempt.launch("while True: print('.')", attempt_s=0.5)
    assert (ending.kind, ending.signal) == (EndingKind.TIMED_OUT, "SIGTERM")
    assert ending.detail == "still running after 0.5 s (timeouts.attempt_s)"
    assert 0.5 < ending.duration_s < 5


def test_silent_is_ended_and_keeps_what_it_said(attempt: Attempt) -> None:
    ending = attempt.launch(f"print('last words'); {SLEEP}", silence_s=1.5)
    assert (ending.kind, ending.exit_code) == (EndingKind.SILENT, None)
    assert ending.detail == "no output and no phase for 1.5 s (timeouts.silence_s)"
    assert attempt.lines == ["last words"]


@pytest.mark.parametrize("name", ["worker.log", "phases.jsonl"])
def test_output_and_phases_are_signs_of_life(attempt: Attempt, name: str) -> None:
    ending = attempt.launch(
        f"""
        import time
        for _ in range(10):
            open({str(attempt.folder / name)!r}, "a").write("x")
            time.sleep(0.15)
        """,
        watched=[attempt.folder / "phases.jsonl"],
        silence_s=1.0,
    )
    assert (ending.kind, ending.exit_code) == (EndingKind.EXITED, 0)
    assert ending.duration_s > 1.5


def test_sigterm_gives_time_to_clean_up(attempt: Attempt) -> None:
    ending = attempt.launch(
        """
        import signal, sys, time
        def leave(*_):
            time.sleep(0.3)
            print("cleaned up")
            sys.exit(7)
        signal.signal(signal.SIGTERM, leave)
        print("ready")
        time.sleep(60)
        """,
        on_tick=attempt.stop_when_ready,
    )
    assert (ending.kind, ending.exit_code) == (EndingKind.INTERRUPTED, 7)
    assert attempt.lines == ["ready", "cleaned up"]


def test_deaf_to_sigterm_is_killed_after_the_grace(attempt: Attempt) -> None:
    ending = attempt.launch(DEAF, on_tick=attempt.stop_when_ready, grace_s=0.5)
    assert (ending.kind, ending.signal) == (EndingKind.INTERRUPTED, "SIGKILL")
    assert 0.5 < ending.duration_s < 5
    assert ending.processes_left == 0


def test_stop_ends_it_at_once(attempt: Attempt) -> None:
    ending = attempt.launch(f"print('ready'); {SLEEP}", on_tick=attempt.stop_when_ready)
    assert (ending.kind, ending.signal) == (EndingKind.INTERRUPTED, "SIGTERM")
    assert ending.duration_s < 5


def test_stop_before_the_start_starts_nothing(attempt: Attempt) -> None:
    attempt.stop.set()
    ending = attempt.launch("print('started')")
    assert (ending.kind, ending.exit_code) == (EndingKind.INTERRUPTED, None)
    assert not attempt.log.exists()


def test_exit_in_the_instant_of_the_stop_counts_as_exit(attempt: Attempt) -> None:
    def stop_once_it_is_over() -> None:
        wait_until(lambda: attempt.log.read_text() == "done\n")
        time.sleep(0.5)
        attempt.stop.set()

    slowly = "import time; time.sleep(0.4); print('done')"
    ending = attempt.launch(slowly, on_tick=stop_once_it_is_over)
    assert attempt.stop.is_set()
    assert (ending.kind, ending.exit_code) == (EndingKind.EXITED, 0)


def test_display_is_ticked_and_its_failure_leaves_nothing_behind(attempt: Attempt) -> None:
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(attempt.child if attempt.log.stat().st_size else 0)
        if ticks[-1]:
            raise RuntimeError("display")

    with pytest.raises(RuntimeError, match="display"):
        attempt.launch(leaving(more="start_new_session=True") + SLEEP, on_tick=tick)
    assert not lives(ticks[-1])


# The tree


@pytest.mark.parametrize(
    "more",
    ["", "start_new_session=True", "process_group=0", "env={}"],
    ids=["in the group", "setsid", "group of its own", "cleared environment"],
)
@pytest.mark.parametrize("after", ["", SLEEP], ids=["leader exits", "leader is stopped"])
def test_grandchild_is_ended(attempt: Attempt, more: str, after: str) -> None:
    on_tick = attempt.stop_when_ready if after else None
    ending = attempt.launch(leaving(more=more) + after, on_tick=on_tick)
    assert not lives(attempt.child)
    assert (ending.processes_left, ending.duration_s < 5) == (0, True)
    assert (f"(pid {attempt.child}), ended" in ending.detail) == (not after)


def test_deaf_tree_is_killed_after_one_shared_grace(attempt: Attempt) -> None:
    tree = leaving(leaving(DEAF, "start_new_session=True") + DEAF) + DEAF

    def stop_when_all_are_deaf() -> None:
        if attempt.lines.count("deaf") == 3:
            attempt.stop.set()

    ending = attempt.launch(tree, on_tick=stop_when_all_are_deaf, grace_s=1.0)
    pids = [int(line) for line in attempt.lines if line.isdigit()]
    assert (len(pids), any(lives(pid) for pid in pids)) == (2, False)
    assert (ending.signal, ending.processes_left) == ("SIGKILL", 0)
    assert 1.0 < ending.duration_s < 2.9


def test_helper_that_leaves_by_itself_is_not_mentioned(attempt: Attempt) -> None:
    ending = attempt.launch(leaving("import time; time.sleep(0.25)"))
    assert (ending.exit_code, ending.detail) == (0, "")


def test_child_started_while_the_others_are_ended_is_found(attempt: Attempt) -> None:
    respawn = f"""
        import signal, subprocess, sys, time
        def again(*_):
            child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
            print(child.pid)
            sys.exit()
        signal.signal(signal.SIGTERM, again)
        print("ready", flush=True)
        time.sleep(60)
    """
    ending = attempt.launch(respawn, on_tick=attempt.stop_when_ready)
    assert len(attempt.lines) == 2
    assert not lives(int(attempt.lines[1]))
    assert ending.processes_left == 0


def test_process_in_the_middle_of_an_exec_is_found_at_the_second_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = start(f"{RUN}/cell/1")
    wait_until(lambda: processes.carries(process.pid, f"{RUN}/"))
    real_find, looks = processes.find, []

    def find(token: str, session: int | None) -> set[psutil.Process]:
        looks.append(token)
        return set() if len(looks) <= 2 else real_find(token, session)

    monkeypatch.setattr(processes, "find", find)
    assert end_owned(f"{RUN}/", 1.0) == 0
    assert process.wait(1.0) == -signal.SIGKILL


def test_process_that_renamed_itself_is_still_known_by_its_token(attempt: Attempt) -> None:
    pytest.importorskip("setproctitle", reason="vLLM brings it")
    renamed = f"import setproctitle as s; s.setproctitle('{ENGINE_CORE}'); {SLEEP}"
    until_renamed = f"""
import pathlib, time
while pathlib.Path(f"/proc/{{child.pid}}/comm").read_text() != "{ENGINE_CORE}\\n":
    time.sleep(0.02)
"""
    ending = attempt.launch(leaving(renamed, "start_new_session=True") + until_renamed)
    assert not lives(attempt.child)
    assert ending.detail == f"outlived by {ENGINE_CORE} (pid {attempt.child}), ended"


def test_leader_keeps_its_pid_until_its_session_is_ended(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreaped = []
    real_end = processes.end

    def end(token: str, grace_s: float, *, session: int, **options: Any) -> processes.Ended:
        unreaped.append(psutil.Process(session).status())
        return real_end(token, grace_s, session=session, **options)

    monkeypatch.setattr(processes, "end", end)
    attempt.launch("")
    assert unreaped == [psutil.STATUS_ZOMBIE]


def test_process_that_cannot_be_ended_is_counted(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "send_signal", lambda *_: None)
        patch.setattr(processes, "KILL_WAIT_S", 0.2)
        ending = attempt.launch(leaving() + "print('started')", grace_s=0.1)
    assert ending.processes_left == 1
    assert f"could not be ended: {psutil.Process(attempt.child).name()}" in ending.detail


def test_zombie_whose_thread_hangs_in_the_driver_still_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = psutil.Process()
    monkeypatch.setattr(hanging, "status", lambda: psutil.STATUS_ZOMBIE)
    monkeypatch.setattr(hanging, "num_threads", lambda: 2)
    assert processes._lives(hanging)
    monkeypatch.setattr(hanging, "num_threads", lambda: 1)
    assert not processes._lives(hanging)


# What is not ours


@pytest.mark.parametrize(
    "token",
    [None, f"{RUN}/cell/10", f"{RUN}-2/cell/1", f"x{RUN}/cell/1"],
    ids=["no token", "longer number", "longer run", "other run"],
)
def test_same_command_of_somebody_else_is_left_alone(attempt: Attempt, token: str | None) -> None:
    foreign = start(token)
    try:
        ending = attempt.launch(f"{leaving()}{SLEEP}", on_tick=attempt.stop_when_ready)
        assert not lives(attempt.child)
        assert lives(foreign.pid)
        assert str(foreign.pid) not in ending.detail
    finally:
        foreign.kill()
        foreign.wait()


def test_whole_run_is_ended_by_its_prefix_and_others_are_not() -> None:
    ours = [start(f"{RUN}/cell/1"), start(f"{RUN}/cell/2", start_new_session=True)]
    other = start(f"{RUN}-2/cell/1")
    try:
        wait_until(lambda: len(processes.find(f"{RUN}/")) == 2)
        assert end_owned(f"{RUN}/", 5.0) == 0
        assert [process.wait() for process in ours] == [-signal.SIGTERM] * 2
        assert lives(other.pid)
    finally:
        other.kill()
        other.wait()


def test_pid_that_now_belongs_to_another_process_is_not_signalled() -> None:
    successor = start()
    try:
        remembered = psutil.Process(successor.pid)
        remembered._ident = (successor.pid, remembered.create_time() - 1000.0)
        processes._send(signal.SIGKILL, [remembered])
        time.sleep(0.1)
        assert lives(successor.pid)
    finally:
        successor.kill()
        successor.wait()


@pytest.mark.parametrize("token", ["", "/"])
def test_empty_token_is_refused(token: str) -> None:
    with pytest.raises(AssertionError, match="not ours"):
        end_owned(token, 0.0)


def test_neither_this_process_nor_its_parents_are_ever_ours() -> None:
    token = f"{RUN}/nested/1"
    program = f"""if True:
        from slidesparse_bench import processes
        print(processes.carries({{}}, {token!r}), len(processes.find({token!r})))
    """
    nested = f"""if True:
        import os, subprocess, sys
        program = {program!r}.format(os.getpid())
        print(subprocess.check_output([sys.executable, "-c", program], text=True))
    """
    parent = start(token, nested, stdout=subprocess.PIPE)
    output, _ = parent.communicate()
    assert output.split() == [b"True", b"0"]


def test_orphans_of_a_killed_campaign_are_ended_on_resume(tmp_path: Path) -> None:
    campaign = f"""if True:
        import sys, threading
        from pathlib import Path
        from slidesparse_bench.launch import launch
        from slidesparse_bench.settings import Timeouts
        launch([sys.executable, "-u", "-c", {leaving(more="start_new_session=True") + SLEEP!r}],
               log=Path({str(tmp_path / "worker.log")!r}), watched=[], environment={{}},
               token="{RUN}/cell/1", timeouts=Timeouts(), stop=threading.Event())
    """
    orchestrator = start(code=campaign)
    log = tmp_path / "worker.log"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    orchestrator.kill()
    orchestrator.wait()
    orphans = {process.pid for process in processes.find(f"{RUN}/")}
    assert int(log.read_text()) in orphans
    assert len(orphans) == 2
    assert end_owned(f"{RUN}/", 5.0) == 0
    assert not any(lives(pid) for pid in orphans)
