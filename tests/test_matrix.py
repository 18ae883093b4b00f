"""Matrices that are right: what they expand to, and what holds for each cell."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slidesparse_bench.backends import BACKENDS
from slidesparse_bench.cell import DEFAULT_M, Cell, Quantization, Sparsity, Stage
from slidesparse_bench.errors import MatrixError
from slidesparse_bench.matrix import (
    Matrix,
    load_matrix,
    load_matrix_text,
    matrix_json_schema,
    nearest_id,
    refusal,
    resolve,
    select,
)
from slidesparse_bench.matrix.scalars import typed_data
from slidesparse_bench.models import BUILTIN_NAMES
from slidesparse_bench.settings import Measurement, RetrySettings, Timeouts
from slidesparse_bench.yaml_source import read

SHIPPED = Path(__file__).parent.parent / "matrices"
SMALL = """\
name: small
models: [tiny-llama]
stages: {prefill: {M: [128, 512]}, decode: {M: [4]}}
"""


def load(text: str) -> Matrix:
    return load_matrix_text(text, Path("folder/small.yaml"))


def ids(matrix: Matrix) -> list[str]:
    return [cell.id for cell in matrix.cells()]


def typed(text: str) -> dict[str, Any]:
    """The data as an editor that follows YAML 1.2 sees it."""
    return typed_data(read(text, "m.yaml"), [])


class TestDefaults:
    def test_three_keys_are_enough(self) -> None:
        matrix = load("name: x\nmodels: [tiny-llama]\nstages: {prefill: , decode: {}}\n")
        assert len(matrix.cells()) == 2 * (len(DEFAULT_M["prefill"]) + len(DEFAULT_M["decode"]))
        assert matrix.quantization == (Quantization.INT8, Quantization.FP8)
        assert [backend.name for backend in matrix.backends] == ["native"]

    def test_everything_else_has_the_documented_default(self) -> None:
        matrix = load(SMALL)
        assert (matrix.engine, matrix.isolation, matrix.infeasible) == ("vllm", "engine", "skip")
        assert (matrix.trials, matrix.seed, matrix.cpu_memory_gib) == (1, 0, 4.0)
        assert (matrix.engine_args, matrix.include, matrix.exclude) == ({}, (), ())
        assert matrix.measurement == Measurement()
        assert matrix.timeouts == Timeouts()
        assert matrix.retry == RetrySettings()

    def test_a_stage_that_is_left_out_is_not_measured(self) -> None:
        matrix = load("name: x\nmodels: [tiny-llama]\nstages: {decode: {M: [4]}}\n")
        assert {cell.stage for cell in matrix.cells()} == {Stage.DECODE}

    @pytest.mark.parametrize(
        "key",
        ["engine_args", "include", "exclude", "overrides", "measurement", "timeouts", "retry"],
    )
    def test_a_key_with_its_lines_commented_out_is_as_if_left_out(self, key: str) -> None:
        emptied = load(f"{SMALL}{key}:\n  # - nothing\n")
        assert emptied.model_dump() == load(SMALL).model_dump()


class TestCells:
    def test_cells_come_in_the_order_of_the_file(self) -> None:
        matrix = load(
            "name: x\nmodels: [tiny-qwen, tiny-llama]\nquantization: [fp8]\n"
            "backends: [cutlass, cusparselt: {sparsity: [2:8, 2_4]}]\n"
            "stages: {decode: {M: [4]}, prefill: {M: [512, 128]}}\n"
        )
        assert ids(matrix)[:6] == [
            "tiny-qwen.fp8.cutlass.prefill.m512",
            "tiny-qwen.fp8.cutlass.prefill.m128",
            "tiny-qwen.fp8.cutlass.decode.m4",
            "tiny-qwen.fp8.cusparselt-2_8.prefill.m512",
            "tiny-qwen.fp8.cusparselt-2_8.prefill.m128",
            "tiny-qwen.fp8.cusparselt-2_8.decode.m4",
        ]
        assert len(matrix.cells()) == 18
        assert matrix.cells()[-1].model == "tiny-llama"

    @pytest.mark.parametrize("sparsity", ["2:10", "'2:10'", '"2:10"', "2_10"])
    def test_sparsity_is_read_quoted_or_not(self, sparsity: str) -> None:
        matrix = load(f"{SMALL}backends: [cusparselt: {{sparsity: [{sparsity}]}}]\n")
        assert {cell.sparsity for cell in matrix.cells()} == {Sparsity(10)}

    @pytest.mark.parametrize("dense", ["cutlass", "cutlass:", "cutlass: {}"])
    def test_dense_backend_has_three_spellings(self, dense: str) -> None:
        assert load(f"{SMALL}backends:\n  - {dense}\n").cells()[0].backend == "cutlass"

    def test_whole_numbers_may_be_hexadecimal(self) -> None:
        matrix = load("name: x\nmodels: [tiny-llama]\nstages: {prefill: {M: [0x200]}}\n")
        assert matrix.cells()[0].m == 512

    def test_include_comes_before_exclude(self) -> None:
        matrix = load(
            SMALL + "include: ['*.int8.*', '*.decode.*']\nexclude: ['*.m512', '*.fp8.*']\n"
        )
        assert ids(matrix) == [
            "tiny-llama.int8.native.prefill.m128",
            "tiny-llama.int8.native.decode.m4",
        ]

    def test_glob_covers_the_whole_id(self) -> None:
        cells = load(SMALL).cells()
        assert select(cells, ["tiny-llama.int8"]) == []
        assert len(select(cells, ["tiny-llama.int8.*"])) == 3
        assert select(cells, ["*.m4"]) == select(cells, ["*.decode.*"])
        assert len(select(cells, ["*.m[15]*", "*.m?"])) == 6

    def test_nearest_id_is_the_one_that_was_meant(self) -> None:
        cells = load(SMALL + "backends: [native, cusparselt: {sparsity: [2:4, 2:8]}]\n").cells()
        assert nearest_id("*.fp8.cusparselt-2:8.*m512", cells) == (
            "tiny-llama.fp8.cusparselt-2_8.prefill.m512"
        )
        assert nearest_id("*", []) == ""


class TestEngineArguments:
    def test_scalars_follow_yaml_1_2(self) -> None:
        matrix = load(
            SMALL + "engine_args: {a: true, b: 12, c: 0.5, d: 1e3, e: 0o17, f: ~, g: text, "
            "h: 'true', i: \"12\", j: [1, FALSE], k: {l: -1}, m: 2:4}\n"
        )
        assert matrix.engine_args == {
            "a": True,
            "b": 12,
            "c": 0.5,
            "d": 1000.0,
            "e": 15,
            "f": None,
            "g": "text",
            "h": "true",
            "i": "12",
            "j": [1, False],
            "k": {"l": -1},
            "m": "2:4",
        }
        assert isinstance(matrix.engine_args["d"], float)

    def test_later_override_wins_and_replaces_whole_arguments(self) -> None:
        matrix = load(
            SMALL + "engine_args: {enforce_eager: true, hf_overrides: {a: 1, b: 2}}\n"
            "overrides:\n"
            "  - {match: '*.m4', engine_args: {enforce_eager: false, block_size: 16}}\n"
            "  - {match: '*.int8.*.m4', engine_args: {block_size: 32, hf_overrides: {a: 3}}}\n"
        )
        by_id = {cell.id: matrix.engine_args_for(cell) for cell in matrix.cells()}
        base = {"enforce_eager": True, "hf_overrides": {"a": 1, "b": 2}}
        assert by_id["tiny-llama.int8.native.prefill.m128"] == base
        assert by_id["tiny-llama.fp8.native.decode.m4"] == {
            **base,
            "enforce_eager": False,
            "block_size": 16,
        }
        assert by_id["tiny-llama.int8.native.decode.m4"] == {
            "enforce_eager": False,
            "block_size": 32,
            "hf_overrides": {"a": 3},
        }

    @pytest.mark.parametrize(
        "name",
        [
            "data_parallel_size",
            "max_model_len",
            "moe_backend",
            "pipeline_parallel_size",
            "quantization_config",
            "some_argument_of_tomorrow",
            "tokenizer_mode",
        ],
    )
    def test_other_arguments_are_not_taken_for_misspellings(self, name: str) -> None:
        assert refusal(name, 2) == ""

    @pytest.mark.parametrize("value", [1, 1.0, 0.01])
    def test_utilization_up_to_one_is_allowed(self, value: float) -> None:
        assert refusal("gpu_memory_utilization", value) == ""

    @pytest.mark.parametrize("value", [0, -0.5, 1.01, True, None, "0.8"])
    def test_other_utilization_is_refused(self, value: object) -> None:
        assert "must be above 0 and at most 1" in refusal("gpu_memory_utilization", value)


class TestScalars:
    @pytest.mark.parametrize("text", ["2:4", "-0x1F", "1.2.3", "1e", "+", ".", "tRUE", "0b1", "_1"])
    def test_what_is_no_number_is_text(self, text: str) -> None:
        assert resolve(text) == text

    @pytest.mark.parametrize("text", ["Yes", "NO", "y", "Off", "007", "-012", "1_0", "0.1_0"])
    def test_what_yaml_versions_disagree_about_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"YAML 1\.1"):
            resolve(text)

    @given(st.integers(-(2**63) + 1, 2**63 - 1))
    def test_every_whole_number_is_read(self, number: int) -> None:
        assert resolve(str(number)) == number

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_float_is_read(self, number: float) -> None:
        assert resolve(repr(number)) == number

    @given(st.text(max_size=20))
    def test_any_text_is_resolved_or_refused(self, text: str) -> None:
        try:
            value = resolve(text)
        except ValueError:
            return
        assert json.loads(json.dumps(value)) == value


class TestSettings:
    def test_override_changes_only_what_it_says(self) -> None:
        matrix = load(
            SMALL + "measurement: {precision: 0.05, min_iterations: 9}\n"
            "timeouts: {attempt_s: 60}\nretry: {max_attempts: 2, utilization_ladder: [0.5, 1]}\n"
            "overrides:\n"
            "  - {match: '*.m4', measurement: {precision: 0.02}, timeouts: {silence_s: 5}}\n"
            "  - {match: '*', retry: {max_attempts: 1}, measurement: {fixed_iterations: 3}}\n"
        )
        prefill, decode = matrix.cells()[0], matrix.cells()[2]
        assert matrix.measurement_for(prefill) == Measurement(0.05, 9, fixed_iterations=3)
        assert matrix.measurement_for(decode) == Measurement(0.02, 9, fixed_iterations=3)
        assert matrix.timeouts_for(prefill) == Timeouts(attempt_s=60.0)
        assert matrix.timeouts_for(decode) == Timeouts(attempt_s=60.0, silence_s=5.0)
        assert matrix.retry_for(decode) == RetrySettings(1, (0.5, 1.0))


class TestModels:
    def test_path_starts_at_the_folder_of_the_matrix(self, tmp_path: Path) -> None:
        path = tmp_path / "m.yaml"
        path.write_text(SMALL.replace("[tiny-llama]", "[{name: my-7b, path: ./sub/my-7b}]"))
        entry = load_matrix(path).model("my-7b")
        assert (entry.path, entry.hub) == (tmp_path / "sub" / "my-7b", None)

    def test_copy_of_a_matrix_keeps_the_folder_of_the_original(self, tmp_path: Path) -> None:
        path = tmp_path / "copy.yaml"
        path.write_text(SMALL.replace("[tiny-llama]", "[{name: my-7b, path: my-7b}]"))
        matrix = load_matrix(path, folder=Path("/matrices"))
        assert matrix.model("my-7b").path == Path("/matrices/my-7b")

    def test_absolute_path_and_home_stay_where_they_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "/home/somebody")
        matrix = load(SMALL.replace("[tiny-llama]", "[{name: a, path: /a}, {name: b, path: ~/b}]"))
        assert matrix.model("a").path == Path("/a")
        assert matrix.model("b").path == Path("/home/somebody/b")

    def test_hub_and_built_in_models(self) -> None:
        matrix = load(SMALL.replace("[tiny-llama]", "[tiny-qwen, {name: My_7B, hub: org/my-7b}]"))
        assert matrix.model("My_7B").hub == "org/my-7b"
        assert (matrix.model("tiny-qwen").path, matrix.model("tiny-qwen").hub) == (None, None)
        assert matrix.cells()[-1].id == "My_7B.fp8.native.decode.m4"

    def test_unknown_model_is_a_key_error(self) -> None:
        with pytest.raises(KeyError):
            load(SMALL).model("other")


class TestFile:
    def test_sha256_is_that_of_the_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "m.yaml"
        data = b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode()
        path.write_bytes(data)
        matrix = load_matrix(path)
        assert matrix.sha256 == hashlib.sha256(data).hexdigest()
        assert matrix.text.encode() == data
        assert matrix.path == path

    def test_matrix_does_not_change(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load(SMALL).seed = 3


class TestShipped:
    @pytest.mark.parametrize(
        ("name", "cells"),
        [("rtx4090", 576), ("h200", 288), ("h200-first-light", 14), ("quickstart", 26)],
    )
    def test_shipped_matrix_has_its_cells(self, name: str, cells: int) -> None:
        matrix = load_matrix(SHIPPED / f"{name}.yaml")
        assert (matrix.name, len(matrix.cells())) == (name, cells)

    def test_first_light_has_one_native_cell_per_quantization_and_stage(self) -> None:
        cells = load_matrix(SHIPPED / "h200-first-light.yaml").cells()
        native = [
            (cell.quantization.value, cell.stage.value, cell.m)
            for cell in cells
            if cell.backend == "native"
        ]
        assert native == [
            ("int8", "prefill", 4096),
            ("int8", "decode", 64),
            ("fp8", "prefill", 4096),
            ("fp8", "decode", 64),
        ]

    @pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
    def test_editors_find_the_schema_and_agree_with_it(self, path: Path) -> None:
        text = path.read_text()
        assert text.startswith("# yaml-language-server: $schema=matrix.schema.json\n")
        jsonschema.validate(typed(text), matrix_json_schema())


class TestSchema:
    def test_committed_schema_is_up_to_date(self) -> None:
        committed = json.loads((SHIPPED / "matrix.schema.json").read_text())
        assert committed == matrix_json_schema(), (
            "run `slidesparse schema > matrices/matrix.schema.json`"
        )

    def test_schema_is_a_valid_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(matrix_json_schema())

    def test_every_key_is_described(self) -> None:
        schema = matrix_json_schema()
        holders = [schema, *schema["$defs"].values(), schema["$defs"]["ModelEntry"]["anyOf"][1]]
        missing = [
            key
            for holder in holders
            for key, value in holder.get("properties", {}).items()
            if "description" not in value
        ]
        assert missing == []

    @pytest.mark.parametrize(
        "more",
        [
            *["engine: vlm", "trials: 0", "seed: 1.5", "nonsense: 1", "quantization: [int9]"],
            *["backends: [cusparselt]", "backends: [cutlass: {sparsity: [2:4]}]"],
            *["backends: [cusparselt: {sparsity: [2:5]}]", "engine_args: {model: x}"],
            *["engine_args: {gpu_memory_utilization: 1.2}", "measurement: {precision: 2}"],
            *["overrides: [{engine_args: {a: 1}}]", "isolation: none", "cpu_memory_gib: 0"],
        ],
    )
    def test_schema_and_loader_refuse_the_same(self, more: str) -> None:
        text = f"{SMALL}{more}\n"
        with pytest.raises(MatrixError):
            load(text)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(typed(text), matrix_json_schema())


VALIDATOR = jsonschema.Draft202012Validator(matrix_json_schema())
SAFE_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
MODELS = st.sampled_from(BUILTIN_NAMES) | st.one_of(
    st.fixed_dictionaries({"name": SAFE_NAMES, "path": st.just("./folder")}),
    st.fixed_dictionaries({"name": SAFE_NAMES, "hub": st.just("org/model")}),
)
SPARSITIES = st.lists(st.sampled_from(Sparsity.GROUPS), min_size=1, unique=True).flatmap(
    lambda groups: st.sampled_from(":_").map(lambda mark: [f"2{mark}{group}" for group in groups])
)
DENSE = [name for name, backend in BACKENDS.items() if not backend.needs_sparsity]
BACKEND_LISTS = st.lists(st.sampled_from(DENSE), min_size=1, unique=True) | st.tuples(
    st.lists(st.sampled_from(DENSE), unique=True), SPARSITIES
).map(lambda pair: [*pair[0], {"cusparselt": {"sparsity": pair[1]}}])
PREFILL_M = st.integers(1, 1024) | st.integers(1, 64).map(lambda prompts: 1024 * prompts)


def axis(m: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, Any] | None]:
    lists = st.lists(m, min_size=1, max_size=5, unique=True).map(lambda values: {"M": values})
    return st.none() | st.just({}) | lists


def model_key(model: str | dict[str, str]) -> str:
    return (model if isinstance(model, str) else model["name"]).lower()


VALID = st.fixed_dictionaries(
    {
        "name": SAFE_NAMES,
        "models": st.lists(MODELS, min_size=1, max_size=3, unique_by=model_key),
        "stages": st.fixed_dictionaries(
            {}, optional={"prefill": axis(PREFILL_M), "decode": axis(st.integers(1, 4096))}
        ).filter(bool),
    },
    optional={
        "quantization": st.lists(st.sampled_from(["int8", "fp8"]), min_size=1, unique=True),
        "backends": BACKEND_LISTS,
        "engine": st.sampled_from(["vllm", "fake"]),
        "engine_args": st.fixed_dictionaries(
            {}, optional={"gpu_memory_utilization": st.floats(0.01, 1), "block_size": st.just(16)}
        ),
        "seed": st.integers(0, 2**40),
        "exclude": st.just(["*.m1*"]),
        "measurement": st.fixed_dictionaries({"precision": st.floats(0.001, 0.5)}),
    },
)


def outcome_of(tree: dict[str, Any]) -> Matrix | MatrixError:
    """The matrix, or the error with its problems; any other exception fails the test."""
    try:
        return load(yaml.safe_dump(tree))
    except MatrixError as error:
        return error


def blames_only_globs(error: MatrixError) -> bool:
    messages = [problem.message for problem in error.problems]
    return all("matches no cell" in text or "no cell is left" in text for text in messages)


@given(VALID)
def test_valid_matrix_expands_to_unique_ids_that_parse_back(tree: dict[str, Any]) -> None:
    tree.pop("exclude", None)
    cells = load(yaml.safe_dump(tree)).cells()
    assert len({cell.id.lower() for cell in cells}) == len(cells)
    assert all(Cell.parse(cell.id) == cell for cell in cells)


@given(VALID)
def test_what_the_loader_accepts_the_schema_accepts(tree: dict[str, Any]) -> None:
    outcome = outcome_of(tree)
    if isinstance(outcome, Matrix):
        VALIDATOR.validate(tree)
    else:
        assert blames_only_globs(outcome)


@given(VALID, st.text("*?[]!.-m0123457abcdefi_", min_size=1, max_size=20))
def test_any_glob_excludes_something_or_is_reported(tree: dict[str, Any], glob: str) -> None:
    everything = set(ids(load(yaml.safe_dump({**tree, "exclude": []}))))
    outcome = outcome_of({**tree, "exclude": [glob]})
    if isinstance(outcome, Matrix):
        assert set(ids(outcome)) < everything
    else:
        assert blames_only_globs(outcome)


KEYS = st.sampled_from([*Matrix.model_fields, "M", "prefill", "match", "sparsity", "path"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | KEYS
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_is_refused_with_places(tree: dict[str, Any]) -> None:
    with pytest.raises(MatrixError) as caught:
        load(yaml.safe_dump(tree))
    assert all(problem.line >= 1 and problem.message for problem in caught.value.problems)


@given(VALID, KEYS, TREES)
def test_one_odd_value_in_a_valid_matrix_is_no_other_error(
    tree: dict[str, Any], key: str, value: Any
) -> None:
    outcome = outcome_of({**tree, key: value})
    assert outcome.cells() if isinstance(outcome, Matrix) else outcome.problems
