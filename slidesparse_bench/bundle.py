"""A run as one file to publish: its records and logs, without secrets, with a checksum of each.

The bundle holds one folder, named as the run, that every command takes for a run. The same run
gives the same bytes: members are sorted, keep their times and belong to nobody.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from slidesparse_bench import __version__
from slidesparse_bench.errors import UsageError
from slidesparse_bench.records import RunRecord
from slidesparse_bench.redact import redact, redact_json, redact_yaml
from slidesparse_bench.step_kernels import STEP_KERNELS
from slidesparse_bench.store import ENVIRONMENT, JOURNAL, MATRIX, PLAN, RESULTS, STATUS, Store
from slidesparse_bench.units import MIB
from slidesparse_bench.wire import (
    ATTEMPT,
    LOG,
    PHASES,
    REFUSAL,
    REQUEST,
    RESULT,
    SCHEMA_VERSION,
    SOURCE,
    TELEMETRY,
    sync_folder,
)

MANIFEST = "MANIFEST.json"
LONGEST_LOG_BYTES = 20 * MIB
"""A longer log is published as its beginning and its end, half of this each."""

RUN_FILES = (MATRIX, PLAN, ENVIRONMENT, STATUS, JOURNAL, RESULTS)
WORKER_FILES = (REQUEST, RESULT, STEP_KERNELS, ATTEMPT, PHASES, TELEMETRY, LOG, SOURCE)
WORKER_FOLDERS = ("cells/*/attempt-*", "engines/*")
"""What is published. A list, not what happens to be there: nothing slips in unseen."""

_NOBODY: dict[str, Any] = {"uid": 0, "gid": 0, "uname": "", "gname": ""}


@dataclass(frozen=True)
class Bundle:
    """What was written.

    `files` counts the run's files in it, `redacted` those that were changed; `left_out` are files
    of the run folder that do not belong to a run, relative to it.
    """

    path: Path
    run_id: str
    files: int
    redacted: int
    left_out: list[str]
    bytes: int


@dataclass(frozen=True)
class Member:
    """A file of the run as it is published: `content`, or a `link` to another member.

    `cut` says what a long log lost.
    """

    name: str
    mtime: int
    content: bytes = b""
    link: str = ""
    is_redacted: bool = False
    cut: dict[str, int] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """What the manifest says of it."""
        if self.link:
            return {"link": self.link}
        facts: dict[str, Any] = {
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "bytes": len(self.content),
        }
        facts |= {"redacted": True} if self.is_redacted else {}
        return facts | ({"cut": self.cut} if self.cut else {})


def write_bundle(folder: Path, target: Path | None = None, *, force: bool = False) -> Bundle:
    """Pack the run in `folder` into `target` (default: `<run id>.tar.gz` in this folder).

    The file appears whole or not at all. The run is locked meanwhile.

    Raises:
        UsageError: `target` is there already and not `force`, or its folder is not.
        RunLocked: the run is being executed.
    """
    store = Store.open(folder)
    run_id = PurePosixPath(store.record.run_id).name
    target = target or Path(f"{run_id}.tar.gz")
    _check_target(target, force=force)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with store.locked(), beside.open("wb") as stream:
            entries = _pack(store, run_id, stream)
            left_out = _left_out(folder, set(entries))
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(target.parent)
    return Bundle(
        path=target,
        run_id=run_id,
        files=len(entries),
        redacted=sum("redacted" in entry for entry in entries.values()),
        left_out=left_out,
        bytes=target.stat().st_size,
    )


def _check_target(target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise UsageError(f"-o {target}: is a folder; name the file, e.g. {target}/run.tar.gz")
    if not target.parent.is_dir():
        raise UsageError(f"-o {target}: there is no folder {target.parent}; make it first")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise UsageError(f"-o {target}: is no regular file; name one that may be replaced")
    if target.exists() and not force:
        raise UsageError(f"{target}: is there already; --force replaces it, -o names another file")


def _pack(store: Store, run_id: str, stream: BinaryIO) -> dict[str, dict[str, Any]]:
    """Write the archive; the manifest's entry of every file, by its name in the run folder."""
    entries = {}
    newest = 0
    with _archive(stream) as archive:
        for member in _members(store.folder):
            _add(archive, f"{run_id}/{member.name}", member)
            entries[member.name] = member.entry()
            newest = max(newest, member.mtime)
        manifest = _manifest(store.record, store.environment(), run_id, entries)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        _add(archive, f"{run_id}/{MANIFEST}", Member(MANIFEST, newest, text.encode()))
    return entries


@contextlib.contextmanager
def _archive(stream: BinaryIO) -> Iterator[tarfile.TarFile]:
    # gzip writes name and time of its file into the header unless told otherwise.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield archive


def _add(archive: tarfile.TarFile, name: str, member: Member) -> None:
    facts = tarfile.TarInfo(name)
    facts.mtime, facts.size = member.mtime, len(member.content)
    facts.mode = 0o644
    for attribute, value in _NOBODY.items():
        setattr(facts, attribute, value)
    if member.link:
        facts.type, facts.linkname, facts.mode = tarfile.SYMTYPE, member.link, 0o777
    archive.addfile(facts, io.BytesIO(member.content))


def _manifest(
    run: RunRecord, environment: dict[str, Any], run_id: str, entries: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """No time of packing: the same run gives the same bundle."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": run_id,
        "state": run.state.value,
        "created": run.created,
        "updated": run.updated,
        "slidesparse_bench": __version__,
        "versions": environment.get("versions"),
        "files": entries,
    }


def _members(folder: Path) -> Iterator[Member]:
    names = _names(folder)
    for name in sorted(names):
        path = folder / name
        if path.is_symlink():
            yield Member(name, _mtime(path), link=_link(path, name, names))
        elif name.endswith(LOG):
            yield _log(path, name)
        else:
            raw = path.read_bytes()
            content = _clean(name, raw)
            yield Member(name, _mtime(path), content, is_redacted=content != raw)


def _names(folder: Path) -> set[str]:
    """Files to publish, relative to the run folder; links only where they lead to one of them."""
    found = [each for pattern in WORKER_FOLDERS for each in folder.glob(pattern)]
    folders = [each for each in found if not each.is_symlink()]
    paths = [folder / name for name in RUN_FILES]
    paths += [each / name for each in folders for name in WORKER_FILES]
    paths += folder.glob(f"cells/*/{REFUSAL}")
    files = {path.relative_to(folder).as_posix() for path in paths if path.is_file()}
    plain = {name for name in files if not (folder / name).is_symlink()}
    linked = {name for name in files - plain if _leads_to(folder / name, name) in plain}
    return plain | linked


def _leads_to(path: Path, name: str) -> str:
    """Where a relative link leads, from the run folder; an absolute one leads nowhere elsewhere."""
    return os.path.normpath(PurePosixPath(name).parent / path.readlink())


def _link(path: Path, name: str, names: set[str]) -> str:
    target = _leads_to(path, name)
    assert target in names
    return os.path.relpath(target, PurePosixPath(name).parent)


def _mtime(path: Path) -> int:
    return int(path.lstat().st_mtime)


def _left_out(folder: Path, packed: set[str]) -> list[str]:
    """Files that nobody would expect to be missing; locks and half-written files are no loss."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if _is_file(path))
    return sorted(set(found) - packed)


def _is_file(path: Path) -> bool:
    is_ours = path.name == ".lock" or (path.name.startswith(".") and path.name.endswith(".tmp"))
    return (path.is_file() or path.is_symlink()) and not is_ours


def _clean(name: str, raw: bytes) -> bytes:
    """The content without secrets; JSON stays JSON, what is torn or foreign is taken as text."""
    text = raw.decode("utf-8", "surrogateescape")
    if name.endswith(".json"):
        text = _clean_json(text, indent=1)
    elif name.endswith(".jsonl"):
        text = "\n".join(_clean_json(line) for line in text.split("\n"))
    elif name.endswith(".yaml"):
        text = redact_yaml(text)
    else:
        text = redact(text)
    return text.encode("utf-8", "surrogateescape")


def _clean_json(text: str, indent: int | None = None) -> str:
    """As it was when there is nothing to hide; else ASCII, since a string may be no valid UTF-8."""
    try:
        value = json.loads(text)
    except ValueError:
        return redact(text)
    clean = redact_json(value)
    if clean == value:
        return text
    end = "\n" if text.endswith("\n") else ""
    return json.dumps(clean, indent=indent) + end


def _log(path: Path, name: str) -> Member:
    size = path.stat().st_size
    if size <= LONGEST_LOG_BYTES:
        raw = path.read_bytes()
        content = _clean(name, raw)
        return Member(name, _mtime(path), content, is_redacted=content != raw)
    head, tail = _ends(path, size)
    missing = size - len(head) - len(tail)
    first_line = head.count(b"\n") + 1
    note = f"slidesparse: {missing} bytes from line {first_line} on are not part of the bundle\n"
    clean_head, clean_tail = _clean(name, head), _clean(name, tail)
    return Member(
        name,
        _mtime(path),
        clean_head + note.encode() + clean_tail,
        is_redacted=(clean_head, clean_tail) != (head, tail),
        cut={"from_line": first_line, "bytes": missing},
    )


def _ends(path: Path, size: int) -> tuple[bytes, bytes]:
    """Whole lines only: half a line could be half a secret, which nothing recognizes."""
    half = LONGEST_LOG_BYTES // 2
    with path.open("rb") as stream:
        head = stream.read(half)
        stream.seek(size - half - 1)
        tail = stream.read()
    return head[: head.rfind(b"\n") + 1], tail.partition(b"\n")[2]
