"""JSON files of `vllm bench` become runs, as far as what they say agrees with what is stated."""

import json
from pathlib import Path

import pytest

from slidesparse_bench.cli import invoke
from slidesparse_bench.errors import UsageError
from slidesparse_bench.importers import Claims, read_bench, write_run

STATED = Claims(model="my-7b", quantization="int8", backend="native", stage="prefill", ms=(4096,))
CELL = "my-7b.int8.native.prefill.m4096"


def claims(**changes) -> Claims:
    return Claims(**(vars(STATED) | changes))


def throughput(**changes) -> dict:
    """512 requests of 1024 + 1 tokens in 4 s."""
    tokens = 512 * 1025
    return {
        "model_id": "my-org/My-7B",
        "elapsed_time": 4.0,
        "num_requests": 512,
        "total_num_tokens": tokens,
        "requests_per_second": 128.0,
        "tokens_per_second": tokens / 4,
    } | changes


def serve(**changes) -> dict:
    return {
        "date": "20260301-100010",
        "backend": "vllm",
        "model_id": "my-org/My-7B",
        "max_concurrency": 4,
        "duration": 4.0,
        "completed": 512,
        "failed": 0,
        "total_input_tokens": 512 * 1024,
        "total_output_tokens": 512,
        "request_throughput": 128.0,
        "output_throughput": 128.0,
        "total_token_throughput": 512 * 1025 / 4,
    } | changes


def latency(**changes) -> dict:
    return {
        "model_id": "my-org/My-7B",
        "avg_latency": 0.05,
        "latencies": [0.05, 0.04, 0.06],
        "percentiles": {"50": 0.05},
    } | changes


@pytest.fixture
def written(tmp_path):
    """Writes a document to a file of that name."""

    def write(document, name="out.json") -> Path:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


def test_a_throughput_file_is_a_passed_cell(written, tmp_path):
    store = write_run(read_bench([written(throughput())], STATED), tmp_path / "runs")
    cell = store.record.cells[CELL]
    assert (cell.state, len(cell.attempts)) == ("passed", 1)
    assert cell.metrics.tokens_per_second == 131200.0
    assert cell.metrics.prompt_tokens_per_second == 131072.0
    assert (cell.metrics.step_time_ms, cell.metrics.kernel) == (None, "")
    assert cell.metrics.m_observed.steps == 0


def test_a_serve_file_tells_when_it_was_measured(written):
    (cell,) = read_bench([written(serve())], STATED).cells
    (attempt,) = cell.attempts
    assert attempt.numbers.tokens_per_second == 131200.0
    assert (attempt.started, attempt.ended) == ("2026-03-01T10:00:06", "2026-03-01T10:00:10")


def test_a_latency_file_is_as_many_iterations_as_it_has_latencies(written):
    stated = claims(input_len=1024, output_len=1, batch_size=4)
    (cell,) = read_bench([written(latency())], stated).cells
    metrics = cell.attempts[0].numbers.metrics(cell.cell, cell.attempts[0].lengths)
    assert (metrics.iterations, metrics.num_requests) == (3, 12)
    assert metrics.elapsed_time == pytest.approx(0.15)
    assert metrics.tokens_per_second == pytest.approx(12 * 1025 / 0.15)


def test_a_decode_cell_has_no_output_rate_of_ours(written, tmp_path):
    tokens = 64 * 272
    document = throughput(
        num_requests=64, total_num_tokens=tokens, requests_per_second=16.0,
        tokens_per_second=tokens / 4,
    )  # fmt: skip
    run = read_bench([written(document)], claims(stage="decode", ms=(64,)))
    cell = write_run(run, tmp_path / "runs").record.cells["my-7b.int8.native.decode.m64"]
    assert cell.metrics.tokens_per_second == 4352.0
    assert cell.metrics.output_tokens_per_second is None


def test_m_comes_from_the_name_of_the_file_when_it_is_not_stated(written):
    run = read_bench([written(throughput(), "my-7b_M4096.json")], claims(ms=()))
    assert [each.cell.id for each in run.cells] == [CELL]


@pytest.mark.parametrize("name", ["null", "true", "7", "1e3", "0x10", "2026-01-01"])
def test_a_model_may_have_a_name_that_is_no_text_to_yaml(written, tmp_path, name):
    store = write_run(read_bench([written(throughput())], claims(model=name)), tmp_path / "runs")
    assert list(store.record.cells) == [f"{name}.int8.native.prefill.m4096"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            throughput(requests_per_second=99999),
            "requests_per_second is 99999, but num_requests 512",
        ),
        (throughput(tokens_per_second=1.0), "tokens_per_second is 1, but total_num_tokens 524800"),
        (serve(request_throughput=127.0), "requests_per_second is 127"),
        (serve(total_token_throughput=131000.0), "tokens_per_second is 131000"),
    ],
)
def test_rates_that_contradict_their_own_file_are_refused(written, document, told):
    with pytest.raises(UsageError) as error:
        read_bench([written(document)], STATED)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([None], "latencies[0] is null; expected seconds above 0"),
        ([0.05, "a"], 'latencies[1] is "a"; expected seconds above 0'),
        ([0.05, 0], "latencies[1] is 0; expected seconds above 0"),
        ([[1]], "latencies[0] is [1]; expected seconds above 0"),
        ([], "latencies is []; expected a list of seconds above 0"),
        (None, "latencies is null; expected a list of seconds above 0"),
    ],
)
def test_a_latency_that_is_none_is_named(written, found, told):
    stated = claims(input_len=1024, output_len=1, batch_size=4)
    with pytest.raises(UsageError) as error:
        read_bench([written(latency(latencies=found))], stated)
    assert str(error.value).endswith(told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"failed": "3"}, 'failed is "3"; expected a number'),
        ({"total_token_throughput": "x"}, 'total_token_throughput is "x"; expected a number'),
        ({"request_throughput": True}, "has no number under request_throughput"),
    ],
)
def test_a_count_of_a_serve_file_that_is_no_number_is_named(written, changes, told):
    with pytest.raises(UsageError) as error:
        read_bench([written(serve(**changes))], STATED)
    assert str(error.value).endswith(told)


def test_a_serve_file_of_a_time_beyond_the_calendar_has_no_start(written):
    seconds = 1e15
    document = serve(
        duration=seconds, request_throughput=512 / seconds, total_token_throughput=524800 / seconds
    )
    (cell,) = read_bench([written(document)], STATED).cells
    assert cell.attempts[0].started == ""


def test_one_m_per_file_goes_by_their_order(written):
    small = throughput(
        num_requests=128, total_num_tokens=128 * 513, requests_per_second=32.0,
        tokens_per_second=128 * 513 / 4,
    )  # fmt: skip
    files = [written(throughput(), "a.json"), written(small, "b.json")]
    run = read_bench(files, claims(ms=(4096, 512)))
    assert [each.cell.m for each in run.cells] == [4096, 512]


def test_several_files_of_one_cell_are_attempts_in_the_order_given(written, tmp_path):
    slower = throughput(elapsed_time=8.0, requests_per_second=64.0, tokens_per_second=65600.0)
    files = [written(slower, "a.json"), written(throughput(), "b.json")]
    cell = write_run(read_bench(files, STATED), tmp_path / "runs").record.cells[CELL]
    rates = [each.metrics.tokens_per_second for each in cell.attempts]
    assert (rates, cell.metrics.tokens_per_second) == ([65600.0, 131200.0], 131200.0)


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-quantized.w8a8", "qwen2.5-7b"),
        ("/models/Llama-3.2-1B-INT8", "llama3.2-1b"),
        ("meta-llama/Llama3.2-3B", "llama3.2-3b"),
    ],
)
def test_a_model_of_the_catalog_is_recognized_by_its_id(written, model_id, name):
    path = written(throughput(model_id=model_id))
    assert read_bench([path], claims(model=None)).cells[0].cell.model == name


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("model", "--model: lower-case letters"),
        ("quantization", "state it with --quantization: one of int8, fp8"),
        ("backend", "state it with --backend: one of native, cutlass"),
        ("stage", "state it with --stage: one of prefill, decode"),
        ("ms", "state it with --m"),
    ],
)
def test_what_a_file_lacks_has_to_be_stated(written, missing, told):
    path = written(throughput())
    with pytest.raises(UsageError) as error:
        read_bench([path], claims(**{missing: () if missing == "ms" else None}))
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"quantization": "int4"}, "--quantization 'int4' is not one of int8, fp8"),
        ({"backend": "marlin"}, "--backend 'marlin' is not one of native"),
        ({"backend": "cusparselt"}, "backend cusparselt needs --sparsity 2:4"),
        ({"sparsity": "2:4"}, "backend native is dense: leave --sparsity out"),
        ({"backend": "cusparselt", "sparsity": "6:8"}, "sparsity '6:8' is not one of 2:4"),
        ({"stage": "train"}, "--stage 'train' is not one of prefill, decode"),
        ({"ms": (1500,)}, "the nearest are 1024 and 2048"),
        ({"ms": (1, 2, 3)}, "--m was given 3 times for 1 files"),
        ({"model": "a/b"}, "--model 'a/b' names no model for a cell id"),
    ],
)
def test_wrong_claims_are_named_with_what_is_allowed(written, changes, told):
    with pytest.raises(UsageError) as error:
        read_bench([written(throughput())], claims(**changes))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (throughput(total_num_tokens=512 * 1152), "but 512 requests of 1024 + 1 tokens are 524800"),
        (throughput(elapsed_time=0), "elapsed_time is 0, which no measurement gives"),
        (serve(failed=3), "3 of 515 requests failed"),
        (serve(duration=None), "has no number under duration"),
        (serve(total_input_tokens="many"), "has no number under total_input_tokens"),
        (latency(), "state --input-len, --output-len and --batch-size"),
        ({"what": 1}, "is no result of vllm bench"),
        ([throughput()], "not a JSON object"),
        ('{"elapsed_time": 4', "not JSON, perhaps truncated"),
        ("", "not JSON"),
    ],
    ids=["lengths", "zero", "failed", "null", "text", "latency", "foreign", "list", "cut", "empty"],
)
def test_a_file_that_is_no_result_of_the_cell_is_refused(written, document, told):
    path = written(document)
    with pytest.raises(UsageError) as error:
        read_bench([path], STATED)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)


@pytest.mark.parametrize("latencies", [[], ["x"], "0.05", [0.0], [float("nan")]])
def test_latencies_that_are_no_times_are_refused(written, latencies):
    stated = claims(input_len=1024, output_len=1, batch_size=4)
    with pytest.raises(UsageError, match=r"out\.json: "):
        read_bench([written(latency(latencies=latencies))], stated)


def test_latencies_of_another_load_are_refused(written):
    stated = claims(input_len=32, output_len=128, batch_size=8)
    with pytest.raises(UsageError, match=r"is another load: .* requests of 1024 \+ 1 tokens, 4 at"):
        read_bench([written(latency())], stated)


def test_every_wrong_file_is_named_at_once(written):
    files = [written("", "a.json"), written(throughput(), "b.json"), written("[]", "c.json")]
    with pytest.raises(UsageError) as error:
        read_bench(files, STATED)
    lines = str(error.value).splitlines()
    assert [Path(line.partition(": ")[0]).name for line in lines] == ["a.json", "c.json"]


def test_the_device_is_the_one_that_was_stated_or_none(written, tmp_path):
    path = written(throughput())
    stated = write_run(read_bench([path], claims(gpu="H200")), tmp_path / "runs").environment()
    silent = write_run(read_bench([path], STATED), tmp_path / "runs").environment()
    assert stated["gpus"][0]["name"] == "NVIDIA H200"
    assert stated["imported"]["unknown"]["GPU"].startswith("as stated on the command line")
    assert silent["gpus"] == []
    assert silent["imported"]["unknown"]["GPU"] == "files of vllm bench do not name it"


def test_the_command_makes_a_run_that_can_be_reported(written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--quantization", "int8", "--backend", "native", "--stage", "prefill"]
    path = str(written(throughput(model_id="Qwen/Qwen2.5-7B"), "x_M4096.json"))
    assert invoke(["import", "vllm-bench", path, *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["passed"] == 1
    assert invoke(["report"]) == 0
    report = Path("reports", Path(document["run"]).name, "report.md").read_text()
    assert "1 of 1 cell" in report


def test_a_command_that_lacks_something_exits_2_and_writes_nothing(
    written, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert invoke(["import", "vllm-bench", str(written(throughput())), "--json"]) == 2
    streams = capsys.readouterr()
    assert json.loads(streams.out)["error"]["exit_code"] == 2
    assert "state it with --backend" in streams.err
    assert not (tmp_path / "runs").exists()
