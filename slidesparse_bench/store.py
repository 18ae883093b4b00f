"""A run on disk: one folder, an append-only journal, and files derived from it.

`journal.jsonl` is the truth. Every event is fsynced there before anything else happens, and
`status.json` is rewritten after it; a kill at any instant costs at most the attempt in flight.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from slidesparse_bench.errors import FormatError, NewerFormat, RunLocked, RunNotFound
from slidesparse_bench.records import (
    WILL_BE_TRIED_AGAIN,
    CellRecord,
    CellState,
    RunRecord,
    RunState,
    run_from_status,
    status_json,
)
from slidesparse_bench.wire import (
    ATTEMPT,
    SCHEMA_VERSION,
    check_version,
    encode,
    read_json,
    sync_folder,
    write_json,
    write_text,
)

STATUS, JOURNAL, PLAN, ENVIRONMENT, MATRIX, RESULTS = (
    "status.json",
    "journal.jsonl",
    "plan.json",
    "environment.json",
    "matrix.yaml",
    "results.csv",
)
_LOCK = ".lock"
LOCK_TRIES, LOCK_PAUSE_S = 5, 0.05
_RUN_NAME = re.compile(r".+-\d{8}-\d{6}")
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, FormatError)


def now() -> str:
    """The current time, ISO 8601 with zone, to the millisecond."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


class Store:
    """One run folder. All changes go through `append`, which any thread may call."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder = folder
        self.record = record
        self._mutex = threading.Lock()
        self._lines: dict[str, str] = {}

    @classmethod
    def create(
        cls,
        runs: Path,
        *,
        name: str,
        matrix_text: str,
        matrix_sha256: str,
        plan: dict[str, Any],
        environment: dict[str, Any],
        trials: int = 1,
        began: str | None = None,
    ) -> Store:
        """Make a new run folder `<name>-<time>`; it appears whole or not at all.

        `began` is for a run that was measured elsewhere, earlier.
        """
        runs.mkdir(parents=True, exist_ok=True)
        run_id = _free_run_id(runs, name)
        beside = runs / f".{run_id}.{os.getpid()}.tmp"
        (beside / "cells").mkdir(parents=True)
        write_text(beside / MATRIX, matrix_text)
        write_json(beside / PLAN, plan)
        write_json(beside / ENVIRONMENT, environment)
        cells = {cell["id"]: CellRecord() for cell in plan["cells"]}
        moment = began or now()
        record = RunRecord(run_id, matrix_sha256, moment, moment, cells=cells, trials=trials)
        write_text(beside / JOURNAL, json.dumps(_created(record)) + "\n")
        write_json(beside / STATUS, status_json(record))
        beside.rename(runs / run_id)
        sync_folder(runs)
        return cls.open(runs / run_id)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Load a run; the journal wins over `status.json`, which may be torn or missing.

        A run whose process was killed says for ever that it is running, and so do its cells; here it
        is interrupted, and they are pending.

        Raises:
            FormatError: neither tells anything, or a newer version wrote them.
        """
        record = load_record(folder)
        if record.state is RunState.RUNNING and not _is_held(folder / _LOCK):
            record = _interrupted(load_record(folder))  # it may have come to its end just now
            for cell in record.cells.values():
                if cell.state is CellState.RUNNING:
                    cell.state, cell.reason = CellState.PENDING, WILL_BE_TRIED_AGAIN
        return cls(folder, record)

    def append(self, event: dict[str, Any]) -> None:
        """Journal an event, fold it into the record, rewrite `status.json`."""
        event = {"time": now(), **encode(event)}
        with self._mutex:
            _append_line(self.folder / JOURNAL, json.dumps(event))
            self.record.apply(event)
            self._write_status(event.get("cell"))

    def append_all(self, events: Iterable[dict[str, Any]]) -> None:
        """The same for many events that happened elsewhere: one fsync, one new `status.json`."""
        moment = now()
        dated = [{"time": moment, **encode(event)} for event in events]
        if not dated:
            return
        with self._mutex:
            _append_line(self.folder / JOURNAL, "\n".join(json.dumps(each) for each in dated))
            for each in dated:
                self.record.apply(each)
            self._write_status(None)

    def _write_status(self, changed: str | None) -> None:
        """Rewrite `status.json`, one line per cell, of which only the changed one is made anew.

        With 300 cells making all of them anew takes a tenth of a second, at every event.
        """
        cells = self.record.cells
        for cell_id in [changed] if changed in self._lines else cells:
            self._lines[str(cell_id)] = _json_text(encode(cells[str(cell_id)]))
        head = {**status_json(replace(self.record, cells={})), "counts": self.record.counts}
        head.pop("cells")
        opened = _json_text(head, indent=1).removesuffix("\n}")
        lines = ",\n".join(f"  {json.dumps(each)}: {self._lines[each]}" for each in cells)
        write_text(self.folder / STATUS, f'{opened},\n "cells": {{\n{lines}\n }}\n}}\n')

    @property
    def owner(self) -> str:
        """What marks this run's processes: unlike the run id, unique on a machine.

        Two runs of one name may begin in the same second in different folders.
        """
        digest = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()
        return f"{self.record.run_id}.{digest[:12]}"

    def attempt_folder(self, cell_id: str, n: int) -> Path:
        return self.folder / "cells" / cell_id / f"attempt-{n}"

    def new_engine_folder(self) -> Path:
        """An empty folder for a worker that several cells share; never one that was there."""
        engines = self.folder / "engines"
        engines.mkdir(exist_ok=True)
        number = len(list(engines.iterdir()))
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                (engines / str(number)).mkdir()
                return engines / str(number)

    def next_attempt(self, cell_id: str) -> int:
        """The number of a new attempt; a folder that is there already is never used again."""
        taken = [n for n, _ in _attempt_folders(self.folder / "cells" / cell_id)]
        return max([*taken, *(attempt.n for attempt in self.record.cells[cell_id].attempts), 0]) + 1

    def relative(self, path: Path) -> str:
        """A path inside the run as it stands in records: relative to the run folder."""
        return path.relative_to(self.folder).as_posix()

    def plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = read_json(self.folder / PLAN)
        return plan

    def environment(self) -> dict[str, Any]:
        """What the run ran on; `damaged` says why when the file cannot tell any more."""
        try:
            environment: dict[str, Any] = read_json(self.folder / ENVIRONMENT)
        except NewerFormat:
            raise
        except FormatError as error:
            return {"schema_version": SCHEMA_VERSION, "damaged": str(error)}
        return environment

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Replace `environment.json`; one that cannot be read any more is kept beside it."""
        path = self.folder / ENVIRONMENT
        if "damaged" in environment and path.exists():
            path.replace(path.with_name(f"{ENVIRONMENT}.damaged"))
        write_json(path, {k: v for k, v in environment.items() if k != "damaged"})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run against other processes; the kernel lets go when this one dies.

        Raises:
            RunLocked: a live process holds it.
        """
        with (self.folder / _LOCK).open("a+") as stream:
            try:
                _lock(stream)
            except BlockingIOError:
                raise RunLocked(self.folder, _lock_owner(self.folder / _LOCK)) from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            # What another process did between our reading and the lock must not be lost.
            self.record = _interrupted(load_record(self.folder))
            self._lines.clear()
            if _replay(self.folder / JOURNAL) is None:
                _restore_journal(self.folder, self.record)
            yield


def _json_text(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def load_record(folder: Path) -> RunRecord:
    """The record of a run, from the best source that is left.

    Raises:
        FormatError: nothing usable is left, or a newer version wrote it.
    """
    record = _replay(folder / JOURNAL)
    if record is not None:
        return record
    with contextlib.suppress(FormatError):
        return run_from_status(read_json(folder / STATUS))
    return _salvage(folder)


def _replay(journal: Path) -> RunRecord | None:
    """Fold the journal; None when it is missing or does not begin a run.

    A line that cannot be read or applied is passed over: the last one of a killed process is torn,
    and one damaged line must not take the rest of the run with it.
    """
    record: RunRecord | None = None
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return None
    for line in lines:
        with contextlib.suppress(*_UNREADABLE):
            event = json.loads(line)
            if event["event"] == "run_created":
                check_version(journal, event["schema_version"])
                record = _new_record(event)
            elif record is not None:
                record.apply(event)
    return record


def _restore_journal(folder: Path, record: RunRecord) -> None:
    """Begin a lost journal anew, with all that is still known."""
    restored = {"event": "restored", "time": record.updated, "status": status_json(record)}
    lines = [json.dumps(event, ensure_ascii=False) for event in (_created(record), restored)]
    write_text(folder / JOURNAL, "\n".join(lines) + "\n")


def _created(record: RunRecord) -> dict[str, Any]:
    """The first event of a journal."""
    return {
        "event": "run_created",
        "time": record.created,
        "schema_version": SCHEMA_VERSION,
        "run_id": record.run_id,
        "matrix_sha256": record.matrix_sha256,
        "trials": record.trials,
        "cells": list(record.cells),
    }


def _new_record(created: dict[str, Any]) -> RunRecord:
    return RunRecord(
        run_id=created["run_id"],
        matrix_sha256=created["matrix_sha256"],
        created=created["time"],
        updated=created["time"],
        cells={cell_id: CellRecord() for cell_id in created["cells"]},
        trials=created.get("trials", 1),
    )


def _salvage(folder: Path) -> RunRecord:
    """Rebuild from the plan and the attempts' own files when journal and status are gone."""
    plan = read_json(folder / PLAN)
    if "matrix_sha256" not in plan or "cells" not in plan:
        raise FormatError(f"{folder / PLAN}: is not a plan of slidesparse-bench")
    modified = datetime.fromtimestamp((folder / PLAN).stat().st_mtime).astimezone().isoformat()
    record = RunRecord(
        run_id=folder.name,
        matrix_sha256=plan["matrix_sha256"],
        created=modified,
        updated=modified,
        state=RunState.INTERRUPTED,
        cells={planned["id"]: CellRecord() for planned in plan["cells"]},
        trials=plan.get("trials", 1),
    )
    for cell_id in record.cells:
        _salvage_cell(record, cell_id, folder / "cells" / cell_id)
    return record


def _salvage_cell(record: RunRecord, cell_id: str, folder: Path) -> None:
    """An attempt's own file holds the event of its end.

    Whether a cell had failed for good is not in there; it is tried once more.
    """
    for _, attempt in sorted(_attempt_folders(folder)):
        with contextlib.suppress(*_UNREADABLE):
            known = {"event": "attempt_ended", "time": record.updated, "cell": cell_id}
            record.apply({**known, **read_json(attempt / ATTEMPT)})


def _attempt_folders(folder: Path) -> list[tuple[int, Path]]:
    """Number and folder of each attempt at a cell; anything else there is passed over."""
    found = [(re.fullmatch(r"attempt-(\d+)", path.name), path) for path in folder.glob("attempt-*")]
    return [(int(match[1]), path) for match, path in found if match]


def find_run(runs: Path, name: str | None) -> Path:
    """The run folder meant by `name` (an id below `runs` or a path), else the newest one.

    Raises:
        RunNotFound: there is none; the message lists what is there.
    """
    candidates = list_runs(runs)
    if name is None:
        if not candidates:
            raise RunNotFound(f"no run under {runs}/; start one with: slidesparse run MATRIX.yaml")
        return candidates[-1]
    for folder in (runs / name, Path(name)):
        if (folder / PLAN).exists():
            return folder
    known = ", ".join(folder.name for folder in candidates[-5:]) or "none"
    raise RunNotFound(f"no run '{name}' under {runs}/; the newest there: {known}")


def list_runs(runs: Path) -> list[Path]:
    """Run folders, oldest first (by the time in their names, then by name)."""
    folders = [
        path.parent
        for path in runs.glob(f"*/{PLAN}")
        if _RUN_NAME.fullmatch(path.parent.name) and not path.parent.name.startswith(".")
    ]
    return sorted(folders, key=lambda folder: (folder.name[-15:], folder.name))


def models_folder(matrix_path: Path) -> Path | None:
    """Where relative model paths of a run's own copy of its matrix start.

    None of any other file, and on a machine that has no such folder.
    """
    if not is_of_run(matrix_path):
        return None
    folder = read_json(matrix_path.with_name(PLAN)).get("matrix_folder")
    return Path(folder) if folder and Path(folder).is_dir() else None


def is_of_run(matrix_path: Path) -> bool:
    """Whether this is the copy of a matrix that a run has."""
    return matrix_path.name == MATRIX and matrix_path.with_name(PLAN).exists()


@contextlib.contextmanager
def starting(runs: Path) -> Iterator[None]:
    """Let one process at a time look for an unfinished run and make one."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / _LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def find_unfinished(runs: Path, matrix_sha256: str) -> Path | None:
    """The newest run of the same matrix content that has not finished."""
    for folder in reversed(list_runs(runs)):
        with contextlib.suppress(FormatError):
            record = load_record(folder)
            if record.matrix_sha256 == matrix_sha256 and record.state is not RunState.FINISHED:
                return folder
    return None


def _free_run_id(runs: Path, name: str) -> str:
    while True:
        run_id = f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
        if not (runs / run_id).exists():
            return run_id
        time.sleep(0.2)


def _append_line(path: Path, line: str) -> None:
    with path.open("rb+") as stream:
        stream.seek(0, os.SEEK_END)
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            torn = stream.read(1) != b"\n"
            stream.write(b"\n" if torn else b"")
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _interrupted(record: RunRecord) -> RunRecord:
    """As it is when no process works on it."""
    if record.state is RunState.RUNNING:
        record.state = RunState.INTERRUPTED
    return record


def _lock(stream: IO[str]) -> None:
    """Try for a moment: `_is_held` of a reader has it for some microseconds."""
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BlockingIOError),
        stop=tenacity.stop_after_attempt(LOCK_TRIES),
        wait=tenacity.wait_fixed(LOCK_PAUSE_S),
        reraise=True,
    )
    retrying(fcntl.flock, stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(lock: Path) -> bool:
    """Whether a live process has it; none has one that is not there, as in an unpacked bundle."""
    try:
        with lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock_owner(lock: Path) -> int | None:
    text = lock.read_text().strip()
    return int(text) if text.isdecimal() else None
