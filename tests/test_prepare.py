"""Models made and downloaded beforehand: whole, or not there at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import Entry

from slidesparse_bench import wire
from slidesparse_bench.cell import Quantization
from slidesparse_bench.models import CATALOG, Action, materialize, prepare, resolve
from slidesparse_bench.models.config import config_json
from slidesparse_bench.models.prepare import is_whole

INT8, FP8 = Quantization.INT8, Quantization.FP8


pytestmark = pytest.mark.usefixtures("fresh_cache")


class Hub:
    """A stand-in for huggingface_hub: a local cache, and a network that can fail."""

    def __init__(self, cache, *, error=None):
        self.folder = cache / "snapshot"
        self.error = error
        self.downloads = 0

    def snapshot_download(self, repo, *, local_files_only=False, **patterns):
        if not local_files_only:
            self._download()
        if not self.folder.is_dir():
            raise FileNotFoundError(repo)
        return str(self.folder)

    def _download(self):
        self.downloads += 1
        if self.error:
            raise self.error
        self.folder.mkdir(exist_ok=True)
        config = config_json(CATALOG["tiny-llama"], INT8)
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "model.safetensors").write_bytes(b"")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(**options):
        hub = Hub(tmp_path, **options)
        fake = SimpleNamespace(snapshot_download=hub.snapshot_download)
        monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
        return hub

    return install


def actions(results):
    return [prepared.action for prepared in results]


def test_builtin_models_are_made_once_and_found_the_second_time():
    lines = []

    first = prepare([Entry("tiny-llama")], [INT8, FP8], lines.append)
    second = prepare([Entry("tiny-llama")], [INT8, FP8], lines.append)

    assert actions(first) == [Action.MADE, Action.MADE]
    assert actions(second) == [Action.PRESENT, Action.PRESENT]
    assert lines[0].startswith("tiny-llama int8: made in ")
    assert lines[0].endswith(", random weights")


def test_the_folder_holds_the_config_it_is_named_after():
    [prepared] = prepare([Entry("tiny-qwen")], [FP8], lambda _: None)

    text = (prepared.source.folder / "config.json").read_text()

    assert json.loads(text) == config_json(CATALOG["tiny-qwen"], FP8)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_prepare_that_was_interrupted_half_way_is_not_taken_for_done(monkeypatch, step):
    source = resolve(Entry("tiny-llama"), INT8)

    def interrupt(*_):
        raise KeyboardInterrupt

    owner = wire.os if step == "fsync" else Path
    with monkeypatch.context() as broken:
        broken.setattr(owner, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            materialize(source)
    assert source.folder.is_dir()
    assert not is_whole(source)

    assert actions(prepare([Entry("tiny-llama")], [INT8], lambda _: None)) == [Action.MADE]
    assert is_whole(source)


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_a_damaged_folder_is_made_again(damage):
    source = resolve(Entry("tiny-llama"), INT8)
    materialize(source)
    (source.folder / "config.json").write_bytes(damage)

    assert materialize(source)
    assert is_whole(source)


def test_a_folder_of_the_user_is_never_written_to(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text(json.dumps(config_json(CATALOG["tiny-llama"], INT8)))
    before = sorted(mine.iterdir()), (mine / "config.json").stat().st_mtime_ns

    results = prepare([Entry("mine", path=mine)], [INT8], lambda _: None)

    assert actions(results) == [Action.PRESENT]
    assert (sorted(mine.iterdir()), (mine / "config.json").stat().st_mtime_ns) == before


def test_a_hub_model_is_downloaded_once_for_all_quantizations(hub):
    network = hub()

    results = prepare([Entry("mine", hub="org/mine")], [INT8, FP8], lambda _: None)

    assert actions(results) == [Action.DOWNLOADED, Action.MISSING]
    assert "is INT8 W8A8 (compressed-tensors), not FP8 W8A8" in results[1].reason
    assert network.downloads == 1


def test_a_cached_hub_model_needs_no_network(hub):
    network = hub()
    prepare([Entry("mine", hub="org/mine")], [INT8], lambda _: None)

    results = prepare([Entry("mine", hub="org/mine")], [INT8, FP8], lambda _: None)

    assert actions(results) == [Action.PRESENT, Action.MISSING]
    assert network.downloads == 1


def test_a_download_that_stopped_half_way_is_resumed(hub):
    network = hub()
    network.folder.mkdir()
    (network.folder / "config.json").write_text("{}")

    results = prepare([Entry("mine", hub="org/mine")], [INT8], lambda _: None)

    assert actions(results) == [Action.DOWNLOADED]


def test_an_unreachable_hub_is_a_reason_and_the_other_models_are_made(hub):
    hub(error=ConnectionError("name resolution failed\nretrying\n"))
    lines = []

    results = prepare([Entry("mine", hub="org/mine"), Entry("tiny-llama")], [INT8], lines.append)

    assert actions(results) == [Action.MISSING, Action.MADE]
    assert results[0].reason == (
        "model 'mine' (org/mine) cannot be downloaded: ConnectionError: name resolution failed"
    )
    assert lines[0] == "mine: downloading org/mine"
