"""A run as one file to publish: complete, without secrets, and usable where it is unpacked."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from slidesparse_bench import bundle as bundle_module
from slidesparse_bench.bundle import MANIFEST, write_bundle
from slidesparse_bench.cli import invoke
from slidesparse_bench.errors import RunLocked, UsageError
from slidesparse_bench.redact import REDACTED
from slidesparse_bench.store import Store

GOLDEN = Path(__file__).parent / "golden" / "run-schema-1"
RUN = "first-format-20261121-135747"
PREFILL, FAILED, DECODE = (
    "tiny-llama.int8.native.prefill.m512",
    "tiny-llama.int8.native.prefill.m1024",
    "tiny-llama.int8.native.decode.m4",
)
SECRET = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"
LOG = f"""loading /home/bob/models/tiny
HF_TOKEN={SECRET}
±1 %
ValueError: No available memory for the cache blocks.
"""


@pytest.fixture
def run(tmp_path):
    """The run of format 1, an attempt of its own per cell, two of them on a shared engine."""
    folder = tmp_path / "runs" / RUN
    shutil.copytree(GOLDEN, folder)
    put(folder / "results.csv", "id,reason\nx,in /home/bob/models/tiny\n")
    engine = folder / "engines" / "1"
    put(engine / "worker.log", LOG)
    put(engine / "phases.jsonl", '{"phase": "start", "seconds": 0.0}\n{"phase": "impo')
    for cell in (PREFILL, DECODE):
        attempt = folder / "cells" / cell / "attempt-1"
        put(attempt / "result.json", json.dumps({"rounds": [{"elapsed_s": 0.1}], "ok": True}))
        for name in ("worker.log", "phases.jsonl"):
            (attempt / name).symlink_to(os.path.relpath(engine / name, attempt))
    alone = folder / "cells" / FAILED / "attempt-1"
    put(alone / "worker.log", LOG)
    request = {"model_path": "/home/bob/models/tiny", "engine_args": {"hf_token": SECRET}}
    put(alone / "request.json", json.dumps(request, indent=1) + "\n")
    put(alone / "result.json", '{"ok": true, "hf_token": "abcdefgh", "metr')
    put(alone / "telemetry.csv", "time,power_w\n0.1,12\n")
    return folder


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another folder, without any run."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def unpacked(archive, into):
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    return into / RUN


def manifest_of(folder):
    return json.loads((folder / MANIFEST).read_text())


def test_bundle_holds_one_folder_named_as_the_run(run, elsewhere):
    written = write_bundle(run)
    assert written.path == Path(f"{RUN}.tar.gz")
    with tarfile.open(written.path) as opened:
        names = opened.getnames()
    assert {name.partition("/")[0] for name in names} == {RUN}
    assert names == [*sorted(names[:-1]), f"{RUN}/{MANIFEST}"]
    assert written.files == len(names) - 1


def test_report_and_status_work_where_it_is_unpacked(run, elsewhere, capsys):
    write_bundle(run, elsewhere / "b.tar.gz")
    unpacked(elsewhere / "b.tar.gz", elsewhere)
    shutil.rmtree(run.parent)
    assert invoke(["report", f"./{RUN}"]) == 0
    assert FAILED in (elsewhere / "reports" / RUN / "report.md").read_text()
    capsys.readouterr()
    assert invoke(["status", f"./{RUN}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["passed"] == 2


def test_no_secret_and_no_home_is_left_in_any_file(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    text = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert REDACTED in text
    for telling in (SECRET, "abcdefgh", "/home/bob"):
        assert telling not in text


def test_json_stays_json_with_its_keys(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    request = json.loads((folder / "cells" / FAILED / "attempt-1" / "request.json").read_text())
    assert request == {
        "model_path": "/home/<user>/models/tiny",
        "engine_args": {"hf_token": REDACTED},
    }


def test_lines_of_a_log_keep_their_numbers(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    lines = (folder / "cells" / FAILED / "attempt-1" / "worker.log").read_text().split("\n")
    assert lines[2:4] == LOG.split("\n")[2:4]


def test_file_without_anything_to_hide_is_kept_to_the_byte(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    for name in ("status.json", "plan.json", "journal.jsonl", "matrix.yaml"):
        assert (folder / name).read_bytes() == (run / name).read_bytes()
    engine = Path("engines/1/phases.jsonl")  # its last line is torn
    assert (folder / engine).read_bytes() == (run / engine).read_bytes()


def test_attempts_of_a_shared_engine_still_point_to_its_log(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    log = folder / "cells" / PREFILL / "attempt-1" / "worker.log"
    assert str(log.readlink()) == "../../../engines/1/worker.log"
    assert log.resolve() == (folder / "engines" / "1" / "worker.log").resolve()


def test_manifest_has_the_checksum_of_every_file(run, elsewhere):
    folder = unpacked(write_bundle(run).path, elsewhere)
    manifest = manifest_of(folder)
    assert (manifest["run"], manifest["state"]) == (RUN, "finished")
    found = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
    assert set(manifest["files"]) == found - {MANIFEST}
    for name, entry in manifest["files"].items():
        if "link" not in entry:
            content = (folder / name).read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            assert entry["bytes"] == len(content)


def test_manifest_says_which_files_were_redacted(run, elsewhere):
    written = write_bundle(run)
    files = manifest_of(unpacked(written.path, elsewhere))["files"]
    redacted = {name for name, entry in files.items() if entry.get("redacted")}
    attempt = f"cells/{FAILED}/attempt-1"
    assert {
        f"{attempt}/{name}" for name in ("worker.log", "request.json", "result.json")
    } < redacted
    assert {"status.json", f"{attempt}/telemetry.csv"} & redacted == set()
    assert written.redacted == len(redacted)


def test_same_run_gives_the_same_bytes(run, elsewhere):
    first = write_bundle(run, elsewhere / "a.tar.gz")
    second = write_bundle(run, elsewhere / "b.tar.gz")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_members_belong_to_nobody_and_keep_their_times(run, elsewhere):
    os.utime(run / "matrix.yaml", (1_700_000_000, 1_700_000_000))
    with tarfile.open(write_bundle(run).path) as opened:
        members = opened.getmembers()
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}
    assert {each.mode for each in members if each.isfile()} == {0o644}
    times = {each.name: each.mtime for each in members}
    assert times[f"{RUN}/matrix.yaml"] == 1_700_000_000


def test_what_is_no_file_of_a_run_stays_out_and_is_told(run, elsewhere, tmp_path):
    outside = tmp_path / "notes.txt"
    outside.write_text("private")
    put(run / "models" / "x" / "config.json", "{}")
    put(run / ".status.json.1-2.tmp", "{")
    attempt = run / "cells" / PREFILL / "attempt-1"
    (attempt / "request.json").symlink_to(outside)
    (attempt / "telemetry.csv").symlink_to("gone.csv")
    written = write_bundle(run)
    assert written.left_out == [
        f"cells/{PREFILL}/attempt-1/request.json",
        f"cells/{PREFILL}/attempt-1/telemetry.csv",
        "models/x/config.json",
    ]
    with tarfile.open(written.path) as opened:
        names = " ".join(opened.getnames())
    assert not any(each in names for each in ("models", "tmp", "lock"))


def test_long_log_keeps_whole_lines_of_both_ends(run, elsewhere, monkeypatch):
    monkeypatch.setattr(bundle_module, "LONGEST_LOG_BYTES", 200)
    lines = [f"line {n:04}\n" for n in range(1, 101)]
    log = Path("cells") / FAILED / "attempt-1" / "worker.log"
    put(run / log, "".join(lines))
    folder = unpacked(write_bundle(run).path, elsewhere)
    assert (folder / log).read_text().splitlines(keepends=True) == [
        *lines[:10],
        "slidesparse: 800 bytes from line 11 on are not part of the bundle\n",
        *lines[-10:],
    ]
    cut = manifest_of(folder)["files"][log.as_posix()]["cut"]
    assert cut == {"from_line": 11, "bytes": 800}


@pytest.mark.parametrize(("before", "after"), [(90, 300), (300, 90)])
def test_secret_at_a_cut_of_a_long_log_is_not_halved(run, elsewhere, monkeypatch, before, after):
    monkeypatch.setattr(bundle_module, "LONGEST_LOG_BYTES", 200)
    log = Path("cells") / FAILED / "attempt-1" / "worker.log"
    put(run / log, "x" * before + SECRET + "y" * after)
    folder = unpacked(write_bundle(run).path, elsewhere)
    text = (folder / log).read_text()
    assert SECRET[:8] not in text
    assert SECRET[-8:] not in text


def test_log_of_any_bytes_is_packed(run, elsewhere):
    log = Path("cells") / FAILED / "attempt-1" / "worker.log"
    (run / log).write_bytes(b"\xff\xfe\x00 /home/bob/x\r\n")
    put(run / log.with_name("result.json"), '{"message": "\\ud800 /home/bob/x"}')
    folder = unpacked(write_bundle(run).path, elsewhere)
    assert (folder / log).read_bytes() == b"\xff\xfe\x00 /home/<user>/x\r\n"
    message = json.loads((folder / log.with_name("result.json")).read_text())["message"]
    assert message == "\ud800 /home/<user>/x"


def test_bundle_that_is_there_is_replaced_only_by_force(run, elsewhere):
    target = elsewhere / "b.tar.gz"
    target.write_text("precious")
    with pytest.raises(UsageError, match="--force"):
        write_bundle(run, target)
    assert target.read_text() == "precious"
    write_bundle(run, target, force=True)
    assert tarfile.is_tarfile(target)


def test_failed_packing_leaves_nothing_behind(run, elsewhere, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, "_clean", fail)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(run)
    assert list(elsewhere.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from slidesparse_bench.store import Store
with Store.open(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_run_that_is_being_executed_is_refused(run, elsewhere):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunLocked, match=str(holder.pid)):
            write_bundle(run)
        holder.kill()
    assert list(elsewhere.iterdir()) == []


def test_bundle_of_an_unpacked_bundle_has_the_same_files(run, elsewhere):
    first = unpacked(write_bundle(run, elsewhere / "a.tar.gz").path, elsewhere)
    second = unpacked(write_bundle(first, elsewhere / "b.tar.gz").path, elsewhere / "again")
    files = manifest_of(first)["files"]
    for entry in files.values():
        entry.pop("redacted", None)
    assert manifest_of(second)["files"] == files


def test_newest_run_is_bundled_by_default_and_json_says_where(run, elsewhere, capsys):
    output = elsewhere / "b.tar.gz"
    assert invoke(["bundle", "--runs-dir", str(run.parent), "-o", str(output), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written.pop("schema_version")
    assert written == {
        "bundle": str(output),
        "run": RUN,
        "files": len(manifest_of(unpacked(output, elsewhere))["files"]),
        "bytes": output.stat().st_size,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-like-it"], "no run 'nothing-like-it'"),
        (["-o", "no/such/folder/b.tar.gz"], "there is no folder"),
        (["-o", "."], "is a folder"),
    ],
)
def test_wrong_use_is_told_and_exits_2(run, elsewhere, capsys, arguments, said):
    assert invoke(["bundle", "--runs-dir", str(run.parent), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_a_bundle_replaces_no_special_file_whatever_is_forced(run, elsewhere, tmp_path, make):
    make(tmp_path / "target")
    with pytest.raises(UsageError, match="is no regular file"):
        write_bundle(run, tmp_path / "target", force=True)


def test_record_of_the_run_is_untouched(run, elsewhere):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    write_bundle(run)
    after = {
        path: path.read_bytes()
        for path in run.rglob("*")
        if path.name != ".lock" and path.is_file()
    }
    assert after == before
    assert Store.open(run).record.counts["passed"] == 2
