"""What a person sees of a run in progress."""

import io

from builders import build_attempt, build_failed, build_passed, build_run, build_skipped
from rich.console import Console

from slidesparse_bench.cli.progress import LiveProgress, PlainProgress, log_tail, what_happened
from slidesparse_bench.records import CellRecord, CellState

DONE = "a.int8.cutlass.prefill.m512"
NOW = "a.int8.cutlass.prefill.m1024"


def a_run():
    running = CellRecord(CellState.RUNNING, attempts=[build_attempt(reason="more room")])
    return build_run({DONE: build_passed(DONE), NOW: running})


def shown(progress):
    out = Console(file=io.StringIO(), width=120)
    out.print(progress._render())
    return out.file.getvalue()


def test_live_table_shows_results_the_running_phase_and_the_tail_of_its_log(tmp_path):
    (tmp_path / "phases.jsonl").write_text('{"phase": "capture_graphs"}\n')
    (tmp_path / "worker.log").write_bytes(b"first\nCapturing: 10%\rCapturing: 90%")
    progress = LiveProgress(Console(file=io.StringIO()), a_run(), [DONE, NOW], estimate_s=120)
    progress.cell_changed(DONE)
    progress.tick(NOW, tmp_path)
    text = shown(progress)
    assert "90,000 tokens/s ± 0.5%" in text
    assert f"▶ {NOW}  attempt 1 (more room): capture_graphs" in text
    assert "Capturing: 90%" in text
    assert "1/2 cells · 1 running, 1 passed" in text
    assert "about 2 min 00 s to go" in text


def test_live_table_says_what_a_cell_waits_for():
    progress = LiveProgress(Console(file=io.StringIO()), a_run(), [NOW], estimate_s=1)
    progress.waiting(NOW, "waiting for 19.2 GiB on GPU 0")
    assert "waiting for 19.2 GiB on GPU 0" in shown(progress)


def test_plain_lines_tell_each_thing_once():
    out = Console(file=io.StringIO(), width=200)
    progress = PlainProgress(out, a_run(), [DONE, NOW])
    for cell_id in (DONE, DONE, NOW, NOW):
        progress.cell_changed(cell_id)
    for reason in ("waiting for memory", "waiting for memory"):
        progress.waiting(NOW, reason)
    assert out.file.getvalue().splitlines() == [
        f"[1/2] {DONE}: passed 90,000 tokens/s ± 0.5%, 42.0 s",
        f"[1/2] {NOW}: running attempt 1 (more room)",
        f"{NOW}: waiting for memory",
    ]


def test_a_number_that_took_retries_says_so():
    record = build_passed(DONE)
    record.attempts = [build_attempt(1, "oom_device"), build_attempt(2)]
    assert what_happened(DONE, record) == "90,000 tokens/s ± 0.5%, 1 min 24 s, 2 attempts"


DECODE = "a.int8.cutlass.decode.m64"


def test_a_decode_cell_shows_the_rate_that_reports_judge_it_by():
    record = build_passed(DECODE, tokens_per_second=9_000.0, output_tokens_per_second=8_000.0)
    assert what_happened(DECODE, record) == "8,000 output tokens/s ± 0.5%, 42.0 s"


def test_a_decode_cell_without_that_rate_shows_the_other_without_its_interval():
    record = build_passed(DECODE, tokens_per_second=9_000.0, output_tokens_per_second=None)
    assert what_happened(DECODE, record) == "9,000 tokens/s, 42.0 s"


def test_failed_and_skipped_cells_give_their_reason():
    failed = build_failed(DONE)
    failed.reason = "kv_cache_insufficient: no room"
    assert what_happened(DONE, failed) == "kv_cache_insufficient: no room"
    assert what_happened(DONE, build_skipped("too big")) == "too big"


def test_tail_of_a_log_that_is_not_there_is_empty(tmp_path):
    assert log_tail(tmp_path / "none.log") == ""
