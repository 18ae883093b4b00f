"""Architectures, their config.json, and where the matrix's models are found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import Entry

from slidesparse_bench.cell import Quantization
from slidesparse_bench.errors import UsageError
from slidesparse_bench.models import BUILTIN_NAMES, CATALOG, SourceKind, resolve
from slidesparse_bench.models.config import (
    architecture_from,
    config_json,
    describe_quantization,
    quantization_config,
)
from slidesparse_bench.units import GIB

INT8, FP8 = Quantization.INT8, Quantization.FP8


pytestmark = pytest.mark.usefixtures("fresh_cache")


def checkpoint(folder, *, config=None, files=("model.safetensors",)):
    """A local model folder; the default is a whole INT8 one of tiny-llama's shape."""
    folder.mkdir()
    config = config if config is not None else config_json(CATALOG["tiny-llama"], INT8)
    (folder / "config.json").write_text(json.dumps(config))
    for name in files:
        (folder / name).write_bytes(b"")
    return folder


# Parameter counts of the published checkpoints (model cards and safetensors metadata).
@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("llama3.2-1b", 1_235_814_400),
        ("llama3.2-3b", 3_212_749_824),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-1.5b", 1_543_714_304),
        ("qwen2.5-3b", 3_085_938_688),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen2.5-14b", 14_770_033_664),
    ],
)
def test_parameter_counts_are_those_of_the_published_checkpoints(name, num_parameters):
    assert CATALOG[name].num_parameters == num_parameters


# GiB and bytes that the public SlideSparse runs found on the GPU.
@pytest.mark.parametrize(
    ("name", "dense_gib", "kv_bytes"),
    [
        ("llama3.2-1b", 1.40, 32_768),
        ("llama3.2-3b", 3.36, 114_688),
        ("qwen2.5-7b", 8.11, 57_344),
        ("qwen2.5-14b", 15.21, 196_608),
    ],
)
def test_weight_and_kv_sizes_agree_with_the_public_runs(name, dense_gib, kv_bytes):
    architecture = CATALOG[name]

    assert architecture.weight_bytes / GIB == pytest.approx(dense_gib, abs=0.01)
    assert architecture.kv_bytes_per_token() == kv_bytes


def test_linear_shapes_are_the_gemms_that_vllm_runs():
    shapes = {linear.name: (linear.n, linear.k) for linear in CATALOG["qwen2.5-7b"].layer_linears}

    assert shapes == {
        "qkv_proj": (4608, 3584),
        "o_proj": (3584, 3584),
        "gate_up_proj": (37888, 3584),
        "down_proj": (3584, 18944),
    }


def test_tensor_parallel_shards_of_a_model_add_up_to_it():
    whole = CATALOG["qwen2.5-14b"]
    shard = whole.shard(4)

    assert shard.linear_parameters * 4 == whole.linear_parameters
    assert shard.kv_bytes_per_token() * 4 == whole.kv_bytes_per_token()


def test_key_value_heads_are_repeated_when_there_are_fewer_than_gpus():
    assert CATALOG["qwen2.5-0.5b"].shard(7).num_key_value_heads == 1


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-qwen"])
def test_tiny_models_have_dimensions_that_cpu_kernels_accept(name):
    dimensions = [d for linear in CATALOG[name].layer_linears for d in (linear.n, linear.k)]

    assert [d for d in dimensions if d % 64] == []


def test_tiny_models_differ_in_bias_head_and_cache():
    llama, qwen = CATALOG["tiny-llama"], CATALOG["tiny-qwen"]

    assert (llama.attention_bias, qwen.attention_bias) == (False, True)
    assert (llama.tie_word_embeddings, qwen.tie_word_embeddings) == (True, False)
    assert llama.kv_bytes_per_token() == 2 * qwen.kv_bytes_per_token()


@pytest.mark.parametrize("quantization", Quantization)
@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_a_written_config_reads_back_as_the_same_architecture(name, quantization):
    config = config_json(CATALOG[name], quantization)

    read = architecture_from(config, name, CATALOG[name].source)

    assert read == replace(CATALOG[name], rope_scaling=None)
    assert describe_quantization(config)[0] is quantization


def test_transformers_reads_the_written_configs(tmp_path):
    transformers = pytest.importorskip("transformers")
    for name in ("llama3.2-1b", "qwen2.5-7b"):
        folder = checkpoint(tmp_path / name, config=config_json(CATALOG[name], FP8), files=())

        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)

        assert config.hidden_size == CATALOG[name].hidden_size
        assert str(config.dtype) == "torch.bfloat16"
        assert config.rope_parameters["rope_theta"] == CATALOG[name].rope_theta
        expected = "llama3" if CATALOG[name].rope_scaling else "default"
        assert config.rope_parameters["rope_type"] == expected


def test_a_config_with_only_the_required_keys_gets_transformers_defaults():
    config = {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    }

    read = architecture_from(config, "my-7b", "./my-7b")

    assert read is not None
    assert (read.num_key_value_heads, read.head_dim) == (32, 128)
    assert (read.attention_bias, read.tie_word_embeddings) == (False, False)


def test_rope_theta_is_found_where_transformers_5_writes_it():
    config = config_json(CATALOG["tiny-qwen"], INT8)
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}

    read = architecture_from(config, "tiny-qwen", "synthetic")

    assert read == CATALOG["tiny-qwen"]


def test_an_architecture_that_is_not_known_is_none():
    assert architecture_from({"model_type": "mamba"}, "m", "m") is None


@pytest.mark.parametrize(
    ("config", "found", "words"),
    [
        ({}, None, "not quantized"),
        ({"quantization_config": {"quant_method": "awq"}}, None, "quantized with awq"),
        ({"quantization_config": {"quant_method": "fp8"}}, FP8, "FP8 W8A8 (fp8)"),
        ({"compression_config": quantization_config(INT8)}, INT8, "INT8 W8A8 (compressed-tensors)"),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
            None,
            "quantized with fp8",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4}}},
                }
            },
            None,
            "compressed-tensors with int4 weights, 16-bit inputs",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {
                        "g": {
                            "weights": {"type": "float", "num_bits": 8, "strategy": "block"},
                            "input_activations": {
                                "type": "float",
                                "num_bits": 8,
                                "strategy": "group",
                            },
                        }
                    },
                }
            },
            None,
            "compressed-tensors with float8 by block weights, float8 by group inputs",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {
                        "g": {
                            "weights": {"type": "float", "num_bits": 8, "group_size": 128},
                            "input_activations": {
                                "type": "float",
                                "num_bits": 8,
                                "strategy": "TOKEN",
                            },
                        }
                    },
                }
            },
            None,
            "compressed-tensors with float8 by group weights, float8 inputs",
        ),
    ],
)
def test_the_quantization_of_a_checkpoint_is_recognized(config, found, words):
    assert describe_quantization(config) == (found, words)


def test_a_builtin_model_is_a_folder_named_by_its_content(tmp_path):
    int8 = resolve(Entry("tiny-llama"), INT8)
    fp8 = resolve(Entry("tiny-llama"), FP8)

    assert int8.folder.parent == tmp_path / "cache" / "models"
    assert int8.folder.name.startswith("tiny-llama-int8-")
    assert int8.folder != fp8.folder
    assert int8.random_weights
    assert int8.missing is None


def test_resolving_writes_nothing(tmp_path):
    resolve(Entry("tiny-llama"), INT8)

    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_built_in_lists_those_that_are():
    with pytest.raises(UsageError, match="model 'gpt5' is not built in; built-in models: llama"):
        resolve(Entry("gpt5"), INT8)


def test_a_path_and_a_hub_id_together_are_refused(tmp_path):
    with pytest.raises(UsageError, match="both a path and a hub id"):
        resolve(Entry("m", path=tmp_path, hub="org/m"), INT8)


def test_a_local_checkpoint_is_used_as_it_is(tmp_path):
    folder = checkpoint(tmp_path / "mine")

    source = resolve(Entry("mine", path=folder), INT8)

    assert (source.kind, source.folder) == (SourceKind.PATH, folder)
    assert (source.random_weights, source.missing, source.generated) == (False, None, None)
    assert source.architecture is not None
    assert source.architecture.hidden_size == 256


def test_int8_cells_of_an_fp8_checkpoint_are_refused_with_both_names(tmp_path):
    config = config_json(CATALOG["tiny-llama"], FP8)
    folder = checkpoint(tmp_path / "mine", config=config)

    missing = resolve(Entry("mine", path=folder), INT8).missing

    assert missing is not None
    assert "is FP8 W8A8 (compressed-tensors), not INT8 W8A8" in missing


def test_an_unquantized_checkpoint_is_refused(tmp_path):
    config = config_json(CATALOG["tiny-llama"], FP8)
    del config["quantization_config"]
    folder = checkpoint(tmp_path / "mine", config=config)

    missing = resolve(Entry("mine", path=folder), INT8).missing

    assert missing is not None
    assert "is not quantized, not INT8 W8A8" in missing


def test_a_quantized_config_without_weights_gets_random_ones(tmp_path):
    folder = checkpoint(tmp_path / "mine", files=())

    source = resolve(Entry("mine", path=folder), INT8)

    assert (source.folder, source.random_weights) == (folder, True)


def test_an_unquantized_config_without_weights_is_quantized_in_a_folder_of_ours(tmp_path):
    config = config_json(CATALOG["tiny-qwen"], INT8)
    del config["quantization_config"]
    folder = checkpoint(tmp_path / "mine", config=config, files=())

    source = resolve(Entry("mine", path=folder), FP8)

    assert source.folder.parent == tmp_path / "cache" / "models"
    assert source.generated is not None
    assert describe_quantization(json.loads(source.generated))[0] is FP8


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["model-00001-of-00003.safetensors"], "lacks 2 of its weight files, first model-00002-of"),
        (["pytorch_model.bin"], "has pytorch_model.bin and no safetensors"),
    ],
)
def test_weights_that_are_not_whole_are_refused(tmp_path, files, words):
    folder = checkpoint(tmp_path / "mine", files=files)

    missing = resolve(Entry("mine", path=folder), INT8).missing

    assert missing is not None
    assert words in missing


def test_a_shard_that_only_the_index_names_is_missed(tmp_path):
    folder = checkpoint(tmp_path / "mine", files=["a.safetensors"])
    weight_map = {"x": "a.safetensors", "y": "b.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    missing = resolve(Entry("mine", path=folder), INT8).missing

    assert missing is not None
    assert "lacks 1 of its weight files, first b.safetensors" in missing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "has no config.json"),
        ("{", "cannot be read"),
        ("[]", "is not a JSON object"),
        ('{"model_type": "llama"}', "num_attention_heads is None, not a positive integer"),
    ],
)
def test_a_folder_without_a_usable_config_is_a_reason_not_an_error(tmp_path, text, words):
    if text is not None:
        (tmp_path / "config.json").write_text(text)

    missing = resolve(Entry("mine", path=tmp_path), INT8).missing

    assert missing is not None
    assert words in missing


def test_a_folder_that_does_not_exist_is_a_reason(tmp_path):
    source = resolve(Entry("mine", path=tmp_path / "no"), INT8)

    assert source.missing == f"model 'mine': {tmp_path / 'no'} is not a folder"


def hub_answering(monkeypatch, answer):
    """Replace huggingface_hub by one whose cache look-up returns or raises `answer`."""

    def snapshot_download(repo, *, local_files_only, **patterns):
        assert local_files_only
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    fake = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)


def test_a_cached_hub_model_is_used_without_the_network(tmp_path, monkeypatch):
    hub_answering(monkeypatch, checkpoint(tmp_path / "snapshot"))

    source = resolve(Entry("mine", hub="org/mine"), INT8)

    assert (source.kind, source.folder) == (SourceKind.HUB, tmp_path / "snapshot")
    assert source.missing is None


def test_a_hub_model_that_is_not_cached_names_the_command_that_fetches_it(monkeypatch):
    hub_answering(monkeypatch, FileNotFoundError("not cached"))
    monkeypatch.setenv("HF_HUB_CACHE", "/hub")

    source = resolve(Entry("mine", hub="org/mine"), INT8)

    assert source.missing == (
        "model 'mine' (org/mine): it is not in the Hub cache, or not all of it; "
        "`slidesparse prepare MATRIX` fetches it"
    )
    assert source.folder == Path("/hub/models--org--mine")


def test_a_hub_snapshot_without_weights_is_never_run_with_random_ones(tmp_path, monkeypatch):
    hub_answering(monkeypatch, checkpoint(tmp_path / "snapshot", files=()))

    source = resolve(Entry("mine", hub="org/mine"), INT8)

    assert source.missing is not None
    assert not source.random_weights


def test_without_huggingface_hub_its_absence_is_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    missing = resolve(Entry("mine", hub="org/mine"), INT8).missing

    assert missing is not None
    assert "huggingface_hub is not installed" in missing
