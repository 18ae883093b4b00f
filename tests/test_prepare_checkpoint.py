"""Pruned checkpoints: the same files with other weights; whole, or not there at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
safetensors_torch = pytest.importorskip("safetensors.torch")

from slidesparse_bench.cell import Quantization, Sparsity  # noqa: E402 - after importorskip
from slidesparse_bench.cli import invoke  # noqa: E402
from slidesparse_bench.cli import prepare as prepare_program  # noqa: E402
from slidesparse_bench.conversion import convert, is_converted  # noqa: E402
from slidesparse_bench.converted import ConversionRequest, read_record  # noqa: E402
from slidesparse_bench.errors import NothingToRun, UsageError  # noqa: E402
from slidesparse_bench.models import CATALOG  # noqa: E402
from slidesparse_bench.models.checkpoint import conversion_request, find_source  # noqa: E402
from slidesparse_bench.models.config import config_json  # noqa: E402
from slidesparse_bench.vllm_plugin.sparsity import prune, satisfies  # noqa: E402
from slidesparse_bench.worker import convert as program  # noqa: E402
from slidesparse_bench.worker.partial_folder import MARKER, appearing_at, partial_of  # noqa: E402
from slidesparse_bench.worker.safetensors_file import read_layout  # noqa: E402

pytestmark = pytest.mark.usefixtures("fresh_cache")

FP8 = torch.float8_e4m3fn
LAYER = "model.layers.0"
QKV, O_PROJ, DOWN = (
    f"{LAYER}.self_attn.q_proj",
    f"{LAYER}.self_attn.o_proj",
    f"{LAYER}.mlp.down_proj",
)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def random_weight(n, k, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn((n, k), generator=generator).mul(40)
    return values.clamp(-127, 127).round().to(dtype)


def linear(name, n, k, dtype, *, seed=0, scale=None):
    scale = torch.full((n, 1), 0.01) if scale is None else scale
    return {f"{name}.weight": random_weight(n, k, dtype, seed), f"{name}.weight_scale": scale}


def tensors_of_a_model(dtype=torch.int8, k=48):
    return {
        "lm_head.weight": torch.ones((4, 16), dtype=torch.bfloat16),
        **linear(QKV, 12, k, dtype, seed=1),
        f"{QKV}.bias": torch.arange(12).to(torch.bfloat16),
        **linear(O_PROJ, 8, k, dtype, seed=2),
        **linear(DOWN, 8, 2 * k, dtype, seed=3),
    }


def build_checkpoint(
    folder, tensors=None, *, quantization=Quantization.INT8, config=None, shards=()
):
    """A folder as llm-compressor writes it; with `shards`, tensors go to them in turn."""
    folder.mkdir(parents=True)
    tensors = tensors_of_a_model() if tensors is None else tensors
    config = config_json(CATALOG["tiny-llama"], quantization) | (config or {})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text('{"made": "up"}')
    files = {name: {} for name in shards or ["model.safetensors"]}
    weight_map = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        file = list(files)[number % len(files)]
        files[file][name], weight_map[name] = tensor, file
    for file, content in files.items():
        safetensors_torch.save_file(content, folder / file, metadata={"format": "pt"})
    if shards:
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def request_for(folder, out, sparsity="2:8", *, force=False) -> ConversionRequest:
    source = find_source(str(folder), print)
    return conversion_request(source, str(folder), Sparsity.parse(sparsity), out, replace=force)


def converted(folder, out, sparsity="2:8", **options):
    return program.convert(request_for(folder, out, sparsity, **options))


def read_tensors(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= safetensors_torch.load_file(file)
    return found


def as_bytes(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


# What is written


@pytest.mark.parametrize("sparsity", ["2:4", "2:6", "2:8", "2:16"])
@pytest.mark.parametrize("quantization", Quantization)
def test_quantized_weights_are_pruned_as_while_loading_and_all_else_is_copied(
    tmp_path, quantization, sparsity
):
    dtype = torch.int8 if quantization is Quantization.INT8 else FP8
    tensors = tensors_of_a_model(dtype)
    source = build_checkpoint(tmp_path / "m", tensors, quantization=quantization, shards=SHARDS)

    converted(source, tmp_path / "out", sparsity)

    pruned = {f"{name}.weight" for name in (QKV, O_PROJ, DOWN)}
    result = read_tensors(tmp_path / "out")
    assert set(result) == set(tensors)
    for name, tensor in tensors.items():
        expected = prune(tensor, Sparsity.parse(sparsity)) if name in pruned else tensor
        assert result[name].dtype == tensor.dtype
        assert as_bytes(result[name]) == as_bytes(expected), name
        if name in pruned:
            again = prune(result[name], Sparsity.parse(sparsity))
            assert as_bytes(again) == as_bytes(result[name]), "loading would change it"


def test_files_keep_names_and_headers_and_the_rest_every_byte(tmp_path):
    source = build_checkpoint(tmp_path / "m", shards=SHARDS)

    converted(source, tmp_path / "out")

    out = tmp_path / "out"
    names = {path.name for path in source.iterdir()}
    assert {path.name for path in out.iterdir()} == names | {"slidesparse.json"}
    for name in names - set(SHARDS):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    for name in SHARDS:
        header = read_layout(source / name).header_bytes
        assert (out / name).read_bytes()[:header] == (source / name).read_bytes()[:header]
        with safetensors.safe_open(out / name, "pt") as file:
            assert file.metadata() == {"format": "pt"}


def test_the_record_says_what_was_done(tmp_path):
    source = build_checkpoint(tmp_path / "m")

    record = converted(source, tmp_path / "out", "2:8")

    assert read_record(tmp_path / "out") == record
    assert (record.source, record.sparsity) == ("m", Sparsity(8))
    assert [weight.name for weight in record.weights] == sorted(
        f"{name}.weight" for name in (QKV, O_PROJ, DOWN)
    )
    for name, file in record.files.items():
        content = (source / name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert set(record.files) == {"config.json", "tokenizer.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("inside", "named"),
    [("", "{home}/m"), ("", "m"), ("", "./m/"), ("m", "."), ("m/original", "..")],
)
def test_a_record_names_the_source_and_no_place_of_this_machine(
    tmp_path, monkeypatch, inside, named
):
    home = tmp_path / "ada"
    build_checkpoint(home / "m")
    (home / "m" / "original").mkdir()
    monkeypatch.chdir(home / inside)

    model = named.format(home=home)
    source = find_source(model, print)
    program.convert(conversion_request(source, model, Sparsity(8), home / "out", replace=False))

    assert read_record(home / "out").source == "m"
    assert str(tmp_path) not in (home / "out" / "slidesparse.json").read_text()


def test_zeros_and_lost_norm_are_those_of_the_weights_times_their_scales(tmp_path):
    # The lesser two of each row go: 1 and 2, 0 and 1. The second row counts thrice.
    weight = torch.tensor([[1, 2, 3, 4], [4, 4, 0, 1]], dtype=torch.int8)
    scale = torch.tensor([[1.0], [3.0]], dtype=torch.bfloat16)
    tensors = {f"{QKV}.weight": weight, f"{QKV}.weight_scale": scale}

    record = converted(build_checkpoint(tmp_path / "m", tensors), tmp_path / "out", "2:4")

    [found] = record.weights
    assert (found.n, found.k, found.zeros_before, found.zeros) == (2, 4, 1 / 8, 4 / 8)
    assert found.norm == pytest.approx(math.sqrt(1 + 4 + 9 + 16 + 9 * (16 + 16 + 1)))
    assert found.norm_lost * found.norm == pytest.approx(math.sqrt(1 + 4 + 9 * 1))
    assert (record.zeros, record.norm_lost) == (0.5, pytest.approx(found.norm_lost))


def test_scales_in_another_file_than_their_weight_are_found(tmp_path):
    tensors = linear(QKV, 4, 16, torch.int8, scale=torch.full((4, 1), 100.0))
    source = build_checkpoint(tmp_path / "m", tensors, shards=SHARDS)

    [found] = converted(source, tmp_path / "out").weights

    values = tensors[f"{QKV}.weight"].double()
    assert found.norm == pytest.approx(100 * float(values.norm()))


@pytest.mark.parametrize(
    "shape", [(), (1,), (1, 1), (8,), (8, 1)], ids=lambda shape: "x".join(map(str, shape)) or "-"
)
def test_scales_are_one_per_tensor_or_one_per_row(tmp_path, shape):
    tensors = linear(QKV, 8, 16, torch.int8, scale=torch.full(shape, 4.0))

    record = converted(build_checkpoint(tmp_path / "m", tensors), tmp_path / "out")

    norm = 4 * float(tensors[f"{QKV}.weight"].double().norm())
    assert record.weights[0].norm == pytest.approx(norm)
    assert record.warnings == []


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (torch.full((2, 4), 0.5), "F32 [2, 4]"),  # as many blocks as rows
        (torch.full((8, 2), 0.5), "F32 [8, 2]"),
        (torch.full((1, 8), 0.5), "F32 [1, 8]"),
        (torch.full((3,), 0.5), "F32 [3]"),
        (torch.full((8, 1), 2, dtype=torch.uint8), "U8 [8, 1]"),
    ],
    ids=["blocks", "groups", "columns", "three", "another type"],
)
def test_scales_that_cannot_be_read_leave_the_norm_unknown_and_say_so(tmp_path, scale, words):
    tensors = {
        **linear(QKV, 8, 16, torch.int8, scale=scale),
        **linear(O_PROJ, 8, 16, torch.int8),
    }
    source, out = build_checkpoint(tmp_path / "m", tensors), tmp_path / "out"

    record = converted(source, out)

    known, unknown = sorted(record.weights, key=lambda weight: weight.norm is None)
    assert (unknown.name, unknown.norm, unknown.norm_lost) == (f"{QKV}.weight", None, None)
    assert unknown.zeros >= 0.25
    assert record.norm_lost == pytest.approx(known.norm_lost)
    assert read_record(out) == record
    [warning] = record.warnings
    assert warning == (
        f"1 of 2 weights have scales that are not one float per tensor or row, first "
        f"{QKV}.weight_scale ({words} for a weight [8, 16]): what pruning took from their norm is not known"
    )


def test_a_norm_that_is_known_of_no_weight_is_told_as_unknown(tmp_path, capsys):
    tensors = linear(QKV, 8, 16, torch.int8, scale=torch.ones(2, 4))
    source, out = build_checkpoint(tmp_path / "m", tensors), tmp_path / "out"

    assert prepare_command("--model", source, "--sparsity", "2:8", "--out", out) == 0

    told = " ".join(capsys.readouterr().out.split())
    assert "what pruning took from their norm is not known." in told
    assert "zeros, norm lost unknown" in told
    assert read_record(out).norm_lost is None


def test_no_more_than_one_weight_exists_at_a_time(tmp_path, monkeypatch):
    seen = []

    def watched(weight, sparsity):
        assert [ref() for ref in seen] == [None] * len(seen), "an earlier weight is still there"
        pruned = prune(weight, sparsity)
        seen.extend([weakref.ref(weight), weakref.ref(pruned)])
        return pruned

    monkeypatch.setattr(program, "prune", watched)
    converted(build_checkpoint(tmp_path / "m"), tmp_path / "out")
    assert len(seen) == 6


def test_a_hub_snapshot_is_read_through_its_links(tmp_path):
    repository = tmp_path / "models--org--m"
    snapshot = build_checkpoint(repository / "snapshots" / "0123")
    (repository / "blobs").mkdir()
    for path in list(snapshot.iterdir()):
        shutil.move(path, repository / "blobs" / path.name)
        path.symlink_to(Path("../../blobs") / path.name)

    converted(snapshot, tmp_path / "out")

    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert satisfies(read_tensors(tmp_path / "out")[f"{QKV}.weight"], Sparsity(8))


def test_second_copies_of_the_weights_and_folders_stay_behind(tmp_path):
    source = build_checkpoint(tmp_path / "m")
    for name in ("consolidated.safetensors", "model.gguf", ".gitattributes"):
        (source / name).write_bytes(b"x")
    (source / "original").mkdir()

    record = converted(source, tmp_path / "out", "2:4")

    left_out = [".gitattributes", "consolidated.safetensors", "model.gguf", "original/"]
    assert sorted(record.left_out) == left_out
    assert not any((tmp_path / "out" / name).exists() for name in left_out)
    assert f"not copied: {', '.join(record.left_out)}" in record.warnings


def test_experts_and_weights_without_scales_stay_as_they_are(tmp_path):
    expert = f"{LAYER}.mlp.experts.0.up_proj"
    tensors = {
        **linear(QKV, 4, 16, torch.int8),
        **linear(expert, 4, 16, torch.int8),
        "bare.weight": random_weight(4, 16, torch.int8),
    }
    source = build_checkpoint(tmp_path / "m", tensors)

    record = converted(source, tmp_path / "out")

    result = read_tensors(tmp_path / "out")
    assert sorted(record.not_pruned) == sorted([f"{expert}.weight", "bare.weight"])
    assert all(torch.equal(result[name], tensors[name]) for name in record.not_pruned)


# Merged layers and tensor parallelism


@pytest.mark.parametrize("sparsity", Sparsity.GROUPS)
def test_layers_may_be_merged_before_or_after_pruning(sparsity):
    gate, up = (random_weight(n, 50, torch.int8, seed=n) for n in (5, 7))
    merged = prune(torch.cat([gate, up]), Sparsity(sparsity))
    assert torch.equal(
        merged, torch.cat([prune(gate, Sparsity(sparsity)), prune(up, Sparsity(sparsity))])
    )


@given(
    groups=st.integers(1, 6),
    size=st.sampled_from([2, 4]),
    sparsity=st.sampled_from(Sparsity.GROUPS),
)
def test_parts_that_hold_whole_groups_are_pruned_as_the_whole_row(groups, size, sparsity):
    weight = random_weight(3, groups * size * sparsity, torch.int8)
    parts = [prune(part, Sparsity(sparsity)) for part in weight.chunk(size, dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), prune(weight, Sparsity(sparsity)))


def test_parts_that_split_a_group_are_not():
    weight = random_weight(8, 24, torch.int8)
    parts = [prune(part, Sparsity(8)) for part in weight.chunk(2, dim=1)]
    assert not torch.equal(torch.cat(parts, dim=1), prune(weight, Sparsity(8)))


def test_fp8_scales_per_tensor_are_warned_of_as_vllm_rounds_merged_layers_anew(tmp_path):
    tensors = linear(QKV, 4, 64, FP8, scale=torch.tensor([0.01]))
    source = build_checkpoint(tmp_path / "m", tensors, quantization=Quantization.FP8)
    [warning] = converted(source, tmp_path / "out").warnings
    assert "one scale per tensor" in warning


# Whole, or not at all


def test_a_kill_leaves_a_marked_partial_folder_that_the_next_call_replaces(tmp_path):
    source, out = build_checkpoint(tmp_path / "m", shards=SHARDS), tmp_path / "out"
    request = tmp_path / "request.json"
    program.write_json(request, request_for(source, out))
    killed_at_the_second_weight = (
        "import os, sys\n"
        "from slidesparse_bench.worker import convert as program\n"
        "prune, calls = program.prune, []\n"
        "def last(weight, sparsity):\n"
        "    calls.append(1)\n"
        "    return prune(weight, sparsity) if len(calls) < 2 else os.kill(os.getpid(), 9)\n"
        "program.prune = last\n"
        "program.main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", killed_at_the_second_weight, str(request)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()
    assert (partial_of(out) / MARKER).is_file()

    converted(source, out)

    assert not partial_of(out).exists()
    assert not (out / MARKER).exists()
    assert satisfies(read_tensors(out)[f"{DOWN}.weight"], Sparsity(8))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_error_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(program, "prune", fail)
    with pytest.raises(error):
        converted(build_checkpoint(tmp_path / "m"), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_two_processes_do_not_write_the_same_folder(tmp_path):
    out = tmp_path / "out"
    with appearing_at(out, replace=False) as partial:
        with pytest.raises(NothingToRun, match="being written by another process"):
            converted(build_checkpoint(tmp_path / "m"), out)
        (partial / "slidesparse.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["slidesparse.json"]


def test_a_partial_folder_of_somebody_else_is_left_alone(tmp_path):
    out = tmp_path / "out"
    partial_of(out).mkdir()
    (partial_of(out) / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="in the way"):
        converted(build_checkpoint(tmp_path / "m"), out)
    assert (partial_of(out) / "thesis.tex").exists()


def test_force_replaces_a_converted_checkpoint(tmp_path):
    source, out = build_checkpoint(tmp_path / "m"), tmp_path / "out"
    converted(source, out, "2:4")
    with pytest.raises(UsageError, match="--force replaces it"):
        converted(source, out, "2:8")
    assert converted(source, out, "2:8", force=True).sparsity == Sparsity(8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "out"]


def test_force_replaces_nothing_else(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"has no slidesparse\.json"):
        converted(build_checkpoint(tmp_path / "m"), out, force=True)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_kill_while_the_old_folder_makes_way_brings_it_back(tmp_path):
    source, out = build_checkpoint(tmp_path / "m"), tmp_path / "out"
    converted(source, out, "2:4")
    out.rename(tmp_path / ".out.slidesparse-replaced")
    with pytest.raises(UsageError, match="--force replaces it"):
        converted(source, out, "2:8")
    assert read_record(out).sparsity == Sparsity(4)


# Refusals of the program


def damaged(content, how):
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if how == "cut short":
        return content[:-1]
    if how == "too long":
        return content + b"\0"
    if how == "no safetensors":
        return b"\xff" * 64
    if how == "empty":
        return b""
    name = next(key for key in header if key != "__metadata__" and "weight" in key)
    if how == "wrong shape":
        header[name]["shape"][0] += 1
    elif how == "overlap":
        header[name]["data_offsets"][0] += 1
    elif how == "negative":
        header[name]["shape"] = [-n for n in header[name]["shape"]]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


@pytest.mark.parametrize(
    "how",
    ["cut short", "too long", "no safetensors", "empty", "wrong shape", "overlap", "negative"],
)
def test_a_damaged_file_is_named_before_anything_is_written(tmp_path, how):
    source = build_checkpoint(tmp_path / "m")
    file = source / "model.safetensors"
    file.write_bytes(damaged(file.read_bytes(), how))
    with pytest.raises(UsageError, match=r"model\.safetensors is not a whole safetensors file"):
        converted(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def with_index(folder, change):
    """The checkpoint with another `weight_map`: what `change` makes of the one it has."""
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"weight_map": change(content["weight_map"])}))
    return folder


def test_an_index_that_names_a_tensor_no_file_has_is_refused(capsys, tmp_path):
    folder = with_index(
        build_checkpoint(tmp_path / "m", shards=SHARDS),
        lambda names: names | {"model.layers.7.ghost.weight": SHARDS[1]},
    )
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    assert (
        f"{folder}: its index puts model.layers.7.ghost.weight into {SHARDS[1]}, which lacks it "
        "(no file has it); fetch the index and all files that it names again"
    ) in " ".join(told.split())
    assert not (tmp_path / "o").exists()


def test_names_that_are_no_text_are_refused(capsys, tmp_path):
    folder = build_checkpoint(tmp_path / "m", shards=SHARDS)
    arguments = ("--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    (folder / os.fsdecode(b".caf\xe9")).touch()
    assert r"the name '.caf\udce9' is not UTF-8" in " ".join(refusal(capsys, *arguments).split())
    (folder / os.fsdecode(b".caf\xe9")).unlink()
    with_index(folder, lambda names: names | {"\ud800": SHARDS[0]})
    assert r"the name '\ud800' is not UTF-8" in " ".join(refusal(capsys, *arguments).split())


def test_an_index_that_puts_tensors_into_the_wrong_shard_is_refused(tmp_path):
    folder = build_checkpoint(tmp_path / "m", shards=SHARDS)
    first, *others = sorted(safetensors_torch.load_file(folder / SHARDS[1]))
    with_index(folder, lambda names: dict.fromkeys(sorted(names), SHARDS[0]) | {"a": SHARDS[1]})
    words = (
        rf"puts {first} into {SHARDS[0]}, which lacks it \({SHARDS[1]} has it\), and likewise "
        f"{len(others) + 1} more; "
    )
    with pytest.raises(UsageError, match=words):
        converted(folder, tmp_path / "out")


@pytest.mark.parametrize("rows", [12, 4])
@pytest.mark.parametrize("shards", [SHARDS, ("a.safetensors", "b.safetensors")])
def test_a_tensor_in_two_files_is_refused(tmp_path, shards, rows):
    folder = build_checkpoint(tmp_path / "m", shards=shards)
    if shards is not SHARDS:
        (folder / "model.safetensors.index.json").unlink()
    for file in shards:
        content = safetensors_torch.load_file(folder / file)
        content[f"{QKV}.weight"] = random_weight(12 if file == shards[0] else rows, 48, torch.int8)
        safetensors_torch.save_file(content, folder / file)
    words = rf"{QKV}\.weight lies in {shards[0]} and in {shards[1]}, and which one "
    with pytest.raises(UsageError, match=words):
        converted(folder, tmp_path / "out")


def test_tensors_that_the_index_forgets_are_converted_as_they_are_loaded(tmp_path):
    folder = build_checkpoint(tmp_path / "m", shards=SHARDS)
    with_index(folder, lambda names: {key: file for key, file in names.items() if "q_p" not in key})
    converted(folder, tmp_path / "out")
    assert satisfies(read_tensors(tmp_path / "out")[f"{QKV}.weight"], Sparsity(8))


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path):
    source = build_checkpoint(tmp_path / "m", {"a.weight": torch.ones(2, 2)})
    with pytest.raises(UsageError, match="no int8 or FP8 weights that have a weight_scale"):
        converted(source, tmp_path / "out")


def test_zero_points_are_refused(tmp_path):
    zero_points = {f"{QKV}.weight_zero_point": torch.zeros((4, 1), dtype=torch.int8)}
    source = build_checkpoint(tmp_path / "m", linear(QKV, 4, 16, torch.int8) | zero_points)
    with pytest.raises(UsageError, match="has zero points"):
        converted(source, tmp_path / "out")


@pytest.mark.parametrize(("there", "wanted"), [("2:4", "2:8"), ("2:8", "2:4")])
def test_weights_pruned_otherwise_are_recognized_without_a_word_in_the_config(
    tmp_path, there, wanted
):
    tensors = tensors_of_a_model()
    tensors = {
        name: prune(tensor, Sparsity.parse(there)) if tensor.dtype == torch.int8 else tensor
        for name, tensor in tensors.items()
    }
    source = build_checkpoint(tmp_path / "m", tensors)
    with pytest.raises(UsageError, match=f"already pruned to {there}"):
        converted(source, tmp_path / "out", wanted)
    assert converted(source, tmp_path / "out", there).norm_lost == 0


def test_a_weight_of_zeros_counts_as_pruned_to_nothing(tmp_path):
    tensors = linear(QKV, 4, 16, torch.int8)
    tensors[f"{QKV}.weight"].zero_()
    [found] = converted(build_checkpoint(tmp_path / "m", tensors), tmp_path / "out").weights
    assert (found.zeros_before, found.zeros, found.norm_lost) == (1, 1, 0)


def test_values_that_are_not_finite_are_refused(tmp_path):
    tensors = linear(QKV, 4, 16, FP8)
    tensors[f"{QKV}.weight"].view(torch.uint8)[1, 1] = 0x7F
    source = build_checkpoint(tmp_path / "m", tensors, quantization=Quantization.FP8)
    with pytest.raises(UsageError, match="not finite"):
        converted(source, tmp_path / "out")


# The command


def prepare_command(*arguments):
    return invoke(["prepare", *map(str, arguments)])


def refusal(capsys, *arguments, code=2):
    assert prepare_command(*arguments) == code
    return capsys.readouterr().err


def test_the_command_converts_and_says_so(tmp_path, capsys):
    source, out = build_checkpoint(tmp_path / "m"), tmp_path / "out"

    assert prepare_command("--model", source, "--sparsity", "2:8", "--out", out, "--json") == 0

    told = capsys.readouterr()
    [conversion] = json.loads(told.out)["conversions"]
    assert (conversion["sparsity"], conversion["action"]) == ("2:8", "made")
    assert conversion["folder"] == str(out)
    assert "model.safetensors: file 1 of 1" in told.err
    assert satisfies(read_tensors(out)[f"{QKV}.weight"], Sparsity(8))
    # The second time it is there; with another source it is not.
    assert prepare_command("--model", source, "--sparsity", "2:8", "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["conversions"][0]["action"] == "present"
    os.utime(source / "config.json", (1, 1))
    assert "--force replaces it" in refusal(
        capsys, "--model", source, "--sparsity", "2:8", "--out", out
    )


@pytest.mark.parametrize(
    ("name", "lose", "words"),
    [
        ("model.safetensors", Path.unlink, "model.safetensors is gone"),
        ("tokenizer.json", Path.unlink, "tokenizer.json is gone"),
        ("model.safetensors", lambda path: os.truncate(path, 7), "model.safetensors has 7 of "),
    ],
    ids=["weights gone", "tokenizer gone", "weights cut short"],
)
def test_a_converted_checkpoint_that_lost_a_file_is_converted_again(
    tmp_path, capsys, name, lose, words
):
    source, out = build_checkpoint(tmp_path / "m"), tmp_path / "out"
    converted(source, out)
    whole = (out / name).read_bytes()
    lose(out / name)
    capsys.readouterr()

    assert prepare_command("--model", source, "--sparsity", "2:8", "--out", out, "--json") == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["conversions"][0]["action"] == "made"
    assert words in told.err.replace("\n", " ")
    assert (out / name).read_bytes() == whole


def test_a_record_of_another_quantization_is_another_checkpoint(tmp_path, capsys):
    source, out = build_checkpoint(tmp_path / "m"), tmp_path / "out"
    converted(source, out)
    assert is_converted(request_for(source, out))
    record = json.loads((out / "slidesparse.json").read_text())
    (out / "slidesparse.json").write_text(json.dumps(record | {"quantization": "fp8"}))
    assert not is_converted(request_for(source, out))
    told = refusal(capsys, "--model", source, "--sparsity", "2:8", "--out", out)
    assert "--force replaces it" in told


def test_an_interruption_prints_what_is_done_and_says_so(tmp_path, capsys, monkeypatch):
    build_checkpoint(tmp_path / "mine")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "name: m\nmodels: [{name: mine, path: ./mine}]\nquantization: [int8]\n"
        "backends: [cusparselt: {sparsity: [2:4, 2:6, 2:8]}]\nstages: {prefill: {M: [512]}}\n"
    )

    def interrupted_at_2_6(request, on_line, stop):
        if request.sparsity == Sparsity(6):
            os.kill(os.getpid(), signal.SIGINT)
            return None
        return convert(request, on_line, stop)

    monkeypatch.setattr(prepare_program, "convert", interrupted_at_2_6)
    assert prepare_command(matrix, "--out", tmp_path / "pruned", "--json") == 130
    document = json.loads(capsys.readouterr().out)
    assert document["interrupted"] is True
    done = [(each["sparsity"], each["action"], each["reason"]) for each in document["conversions"]]
    assert done == [("2:4", "made", ""), ("2:6", "missing", "interrupted")]
    one = ("--model", tmp_path / "mine", "--sparsity", "2:6", "--out", tmp_path / "o", "--json")
    assert prepare_command(*one) == 130
    document = json.loads(capsys.readouterr().out)
    assert (document["interrupted"], len(document["conversions"])) == (True, 1)


@pytest.mark.parametrize("inside", ["x", "x/y"])
def test_a_folder_that_cannot_be_made_is_wrong_usage(capsys, tmp_path, inside):
    folder = build_checkpoint(tmp_path / "m")
    (tmp_path / "file").touch()
    out = tmp_path / "file" / inside
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", out)
    assert f"--out {out}: Not a directory; name a folder that can be made" in told


def test_a_matrix_has_its_checkpoints_converted_and_random_weights_left(tmp_path, capsys):
    build_checkpoint(tmp_path / "mine")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "name: m\nmodels: [{name: mine, path: ./mine}, tiny-llama]\nquantization: [int8]\n"
        "backends: [native, cusparselt: {sparsity: [2:4, 2:8]}]\nstages: {prefill: {M: [512]}}\n"
        'exclude: ["*2_4*"]\n'
    )

    assert prepare_command(matrix, "--out", tmp_path / "pruned", "--json") == 0

    told = capsys.readouterr()
    assert [path.name for path in (tmp_path / "pruned").iterdir()] == ["mine-int8-2_8"]
    assert [each["sparsity"] for each in json.loads(told.out)["conversions"]] == ["2:8"]
    assert "tiny-llama int8: random weights, pruned while loading" in told.err


def test_one_model_that_cannot_be_converted_does_not_stop_a_matrix(tmp_path, capsys):
    source = build_checkpoint(tmp_path / "mine")
    (source / "slidesparse.json").symlink_to(tmp_path / "private")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        "name: m\nmodels: [{name: mine, path: ./mine}]\nquantization: [int8]\n"
        "backends: [cusparselt: {sparsity: [2:4, 2:8]}]\nstages: {prefill: {M: [512]}}\n"
    )

    assert prepare_command(matrix, "--out", tmp_path / "pruned", "--json") == 1

    conversions = json.loads(capsys.readouterr().out)["conversions"]
    assert [each["action"] for each in conversions] == ["missing", "missing"]
    assert all("is a link to" in each["reason"] for each in conversions)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["matrix.yaml", "--model", "m"],
        ["matrix.yaml", "--sparsity", "2:8"],
        ["--model", "m", "--sparsity", "2:8"],
        ["--model", "m", "--out", "o"],
    ],
    ids=" ".join,
)
def test_half_a_request_is_wrong_usage(capsys, arguments):
    assert "either a MATRIX.yaml" in refusal(capsys, *arguments)


@pytest.mark.parametrize("sparsity", ["6:8", "2:5", "half"])
def test_an_unknown_sparsity_names_the_known_ones(capsys, tmp_path, sparsity):
    told = refusal(capsys, "--model", tmp_path, "--sparsity", sparsity, "--out", tmp_path / "o")
    assert f"sparsity '{sparsity}' is not one of 2:4, 2:6, 2:8" in told


def test_a_model_that_is_nowhere_is_wrong_usage(capsys, tmp_path):
    told = refusal(capsys, "--model", "nowhere", "--sparsity", "2:8", "--out", tmp_path / "o")
    assert "neither a folder nor a Hub id" in told


def fake_hub(monkeypatch, folder, error=None):
    """huggingface_hub with nothing in its cache, and a network that has `folder` or fails."""

    def snapshot_download(repo, *, local_files_only=False, **patterns):
        there.append(not local_files_only)
        if error and not local_files_only:
            raise error
        if not any(there):
            raise FileNotFoundError(repo)
        return str(folder)

    there = []
    fake = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)


def test_a_hub_model_is_downloaded_and_then_converted(tmp_path, monkeypatch):
    folder = build_checkpoint(tmp_path / "m")
    fake_hub(monkeypatch, folder)
    source = find_source("org/m", print)
    assert (source.folder, source.quantization) == (folder, Quantization.INT8)
    request = conversion_request(source, "org/m", Sparsity(8), tmp_path / "o", replace=False)
    assert request.source == "org/m"


def test_a_hub_model_that_cannot_be_had_is_a_reason(capsys, tmp_path, monkeypatch):
    fake_hub(monkeypatch, tmp_path, error=ConnectionError("no route"))
    told = refusal(capsys, "--model", "org/m", "--sparsity", "2:8", "--out", tmp_path / "o")
    assert "(org/m) cannot be downloaded: ConnectionError: no route" in told


def test_models_without_weight_files_are_pruned_while_loading(capsys, tmp_path):
    folder = build_checkpoint(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    for model in ("tiny-llama", folder):
        told = refusal(capsys, "--model", model, "--sparsity", "2:8", "--out", tmp_path / "o")
        assert f"{model} has no weight files: its weights are random" in told


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quantization_config": None}, "is not quantized"),
        ({"quantization_config": {"quant_method": "awq"}}, "is quantized with awq"),
    ],
)
def test_a_checkpoint_that_is_not_w8a8_is_refused_with_what_it_is(capsys, tmp_path, config, words):
    folder = build_checkpoint(tmp_path / "m", config=config)
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    assert f"{folder} {words}; only W8A8 checkpoints" in told


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"format": "sparse-24-bitmask", "sparsity_structure": "2:4"}, "as sparse-24-bitmask"),
        ({"format": "dense", "sparsity_structure": "2:4"}, "already pruned to 2:4"),
    ],
)
def test_a_checkpoint_that_says_it_is_sparse_is_refused(capsys, tmp_path, declared, words):
    quantization = config_json(CATALOG["tiny-llama"], Quantization.INT8)["quantization_config"]
    config = {"quantization_config": quantization | {"sparsity_config": declared}}
    folder = build_checkpoint(tmp_path / "m", config=config)
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    assert words in told


def test_a_converted_checkpoint_is_not_converted_again(capsys, tmp_path):
    converted(build_checkpoint(tmp_path / "m"), tmp_path / "c", "2:4")
    instead = "convert the checkpoint that it was made of, m"
    for sparsity, advice in (("2:4", "use it as it is"), ("2:8", instead)):
        arguments = ("--model", tmp_path / "c", "--sparsity", sparsity, "--out", tmp_path / "o")
        assert f"already pruned to 2:4 (slidesparse.json); {advice}" in refusal(capsys, *arguments)


@pytest.mark.parametrize("out", ["m", "m/inside", "."])
def test_the_source_is_never_written_to(capsys, tmp_path, out):
    folder = build_checkpoint(tmp_path / "m")
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / out)
    assert "choose a folder apart from it" in told


def test_a_link_that_leads_out_of_the_model_is_refused(capsys, tmp_path):
    folder = build_checkpoint(tmp_path / "m")
    (tmp_path / "private").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "private")
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    assert f"is a link to {tmp_path / 'private'}" in told
    assert not (tmp_path / "o").exists()


def test_an_index_that_names_files_elsewhere_is_refused(capsys, tmp_path):
    folder = build_checkpoint(tmp_path / "m", shards=SHARDS)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    told = refusal(capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    assert "lacks 1 of its weight files, first ../other.safetensors" in told


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(capsys, tmp_path, monkeypatch):
    folder = build_checkpoint(tmp_path / "m")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    told = refusal(
        capsys, "--model", folder, "--sparsity", "2:8", "--out", tmp_path / "a" / "o", code=3
    )
    assert f"takes 16.0 MiB, {tmp_path} has 1.0 MiB free" in told
    assert not (tmp_path / "a").exists()


def test_a_program_that_dies_is_a_failure_with_its_log(capsys, tmp_path, monkeypatch):
    folder = build_checkpoint(tmp_path / "m")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    arguments = ("--model", folder, "--sparsity", "2:8", "--out", tmp_path / "o")
    told = refusal(capsys, *arguments, code=1)
    assert "could not be converted (exit code 1); see " in told
    assert Path(told.rsplit("see ", 1)[1].strip()).is_file()


def test_a_refusal_of_the_program_is_the_commands_own(tmp_path):
    request = request_for(build_checkpoint(tmp_path / "m"), tmp_path / "out")
    (tmp_path / "r").mkdir()
    path = tmp_path / "r" / "request.json"
    program.write_json(path, replace(request, weight_files=["gone.safetensors"]))
    assert program.main([str(path)]) == 3
    end = json.loads((tmp_path / "r" / "result.json").read_text())
    assert (end["exit_code"], end["message"]) == (
        3,
        f"{tmp_path / 'm' / 'gone.safetensors'}: No such file or directory",
    )
