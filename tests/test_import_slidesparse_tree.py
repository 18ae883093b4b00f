"""Result trees of the public SlideSparse scripts become runs. The trees here are made up."""

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.cell import Cell
from slidesparse_bench.cli import invoke
from slidesparse_bench.errors import UsageError
from slidesparse_bench.importers import read_tree, write_run
from slidesparse_bench.store import Store, load_record

RESULTS = "throughput_benchmark_results"
INT8 = "RTX4090_cc89_INT8_py312_cu129_x86_64"
KV_ERROR = (
    "ValueError: No available memory for the cache blocks. Try increasing gpu_memory_utilization."
)
BUSY_ERROR = (
    "ValueError: Free memory on device (22.39/23.99 GiB) on startup is less than desired GPU "
    "memory utilization (0.95, 22.79 GiB). Decrease GPU memory utilization or reduce GPU memory "
    "used by other processes."
)
OOM_ERROR = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 892.00 MiB. GPU 0 has a total "
    "capacity of 15.46 GiB of which 814.94 MiB is free."
)


class Tree:
    """A tree of one cell's folder, `cublaslt`, prefill, INT8; others by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder("cublaslt")

    def folder(self, backend: str, stage: str = "prefill", hardware: str = INT8) -> Path:
        path = self.root / RESULTS / stage / hardware / backend
        (path / "json").mkdir(parents=True, exist_ok=True)
        return path

    def json(
        self, m: int, *, model="Qwen2.5-7B-INT8", backend="cublaslt", stage="prefill", **changes
    ):
        numbers = numbers_of(m, stage) | changes
        path = self.folder(backend, stage) / "json" / f"{model}_M{m}.json"
        path.write_text(json.dumps(numbers))
        return numbers

    def section(self, m: int, ending: str = "", *, at="2026-01-25 17:00:00", **options) -> None:
        """A section of benchmark.log; `ending` is what the child printed."""
        path = self.folder(options.pop("backend", "cublaslt")) / "benchmark.log"
        with path.open("ab") as stream:
            stream.write(section_text(m, ending, at=at, **options).encode(errors="surrogateescape"))

    def call(self, stamp: str, body: str = "", **arguments: str) -> Path:
        """A run log; `stamp` as in its name, `20260125_170000`."""
        logs = self.root / RESULTS / "logs" / "RTX4090"
        logs.mkdir(parents=True, exist_ok=True)
        path = logs / f"benchmark_{stamp}.log"
        path.write_text(head_of_call(stamp, **arguments) + body)
        return path

    def csv(self, rows: str) -> None:
        header = (
            "M_prefill,prompt_len,max_num_seqs,num_prompts,N_prefill,"
            "requests_per_s,tokens_per_s,elapsed_time_s\n"
        )
        path = self.folder("cublaslt") / "Qwen2.5-7B-INT8_prefill.csv"
        path.write_text(header + rows)


def numbers_of(m: int, stage: str = "prefill") -> dict:
    """What `vllm bench throughput` writes for the method's requests in two seconds."""
    work = Cell.parse(f"qwen2.5-7b.int8.cublaslt.{stage}.m{m}").workload
    requests = (128 if stage == "prefill" else 1) * work.max_num_seqs
    tokens = requests * (work.prompt_len + work.output_len)
    return {
        "elapsed_time": 2.0,
        "num_requests": requests,
        "total_num_tokens": tokens,
        "requests_per_second": requests / 2,
        "tokens_per_second": tokens / 2,
    }


def printed(m: int, *, faster: float = 1.0) -> str:
    """The last lines of a child that worked."""
    found = numbers_of(m)
    requests = found["num_requests"]
    return (
        f"Throughput: {found['requests_per_second'] * faster:.2f} requests/s, "
        f"{found['tokens_per_second'] * faster:.2f} total tokens/s, 1.00 output tokens/s\n"
        f"Total num prompt tokens:  {found['total_num_tokens'] - requests}\n"
        f"Total num output tokens:  {requests}\n"
    )


def failed(m: int, error: str) -> str:
    """What a section holds of a child that failed."""
    return (
        "Traceback (most recent call last):\n"
        '  File "core.py", line 5, in run_engine_core\n'
        f"(EngineCore_DP0 pid=7) ERROR 01-25 17:00:42 [core.py:866] {error}\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n\n"
        f"ERROR: Test failed for M={m}\n"
    )


def section_text(m, ending, *, at, util="0.8", model="Qwen2.5-7B-INT8", eager=False) -> str:
    work = Cell.parse(f"x.int8.cublaslt.prefill.m{m}").workload
    command = (
        f"vllm bench throughput --model /somewhere/{model} --input-len {work.prompt_len} "
        f"--output-len 1 --num-prompts {128 * work.max_num_seqs} "
        f"--max-num-seqs {work.max_num_seqs} --max-model-len {work.max_model_len} "
        f"--no-enable-chunked-prefill --gpu-memory-utilization {util} --disable-log-stats"
    )
    return (
        f"\n========== M={m} ==========\nTime: {at}\nBackend: cuBLASLt\n"
        f"Checkpoint: /somewhere/{model}\nParams: prompt_len={work.prompt_len}\n"
        f"Command: {command}{' --enforce-eager' if eager else ''}\n\n"
        + (f"STDOUT:\n{ending}" if ending else "")
    )


def head_of_call(stamp: str, **arguments: str) -> str:
    day, time = stamp.split("_")
    created = f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}"
    known = {
        "model": "qwen2.5-7b-int8", "backend": "cublaslt", "sparsity": "None", "stage": "prefill",
        "M": "4096", "eager": "False", "gpu-id": "0", "gpu-mem": "0.8", "dry-run": "False",
    }  # fmt: skip
    known |= {name.replace("_", "-"): value for name, value in arguments.items()}
    lines = "".join(f"  --{name}: {value}\n" for name, value in known.items())
    machine = "  GPU: RTX4090\n  Compute Capability: cc89\n  VRAM: 24.0 GB\n  CUDA: 12.9\n"
    return f"{'=' * 70}\nCreated: {created}\n{'=' * 70}\n\n命令行参数:\n{lines}\n硬件信息:\n{machine}\n"


def block(m: int, ending: str, *, title: str | None = "cuBLASLt", word: str = "测试") -> str:
    """A cell of a run log, after a title unless it goes on under the last one."""
    head = f"\n{'=' * 60}\n  Qwen2.5-7B-INT8 | {title} | prefill\n{'=' * 60}\n" if title else ""
    return f"{head}\n{'=' * 60}\n[1/1] {word} M={m}\n{'=' * 60}\n\n{ending}"


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def imported(tree: Tree, gpu: str | None = None) -> Store:
    return write_run(read_tree(tree.root, gpu), tree.root.parent / "runs")


def cell_of(store: Store, m: int, backend: str = "cublaslt", model: str = "qwen2.5-7b"):
    return store.record.cells[f"{model}.int8.{backend}.prefill.m{m}"]


def rows_of(store: Store) -> dict:
    with (store.folder / "results.csv").open(newline="") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def classes(cell) -> list:
    return [each.failure.failure_class if each.failure else "passed" for each in cell.attempts]


# What becomes of one cell


def test_a_result_with_its_log_is_one_passed_attempt_with_the_exact_numbers(tree):
    numbers = tree.json(4096)
    tree.section(4096, printed(4096))
    cell = cell_of(imported(tree), 4096)
    (attempt,) = cell.attempts
    assert cell.state == "passed"
    assert cell.metrics.elapsed_time == numbers["elapsed_time"]
    assert cell.metrics.iterations == 128
    assert attempt.started == "2026-01-25T17:00:00"
    assert attempt.engine_args == {
        "max_num_seqs": 4,
        "max_model_len": 1025,
        "enable_chunked_prefill": False,
        "gpu_memory_utilization": 0.8,
    }


def test_what_nobody_measured_stays_empty(tree):
    tree.json(4096)
    row = rows_of(imported(tree))["qwen2.5-7b.int8.cublaslt.prefill.m4096"]
    empty = ("step_time_ms_median", "ci95_half_width_pct", "kernel", "gpu_memory_utilization")
    assert [row[name] for name in empty] == ["", "", "", ""]
    assert row["m_verified"] == "false"
    assert float(row["prompt_tokens_per_second"]) == 512 * 1024 / 2


def test_the_output_rate_of_a_decode_cell_is_not_theirs(tree):
    tree.json(64, stage="decode")
    row = rows_of(imported(tree))["qwen2.5-7b.int8.cublaslt.decode.m64"]
    assert float(row["tokens_per_second"]) == 64 * (16 + 256) / 2
    assert row["output_tokens_per_second"] == ""


def test_a_failed_attempt_is_classified_from_its_own_part_of_the_log(tree):
    tree.section(4096, printed(4096))
    tree.section(8192, failed(8192, KV_ERROR), at="2026-01-25 17:01:00")
    store = imported(tree)
    failure = cell_of(store, 8192).attempts[0].failure
    log = (store.folder / failure.evidence.file).read_text().splitlines()
    assert (cell_of(store, 4096).state, cell_of(store, 8192).state) == ("passed", "failed")
    assert failure.failure_class == "kv_cache_insufficient"
    assert log[failure.evidence.line - 1].endswith(KV_ERROR)
    assert log[0] == "========== M=8192 =========="


def test_an_old_success_is_not_erased_by_a_later_failure(tree):
    tree.json(4096)
    tree.section(4096, printed(4096))
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-26 09:00:00")
    cell = cell_of(imported(tree), 4096)
    assert cell.state == "passed"
    assert classes(cell) == ["passed", "kv_cache_insufficient"]
    assert cell.metrics.tokens_per_second == numbers_of(4096)["tokens_per_second"]


def test_a_retry_with_another_utilization_tells_what_it_changed(tree):
    tree.section(4096, failed(4096, OOM_ERROR))
    tree.section(4096, printed(4096), at="2026-01-26 09:00:00", util="0.65", eager=True)
    first, second = cell_of(imported(tree), 4096).attempts
    assert first.changed == {}
    assert second.changed == {"gpu_memory_utilization": 0.65, "enforce_eager": True}
    assert second.metrics is not None


def test_utilizations_are_rid_of_the_noise_of_repeated_subtraction(tree):
    tree.section(4096, failed(4096, OOM_ERROR), util="0.35000000000000003")
    (attempt,) = cell_of(imported(tree), 4096).attempts
    assert attempt.engine_args["gpu_memory_utilization"] == 0.35


def test_sections_out_of_order_become_attempts_in_the_order_of_time(tree):
    tree.section(4096, printed(4096), at="2026-01-26 09:00:00")
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-25 09:00:00")
    assert classes(cell_of(imported(tree), 4096)) == ["kv_cache_insufficient", "passed"]


def test_memory_that_others_held_is_not_why_the_cell_failed(tree):
    tree.section(4096, failed(4096, KV_ERROR))
    tree.section(4096, failed(4096, BUSY_ERROR), at="2026-01-26 20:00:00", util="0.95")
    store = imported(tree)
    assert classes(cell_of(store, 4096)) == ["kv_cache_insufficient", "gpu_memory_busy"]
    row = rows_of(store)["qwen2.5-7b.int8.cublaslt.prefill.m4096"]
    assert row["class"] == "kv_cache_insufficient"


def test_memory_that_others_held_is_the_reason_when_there_is_no_other(tree):
    tree.section(4096, failed(4096, BUSY_ERROR))
    assert cell_of(imported(tree), 4096).last_failure.failure_class == "gpu_memory_busy"


def test_a_section_without_an_end_is_an_interrupted_attempt(tree):
    tree.section(4096)
    tree.section(4096, printed(4096), at="2026-01-25 18:00:00")
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, classes(cell)) == ("passed", ["interrupted", "passed"])


def test_a_cell_that_was_only_ever_interrupted_is_no_success(tree):
    tree.section(4096)
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, classes(cell)) == ("failed", ["interrupted"])


def test_the_newest_success_counts_and_older_ones_keep_what_they_printed(tree):
    tree.section(4096, printed(4096, faster=0.5))
    tree.section(4096, printed(4096), at="2026-01-26 09:00:00")
    tree.json(4096)
    cell = cell_of(imported(tree), 4096)
    rates = [each.metrics.tokens_per_second for each in cell.attempts]
    assert rates == [131200.0, 262400.0]
    assert cell.metrics.tokens_per_second == 262400.0


def test_a_result_that_no_log_tells_of_is_an_attempt_without_settings(tree):
    tree.json(4096)
    tree.section(4096, failed(4096, KV_ERROR))
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, classes(cell)) == ("passed", ["kv_cache_insufficient", "passed"])
    assert (cell.attempts[1].started, cell.attempts[1].engine_args) == ("", {})


def test_tokens_that_do_not_add_up_are_never_a_number(tree):
    tree.json(4096, total_num_tokens=512 * 1153)
    store = imported(tree)
    (attempt,) = cell_of(store, 4096).attempts
    assert cell_of(store, 4096).state == "failed"
    assert attempt.failure.failure_class == "m_mismatch"
    assert "512 requests of 1024 + 1 tokens are 524800" in attempt.failure.root_cause


@pytest.mark.parametrize("rate", ["requests_per_second", "tokens_per_second"])
def test_a_rate_that_contradicts_its_own_file_is_never_a_number(tree, rate):
    tree.json(4096, **{rate: 10 * numbers_of(4096)[rate]})
    store = imported(tree)
    (attempt,) = cell_of(store, 4096).attempts
    assert (cell_of(store, 4096).state, attempt.metrics) == ("failed", None)
    assert attempt.failure.failure_class == "m_mismatch"
    assert f"{rate} is " in attempt.failure.root_cause


def test_printed_rates_may_be_as_rough_as_they_are_printed(tree):
    tree.section(4096, printed(4096, faster=0.00131))
    assert cell_of(imported(tree), 4096).state == "passed"


def test_a_printed_rate_that_contradicts_the_other_is_never_a_number(tree):
    tree.section(4096, printed(4096).replace("256.00 requests/s", "512.00 requests/s"))
    (attempt,) = cell_of(imported(tree), 4096).attempts
    assert attempt.failure.failure_class == "m_mismatch"


def test_a_tree_of_which_nothing_can_be_read_says_what_is_wrong_with_its_files(tree, tmp_path):
    for m in (512, 4096):
        tree.json(m)
    for path in tree.folder("cublaslt").glob("json/*.json"):
        path.write_text("{")
    with pytest.raises(UsageError) as error:
        read_tree(tree.root)
    head, *told = str(error.value).splitlines()
    assert "no file of RTX4090 tells of a cell" in head
    assert [line.split(": ")[1] for line in told] == ["passed over"] * 2


def test_success_without_any_number_is_no_result(tree):
    ending = "─── STDOUT ───\nnothing\n[SUCCESS] 测试完成! 耗时: 9.5s\n"
    tree.call("20260125_170000", block(4096, ending))
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, classes(cell)) == ("failed", ["no_result"])


# JSON and CSV


def test_a_truncated_json_file_is_passed_over_with_a_warning(tree):
    tree.json(512)
    tree.section(4096, printed(4096))
    (tree.folder("cublaslt") / "json" / "Qwen2.5-7B-INT8_M4096.json").write_text('{"elapsed')
    run = read_tree(tree.root)
    store = write_run(run, tree.root.parent / "runs")
    assert len(run.warnings) == 1
    assert run.warnings[0].startswith(
        f"{RESULTS}/prefill/{INT8}/cublaslt/json/Qwen2.5-7B-INT8_M4096"
    )
    assert store.environment()["imported"]["warnings"] == run.warnings
    assert cell_of(store, 4096).metrics.tokens_per_second == 262400.0


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"elapsed_time": 1}', "\x00\xff", "[" * 100_000, '{"elapsed_time": NaN}'],
    ids=["empty", "list", "keys", "bytes", "deep", "nan"],
)
def test_a_json_file_that_is_no_result_never_makes_a_cell(tree, text):
    tree.json(512)
    (tree.folder("cublaslt") / "json" / "Qwen2.5-7B-INT8_M4096.json").write_text(text)
    run = read_tree(tree.root)
    assert [each.cell.m for each in run.cells] == [512]
    assert len(run.warnings) == 1


def test_the_zeros_of_a_dry_run_are_no_result(tree):
    tree.json(4096, **dict.fromkeys(numbers_of(4096), 0))
    tree.json(512)
    run = read_tree(tree.root)
    assert [each.cell.m for each in run.cells] == [512]
    assert "which no measurement gives" in run.warnings[0]


def test_minus_one_in_a_csv_is_a_failure_of_unknown_cause(tree):
    tree.csv("4096,1024,4,512,128,-1.0000,-1.0000,-1.0000\n")
    store = imported(tree)
    assert cell_of(store, 4096).state == "failed"
    assert classes(cell_of(store, 4096)) == ["unknown"]
    assert rows_of(store)["qwen2.5-7b.int8.cublaslt.prefill.m4096"]["tokens_per_second"] == ""


def test_minus_one_in_a_csv_does_not_erase_a_json_result(tree):
    tree.json(4096)
    tree.csv("4096,1024,4,512,128,-1.0000,-1.0000,-1.0000\n")
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, classes(cell)) == ("passed", ["passed"])


def test_a_csv_row_stands_in_for_a_lost_json_file(tree):
    tree.csv("4096,1024,4,512,128,256.0000,262400.0000,2.0000\n")
    cell = cell_of(imported(tree), 4096)
    assert (cell.state, cell.metrics.total_num_tokens) == ("passed", 524800)


def test_a_damaged_csv_row_is_passed_over_with_its_place(tree):
    tree.csv("4096,1024,4\n512,512,1,128,128,64.0000,32832.0000,2.0000\n")
    run = read_tree(tree.root)
    assert [each.cell.m for each in run.cells] == [512]
    assert "Qwen2.5-7B-INT8_prefill.csv:2: passed over" in run.warnings[0]


# Run logs


@pytest.mark.parametrize(
    ("word", "done"),
    [("测试", "测试完成! 耗时"), ("Testing", "Test completed! Duration")],
    ids=["chinese", "english"],
)
def test_section_and_run_log_of_one_try_are_one_attempt(tree, word, done):
    tree.section(4096, printed(4096), at="2026-01-25 17:00:09")
    tree.call(
        "20260125_170000", block(4096, f"{printed(4096)}[SUCCESS] {done}: 65.5s\n", word=word)
    )
    (attempt,) = cell_of(imported(tree), 4096).attempts
    assert (attempt.started, attempt.ended) == ("2026-01-25T17:00:09", "2026-01-25T17:01:14.500000")
    assert (attempt.duration_s, attempt.exit_code, attempt.device) == (65.5, 0, "GPU 0")


def test_a_run_log_alone_gives_attempts_with_the_settings_of_the_call(tree):
    ending = f"{failed(4096, OOM_ERROR)}[ERROR] 测试失败: M=4096 (exit code: 1)\n"
    tree.call("20260125_170000", block(4096, ending), gpu_mem="0.9", gpu_id="1")
    cell = cell_of(imported(tree), 4096)
    (attempt,) = cell.attempts
    assert classes(cell) == ["oom_device"]
    assert attempt.engine_args["gpu_memory_utilization"] == 0.9
    assert (attempt.exit_code, attempt.device) == (1, "GPU 1")
    assert (attempt.started, attempt.ended) == ("2026-01-25T17:00:00", "2026-01-25T17:00:42")


def test_the_text_of_a_killed_call_is_lost_but_its_section_is_not(tree):
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-25 17:00:09")
    tree.call("20260125_170000", block(4096, ""))
    assert classes(cell_of(imported(tree), 4096)) == ["kv_cache_insufficient"]


def test_two_calls_of_one_cell_are_two_attempts(tree):
    failure = f"{failed(4096, KV_ERROR)}[ERROR] 测试失败: M=4096 (exit code: 1)\n"
    tree.call("20260125_170000", block(4096, failure))
    tree.call("20260126_170000", block(4096, failure), gpu_mem="0.9")
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-26 17:00:04", util="0.9")
    attempts = cell_of(imported(tree), 4096).attempts
    assert [each.engine_args["gpu_memory_utilization"] for each in attempts] == [0.8, 0.9]


def ran(m: int, first: str, last: str, seconds: float, *, title: str | None = None) -> str:
    """A block whose child worked, with the times that its output shows."""
    lines = f"INFO 01-25 {first} [core.py:1] up\nINFO 01-25 {last} [core.py:2] done\n"
    return block(m, f"{lines}{printed(m)}[SUCCESS] 测试完成! 耗时: {seconds}s\n", title=title)


def spans(store: Store, *ms: int) -> list:
    """Start, end and duration of the only attempt at each cell."""
    attempts = [cell_of(store, m).attempts[0] for m in ms]
    return [(each.started[11:], each.ended[11:], each.duration_s) for each in attempts]


def test_a_printed_duration_reaches_from_the_start_to_the_end(tree):
    body = ran(512, "17:00:09", "17:00:40", 50.0, title="cuBLASLt")
    body += ran(1024, "17:01:00", "17:01:20", 45.0) + ran(4096, "17:02:00", "17:02:20", 30.0)
    tree.call("20260125_170000", body, M="512,1024,4096")
    assert spans(imported(tree), 512, 1024, 4096) == [
        ("17:00:00", "17:00:50", 50.0),
        ("17:01:00", "17:01:45", 45.0),
        ("17:02:00", "17:02:30", 30.0),
    ]


def test_an_attempt_does_not_last_into_the_next_one_of_its_call(tree):
    body = ran(512, "17:00:09", "17:00:40", 50.0, title="cuBLASLt")
    body += ran(1024, "17:01:05", "17:01:40", 45.0) + ran(4096, "17:01:45", "17:02:20", 30.0)
    tree.call("20260125_170000", body, M="512,1024,4096")
    assert spans(imported(tree), 1024, 4096) == [
        ("17:01:00", "17:01:45", 45.0),
        ("17:01:45", "17:02:15", 30.0),
    ]


def test_the_start_of_the_next_one_is_that_of_its_section_where_there_is_one(tree):
    body = ran(512, "17:00:09", "17:00:40", 50.0, title="cuBLASLt")
    body += ran(1024, "17:01:05", "17:01:40", 45.0) + ran(4096, "17:01:55", "17:02:20", 30.0)
    tree.call("20260125_170000", body, M="512,1024,4096")
    tree.section(4096, printed(4096), at="2026-01-25 17:01:47")
    assert spans(imported(tree), 1024, 4096) == [
        ("17:01:02", "17:01:47", 45.0),
        ("17:01:47", "17:02:17", 30.0),
    ]


def test_a_call_stopped_by_hand_leaves_an_interrupted_attempt(tree):
    tree.call("20260125_170000", block(4096, "[INFO] 开始测试...\n\n测试被中断!\n"))
    assert classes(cell_of(imported(tree), 4096)) == ["interrupted"]


def test_cells_after_the_end_of_a_killed_call_are_skipped_with_the_reason(tree):
    done = f"{printed(512)}[SUCCESS] 测试完成! 耗时: 9.0s\n"
    tree.call("20260125_170000", block(512, done), M="512,4096")
    cell = cell_of(imported(tree), 4096)
    assert cell.state == "skipped"
    assert cell.reason == (
        "never started: planned in benchmark_20260125_170000.log, which ends before it"
    )


@pytest.mark.parametrize(
    "refusal",
    [
        (
            "[WARNING] Backend 不支持，跳过: Qwen2.5-7B-INT8 + cutlass\n"
            "[WARNING]   原因: vLLM CUTLASS INT8 不支持: sm_120 >= sm_100\n"
        ),
        (
            "[WARNING] Backend not supported, skipping: Qwen2.5-7B-INT8 + cutlass\n"
            "[WARNING]   Reason: vLLM CUTLASS INT8 not supported: sm_120 >= sm_100\n"
        ),
    ],
    ids=["chinese", "english"],
)
def test_cells_that_the_script_left_out_are_skipped_with_its_reason_and_class(tree, refusal):
    done = f"{printed(4096)}[SUCCESS] 测试完成! 耗时: 9.0s\n"
    tree.call("20260125_170000", refusal + block(4096, done), backend="cutlass,cublaslt")
    store = imported(tree)
    cell = cell_of(store, 4096, "cutlass")
    assert cell.state == "skipped"
    assert "sm_120 >= sm_100" in cell.reason
    assert cell.last_failure.failure_class == "unsupported_arch"
    assert (store.folder / cell.last_failure.evidence.file).read_text() == refusal
    assert rows_of(store)["qwen2.5-7b.int8.cutlass.prefill.m4096"]["class"] == "unsupported_arch"


def test_a_dry_run_measured_nothing(tree):
    tree.json(512)
    tree.section(4096, at="2026-01-25 17:00:01")
    tree.call("20260125_170000", block(4096, "[INFO] [DRY-RUN]\n"), dry_run="True")
    assert list(imported(tree).record.cells) == ["qwen2.5-7b.int8.cublaslt.prefill.m512"]


# Names


def test_zeros_and_names_are_ours(tree):
    tree.json(4096, backend="cusparselt/2_8", model="Llama3.2-1B-INT8")
    tree.json(4096, backend="cutlass", model="My Model_X-INT8")
    assert sorted(imported(tree).record.cells) == [
        "llama3.2-1b.int8.cusparselt-2_8.prefill.m4096",
        "my-model_x.int8.cutlass.prefill.m4096",
    ]


def test_a_model_that_is_not_built_in_gets_a_folder_to_put_it(tree):
    tree.json(4096, model="BitNet-2B-INT8")
    store = imported(tree)
    assert '{name: "bitnet-2b", path: "./bitnet-2b"}' in (store.folder / "matrix.yaml").read_text()


def test_folders_that_are_none_of_theirs_are_passed_over(tree):
    tree.json(4096)
    for name in (f"prefill/{INT8}/marlin", "prefill/notes", f"prefill/{INT8}/cusparselt/2_7"):
        (tree.root / RESULTS / name / "json").mkdir(parents=True)
    assert len(imported(tree).record.cells) == 1


# The run


def test_an_import_reads_back_from_its_journal_and_never_touches_the_source(tree):
    tree.json(4096)
    tree.section(4096, failed(4096, KV_ERROR))
    before = fingerprint(tree.root)
    store = imported(tree)
    assert fingerprint(tree.root) == before
    (store.folder / "status.json").unlink()
    assert load_record(store.folder) == store.record
    assert (store.record.state, store.record.counts["passed"]) == ("finished", 1)


def fingerprint(root: Path) -> dict:
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_lost_journal_and_status_are_rebuilt_from_the_attempts(tree):
    tree.json(4096)
    tree.section(4096, printed(4096))
    store = imported(tree)
    (store.folder / "status.json").unlink()
    (store.folder / "journal.jsonl").unlink()
    (cell,) = load_record(store.folder).cells.values()
    assert cell.metrics == cell_of(store, 4096).metrics


def test_importing_twice_makes_two_runs(tree):
    tree.json(4096)
    first, second = imported(tree), imported(tree)
    assert first.folder != second.folder
    assert first.record.counts == second.record.counts == load_record(first.folder).counts
    matrices = {(store.folder / "matrix.yaml").read_text() for store in (first, second)}
    assert len(matrices) == 1


def test_an_import_that_fails_leaves_no_half_run(tree, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    tree.json(4096)
    monkeypatch.setattr(Store, "append_all", full)
    with pytest.raises(OSError, match="No space left"):
        imported(tree)
    assert list((tree.root.parent / "runs").iterdir()) == []


def test_the_folder_of_results_itself_can_be_named(tree, monkeypatch):
    tree.section(4096, printed(4096))
    monkeypatch.chdir(tree.root)
    store = write_run(read_tree(Path(RESULTS)), Path("runs"))
    folder = store.attempt_folder("qwen2.5-7b.int8.cublaslt.prefill.m4096", 1)
    (part,) = json.loads((folder / "source.json").read_text())["excerpts"]
    assert part["file"] == f"{RESULTS}/prefill/{INT8}/cublaslt/benchmark.log"
    assert store.environment()["imported"]["source"] == "tree"


def test_the_environment_says_where_it_comes_from_and_what_is_unknown(tree):
    tree.json(4096)
    tree.call("20260125_170000", block(4096, ""))
    environment = imported(tree).environment()
    told = environment["imported"]
    assert (told["format"], told["source"], told["cuda"]) == ("slidesparse-tree", "tree", "12.9")
    assert told["tool"].startswith("slidesparse-bench ")
    assert told["unknown"]["kernel that ran"] == "vllm bench throughput does not record it"
    assert environment["gpus"][0]["name"] == "NVIDIA GeForce RTX 4090"
    assert (environment["cpu"], environment["git"], environment["seed"]) == (None, None, None)


def test_attempts_name_the_part_of_the_file_they_come_from(tree):
    tree.section(4096, printed(4096))
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-26 09:00:00")
    store = imported(tree)
    folder = store.attempt_folder("qwen2.5-7b.int8.cublaslt.prefill.m4096", 2)
    (part,) = json.loads((folder / "source.json").read_text())["excerpts"]
    source = tree.root / part["file"]
    begin, end = part["bytes"]
    assert source.read_bytes()[begin:end] == (folder / "worker.log").read_bytes()
    assert source.read_text().splitlines()[part["line"] - 1] == "========== M=4096 =========="


def test_bytes_that_are_no_utf8_are_kept_as_they_are(tree):
    tree.section(4096, f"caf\udce9 \udcff\n{failed(4096, KV_ERROR)}")
    store = imported(tree)
    folder = store.attempt_folder("qwen2.5-7b.int8.cublaslt.prefill.m4096", 1)
    assert b"caf\xe9 \xff\n" in (folder / "worker.log").read_bytes()
    assert classes(cell_of(store, 4096)) == ["kv_cache_insufficient"]


@given(cut=st.integers(0, 3000), noise=st.binary(max_size=40))
def test_a_tree_cut_anywhere_is_imported_as_far_as_it_goes(tmp_path_factory, cut, noise):
    tree = Tree(tmp_path_factory.mktemp("cut") / "tree")
    tree.json(512)
    failure = f"{failed(4096, KV_ERROR)}[ERROR] 测试失败: M=4096 (exit code: 1)\n"
    log = tree.call("20260125_170000", block(4096, failure), M="4096,8192")
    tree.section(4096, failed(4096, KV_ERROR), at="2026-01-25 17:00:02")
    for path in (log, tree.folder("cublaslt") / "benchmark.log"):
        path.write_bytes(path.read_bytes()[:cut] + noise)
    run = read_tree(tree.root)
    found = {each.cell.m: each for each in run.cells}
    assert [each.outcome for each in found.pop(512).attempts] == ["passed"]
    assert all(len(each.attempts) <= 2 for each in found.values())


# The command


def test_status_and_report_work_on_an_imported_run(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tree.json(4096)
    tree.json(4096, backend="cusparselt/2_4")
    tree.section(8192, failed(8192, KV_ERROR))
    assert invoke(["import", "slidesparse-tree", str(tree.root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["passed"] == 2
    assert invoke(["status"]) == 0
    assert "kv_cache_insufficient" in capsys.readouterr().out
    assert invoke(["report"]) == 0
    report = Path("reports", Path(document["run"]).name, "report.md").read_text()
    assert "2 of 3 cells passed" in report
    assert "local time" in report
    assert os.fspath(tmp_path) not in report


def test_a_bundle_of_an_imported_run_leaves_nothing_out(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refusal = "[WARNING] 硬件不支持 INT8，跳过: Llama3.2-1B-INT8\n"
    tree.section(8192, failed(8192, KV_ERROR))
    tree.call("20260125_170000", refusal)
    imported(tree)
    assert invoke(["bundle"]) == 0
    assert "not packed" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("what", ["empty", "missing", "file"])
def test_a_folder_that_is_no_tree_is_one_clear_line(tmp_path, monkeypatch, capsys, what):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("x")
    assert invoke(["import", "slidesparse-tree", what]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"slidesparse: error: {what}: ")
    assert "throughput_benchmark_results" in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_tree_without_results_says_what_it_misses(tmp_path):
    (tmp_path / RESULTS / "prefill").mkdir(parents=True)
    with pytest.raises(UsageError, match="has no results: expected folders such as"):
        read_tree(tmp_path)


def test_of_several_gpus_one_has_to_be_chosen(tree):
    tree.json(4096)
    other = tree.folder("cublaslt", hardware="RTX5080_cc120_INT8_py312_cu129_x86_64")
    (other / "json" / "Qwen2.5-7B-INT8_M512.json").write_text(json.dumps(numbers_of(512)))
    with pytest.raises(
        UsageError, match="holds results of RTX4090, RTX5080; choose one with --gpu"
    ):
        read_tree(tree.root)
    with pytest.raises(UsageError, match="--gpu 'H100' is not one of them"):
        read_tree(tree.root, "H100")
    chosen = read_tree(tree.root, "NVIDIA GeForce RTX 5080")
    assert [each.cell.m for each in chosen.cells] == [512]
    assert chosen.device.name == "NVIDIA GeForce RTX 5080"


def test_a_gpu_that_no_catalog_knows_keeps_its_name(tree):
    hardware = "XPU9_cc130_INT8_py312_cu129_x86_64"
    folder = tree.folder("cublaslt", hardware=hardware)
    (folder / "json" / "Qwen2.5-7B-INT8_M512.json").write_text(json.dumps(numbers_of(512)))
    device = read_tree(tree.root, "XPU9").device
    assert (device.name, device.memory_bytes, device.compute_capability) == ("XPU9", 0, (13, 0))
