"""Every way to get a matrix wrong, and what the message must say.

`§` marks the place that the message must name; it is removed before the text is loaded.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from slidesparse_bench.errors import ExitCode, MatrixError, Problem
from slidesparse_bench.matrix import load_matrix, load_matrix_text
from slidesparse_bench.yaml_source import MAX_BYTES

NAME = "name: bad\n"
MODELS = "models: [llama3.2-1b]\n"
STAGES = "stages: {prefill: {M: [512, 1024]}, decode: {M: [64]}}\n"
SOUND = NAME + MODELS + STAGES


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(MatrixError) as caught:
        load_matrix_text(text, Path("bad.yaml"))
    return caught.value.problems


def marked_place(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the mark's line and column."""
    before, _, after = text.partition("§")
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


def with_name(name: str) -> str:
    return f"name: {name}\n" + MODELS + STAGES


def with_models(models: str) -> str:
    return NAME + f"models: {models}\n" + STAGES


def with_prefill(m: str) -> str:
    return NAME + MODELS + f"stages: {{prefill: {{M: {m}}}}}\n"


def with_stages(stages: str) -> str:
    return NAME + MODELS + f"stages: {stages}\n"


def with_backend(backend: str) -> str:
    return SOUND + f"backends:\n  - {backend}\n"


def with_sparsity(sparsity: str) -> str:
    return with_backend(f"cusparselt: {{sparsity: {sparsity}}}")


def with_engine_args(arguments: str) -> str:
    return SOUND + f"engine_args: {{{arguments}}}\n"


SPARSITIES = "2:4, 2:6, 2:8, 2:10, 2:12, 2:14, 2:16"

BAD = {
    # The file as a whole.
    "empty": ("§", "the file is empty"),
    "only comments": ("§# models go here\n", "the file is empty"),
    "a list at the top": ("§- name: bad\n", "the top is a list; a mapping"),
    "a word at the top": ("§h200\n", "the top is a single value; a mapping"),
    "two documents": (SOUND + "§---\nname: other\n", "a second document begins here"),
    "tab as indentation": (NAME + MODELS + "stages:\n§\tprefill:\n", "a tab cannot indent"),
    "NUL": (NAME + "models: [llama3.2§\0-1b]\n", "character U+0000 is not allowed"),
    "bracket left open": (NAME + "models: [llama3.2-1b\nstages§: {}\n", "',' or ']' is missing"),
    "quote left open": (NAME + "models: ['llama3.2-1b]\n§", "quote opened on line 2 is never"),
    "indented too far": (NAME + "  models§: []\n", "a ':' that begins no value here"),
    "indented too little": ("a:\n  - b\n §- c\n", "indented unlike the lines of its block"),
    "a glob without quotes": (SOUND + "exclude: [*§.int8.*]\n", "put it in quotes: '*.int8.*'"),
    "a glob like an alias": (SOUND + "exclude: [§*int8]\n", "no anchor &int8 before this alias"),
    "text that must be quoted": (with_name("§@home"), "begins with '@' must be in quotes"),
    "a repeated key": (
        SOUND + "§name: again\n",
        "key 'name' appears twice; the first is on line 1",
    ),
    "a tag": (with_name("§!!str bad"), "tag !!str has no meaning here"),
    "a key that is a list": (SOUND + "? §[a]\n: b\n", "a key must be text"),
    "an escape outside Unicode": (with_name('"\\U§99999999"'), "an escape that is no character"),
    "an escaped control character": (with_models('[{name: a, path: §"x\\u0007"}]'), "U+0007"),
    "too deep": (SOUND + "engine_args: {a: " + "[" * 19 + "§[" + "]" * 20 + "}", "more than 20"),
    "merging a list": (SOUND + "engine_args: {<<: §1}\n", "`<<` merges mappings only"),
    # Keys.
    "an unknown key": (SOUND + "§backend: [native]\n", "'backend'; did you mean backends?"),
    "a key like no other": (SOUND + "§zzz: 1\n", "unknown key 'zzz'; allowed are name, models"),
    "no name": ("§" + MODELS + STAGES, "name is missing"),
    "no models": ("§" + NAME + STAGES, "models is missing"),
    "no stages": ("§" + NAME + MODELS, "stages is missing"),
    # Name.
    "an empty name": ("name:§\n" + MODELS + STAGES, "name must be text, not nothing"),
    "a name with a slash": (with_name("§a/b"), "name 'a/b' goes into folder names"),
    "a name of dots": (with_name("§.."), "a letter or digit first"),
    "a name too long": (with_name("§" + "x" * 81), "at most 80"),
    "a name that is a list": (with_name("§[a]"), "name must be text, not a list"),
    # Models.
    "no model": (with_models("§[]"), "models is empty; it needs at least one entry"),
    "models that are nothing": (NAME + "models:§\n" + STAGES, "models must be a list, not nothing"),
    "one model, not listed": (
        with_models("§tiny-llama"),
        "must be a list, not 'tiny-llama'; write [tiny-llama]",
    ),
    "a model misspelt": (with_models("[§lama3.2-1b]"), "did you mean llama3.2-1b?"),
    "a model in capitals": (with_models("[§Llama3.2-1B]"), "did you mean llama3.2-1b?"),
    "a model of the hub": (
        with_models("[§meta-llama/Llama-3.2-1B]"),
        "write {name: llama-3.2-1b, hub: meta-llama/Llama-3.2-1B}",
    ),
    "a model in a folder": (with_models("[§./my-7b]"), "write {name: my-7b, path: ./my-7b}"),
    "a model unlike any": (with_models("[§gpt]"), "other models are {name: ..., path: ...}"),
    "a model that is a list": (with_models("[§[a]]"), "a model is a name, {name, path}"),
    "a model with two sources": (
        with_models("[§{name: a, path: ./a, hub: b/a}]"),
        "model 'a' has both a path and a hub",
    ),
    "a model without source": (with_models("[§{name: a}]"), "model 'a' is not built in"),
    "a model without name": (with_models("[§{path: ./a}]"), "name is missing"),
    "a model key misspelt": (with_models("[{name: a, §pth: ./a}]"), "did you mean path?"),
    "a model name with a space": (with_models("[{name: §a b, path: ./a}]"), "name 'a b' goes"),
    "an empty path": (with_models("[{name: a, path: §''}]"), "path is empty"),
    "a path that is a list": (with_models("[{name: a, path: §[b]}]"), "path must be text"),
    "a path of nobody": (
        with_models("[{name: a, path: §~no-such-user-here/b}]"),
        "no home folder of that user",
    ),
    "a hub name with two slashes": (with_models("[{name: a, hub: §a/b/c}]"), "as org/name"),
    "a model twice": (
        with_models("[tiny-llama, §tiny-llama]"),
        "model 'tiny-llama' appears twice; the first is at 2:10",
    ),
    "a model twice but for case": (
        with_models("[tiny-llama, §{name: Tiny-Llama, path: .}]"),
        "appears twice; the first is at 2:10",
    ),
    # Quantization.
    "an unknown quantization": (
        SOUND + "quantization: [int8, §int9]\n",
        "quantization 'int9' is not one of int8, fp8; did you mean int8?",
    ),
    "a quantization not listed": (SOUND + "quantization: §int8\n", "not 'int8'; write [int8]"),
    "a quantization twice": (
        SOUND + "quantization: [fp8, §fp8]\n",
        "quantization 'fp8' appears twice; the first is at 4:16",
    ),
    "no quantization": (SOUND + "quantization: §[]\n", "needs at least one entry"),
    # Backends and sparsity.
    "an unknown backend": (with_backend("§cutlas"), "did you mean cutlass?"),
    "an unknown backend with a sparsity": (
        with_backend("§cusparse: {sparsity: [2:4]}"),
        "backend 'cusparse' is not one of native, cutlass, cublaslt, cusparselt",
    ),
    "a backend that is a list": (with_backend("§[cutlass]"), "a backend is a name"),
    "a backend of two keys": (
        with_backend("§cutlass: {}\n    native: {}"),
        "a backend entry has one key, its name; this one has cutlass, native",
    ),
    "a sparsity not indented": (
        with_backend("§cusparselt:\n    sparsity: [2:4]"),
        "`sparsity` must be indented below `cusparselt`",
    ),
    "cusparselt without a sparsity": (
        with_backend("§cusparselt"),
        "needs a sparsity; write `cusparselt: {sparsity: [2:4]}`",
    ),
    "cusparselt with nothing behind it": (with_backend("§cusparselt:"), "needs a sparsity"),
    "a dense backend with a sparsity": (
        with_backend("§cutlass: {sparsity: [2:4]}"),
        "backend cutlass is dense and takes no sparsity",
    ),
    "a backend option misspelt": (
        with_backend("cusparselt: {§sparsty: [2:4]}"),
        "unknown key 'sparsty'; did you mean sparsity?",
    ),
    "a backend twice": (
        SOUND + "backends: [native, §native: {}]\n",
        "backend 'native' appears twice; the first is at 4:12",
    ),
    "an odd sparsity": (
        with_sparsity("[2:4, §2:5]"),
        f"sparsity '2:5' is not one of {SPARSITIES}; did you mean 2:4?",
    ),
    "a sparsity that counts non-zeros": (
        with_sparsity("[§6:8]"),
        "6:8 in the paper counts non-zeros, here zeros are counted: 2:8",
    ),
    "a sparsity that is a list": (with_sparsity("[§[2:4]]"), "sparsity a list is not one of"),
    "a sparsity with a leading zero": (with_sparsity("[§2:04]"), "sparsity '2:04' is not one of"),
    "a sparsity not listed": (with_sparsity("§2:4"), "must be a list, not '2:4'; write [2:4]"),
    "sparsity with nothing behind it": (
        with_backend("cusparselt: §{sparsity: }"),
        "sparsity is empty; it lists some of",
    ),
    "no sparsity": (with_sparsity("§[]"), "sparsity is empty"),
    "a sparsity twice in two spellings": (
        with_sparsity("[2:4, §'2_4']"),
        "sparsity '2_4' appears twice; the first is at 5:29",
    ),
    # Stages and M.
    "no stage": (with_stages("§{}"), "stages is empty; it needs prefill, decode or both"),
    "stages as a list": (with_stages("§[prefill]"), "stages must be a mapping"),
    "a stage misspelt": (with_stages("{§prefil: {}, decode: {}}"), "did you mean prefill?"),
    "a stage that is a list": (with_stages("{prefill: §[512]}"), "prefill must be a mapping"),
    "m in lower case": (with_stages("{prefill: {§m: [512]}}"), "did you mean M?"),
    "M not listed": (with_prefill("§512"), "M must be a list, not '512'; write [512]"),
    "M empty": (with_prefill("§[]"), "M is empty"),
    "M nothing": (NAME + MODELS + "stages: {prefill: {M:§ }}\n", "M must be a list, not nothing"),
    "M as a word": (with_prefill("[§many]"), "must be a whole number, not 'many'"),
    "M in quotes": (with_prefill("[§'512']"), "not '512'; remove the quotes"),
    "M as a float": (with_prefill("[§512.5]"), "must be a whole number, not '512.5'"),
    "M with an exponent": (with_prefill("[§1e3]"), "not '1e3'; write 1000"),
    "M with underscores": (with_prefill("[§1_024]"), "write 1024"),
    "M with a leading zero": (with_prefill("[§0512]"), "leading zero"),
    "M true": (with_prefill("[§true]"), "must be a whole number, not 'true'"),
    "M zero": (with_prefill("[§0]"), "M must be at least 1"),
    "M negative": (with_prefill("[§-64]"), "M must be at least 1"),
    "M no whole number of prompts": (with_prefill("[§1500]"), "the nearest are 1024 and 2048"),
    "M beyond reason": (with_prefill("[§33554432]"), "M must be at most 16777216"),
    "M beyond 64 bits": (with_prefill("[§" + "9" * 30 + "]"), "beyond 64 bits"),
    "M of a thousand digits": (with_prefill("[§" + "9" * 6000 + "]"), "beyond 64 bits"),
    "M twice": (with_prefill("[512, §512]"), "M '512' appears twice; the first is at 3:24"),
    "M twice in two spellings": (with_prefill("[512, §0x200]"), "the first is at 3:24"),
    # The rest of the top.
    "an unknown engine": (SOUND + "engine: §vlm\n", "not one of vllm, fake; did you mean vllm?"),
    "an unknown isolation": (
        SOUND + "isolation: §none\n",
        "isolation 'none' is not one of engine, cell",
    ),
    "too many trials": (SOUND + "trials: §300\n", "trials must be at most 100, not '300'"),
    "no trials": (SOUND + "trials: §0\n", "trials must be at least 1, not '0'"),
    "a negative seed": (SOUND + "seed: §-1\n", "seed must be at least 0, not '-1'"),
    "a seed that is text": (SOUND + "seed: §random\n", "seed must be a whole number"),
    "an unknown choice": (SOUND + "infeasible: §skipp\n", "skip, try; did you mean skip?"),
    "memory of nothing": (SOUND + "cpu_memory_gib: §0\n", "cpu_memory_gib must be above 0"),
    "memory with a unit": (SOUND + "cpu_memory_gib: §4GiB\n", "cpu_memory_gib must be a number"),
    "memory that is true": (SOUND + "cpu_memory_gib: §true\n", "cpu_memory_gib must be a number"),
    "infinite memory": (SOUND + "cpu_memory_gib: §.inf\n", "is not a finite number"),
    # Settings.
    "precision in percent": (SOUND + "measurement: {precision: §1}\n", "to below 1 (0.01 = 1 %)"),
    "too few iterations": (SOUND + "measurement: {min_iterations: §1}\n", "at least 2, not '1'"),
    "a setting misspelt": (
        SOUND + "measurement: {§min_iteration: 5}\n",
        "unknown key 'min_iteration'; did you mean min_iterations?",
    ),
    "a setting of the wrong part": (
        SOUND + "timeouts: {§precision: 0.1}\n",
        "unknown key 'precision'; allowed are attempt_s, silence_s, grace_s, memory_wait_s",
    ),
    "settings that are text": (SOUND + "measurement: §fast\n", "measurement must be a mapping"),
    "a time in words": (SOUND + "timeouts: {attempt_s: §1h}\n", "attempt_s must be a number"),
    "a time that is true": (SOUND + "timeouts: {attempt_s: §true}\n", "attempt_s must be a number"),
    "a time of zero": (SOUND + "timeouts: {silence_s: §0}\n", "silence_s must be above 0"),
    "a list for a number": (SOUND + "measurement: {precision: §[0.1]}\n", "must be a number"),
    "a number for a list": (SOUND + "retry: {utilization_ladder: §1}\n", "must be a list"),
    "half an attempt": (SOUND + "retry: {max_attempts: §2.5}\n", "must be a whole number"),
    "a ladder that falls": (SOUND + "retry: {utilization_ladder: §[0.9, 0.8]}\n", "must rise"),
    "a ladder of text": (SOUND + "retry: {utilization_ladder: [§high]}\n", "must be a number"),
    # Engine arguments.
    "an engine argument that is owned": (
        with_engine_args("§quantization: fp8"),
        "'quantization' cannot be set: the matrix key `quantization` decides it",
    ),
    "an engine argument misspelt": (
        with_engine_args("§gpu_memory_utilisation: 0.9"),
        "did you mean gpu_memory_utilization?",
    ),
    "an engine argument as a flag": (
        with_engine_args("§--max-model-len: 4096"),
        "write max_model_len",
    ),
    "utilization in percent": (
        with_engine_args("gpu_memory_utilization: §80"),
        "gpu_memory_utilization must be above 0 and at most 1, not '80'",
    ),
    "utilization in quotes": (
        with_engine_args("gpu_memory_utilization: §'0.8'"),
        "gpu_memory_utilization must be above 0",
    ),
    "a length for vLLM to find": (
        with_engine_args("max_model_len: §auto"),
        "max_model_len must be a whole number from 1, not 'auto'",
    ),
    "a count in a list": (with_engine_args("max_num_seqs: §[1]"), "must be a whole number from 1"),
    "no GPU": (with_engine_args("tensor_parallel_size: §0"), "must be a whole number from 1"),
    "yes for true": (with_engine_args("enforce_eager: §yes"), "write true"),
    "nested yes for true": (with_engine_args("a: {b: [§off]}"), "write false"),
    "not a number": (with_engine_args("a: §.nan"), "is not a finite number"),
    "a float beyond floats": (with_engine_args("a: §1e999"), "is not a finite number"),
    "engine arguments as a list": (SOUND + "engine_args: §[a]\n", "engine_args must be a mapping"),
    # Globs and overrides.
    "include that matches nothing": (
        SOUND + "include: [§'llama*.int9.*']\n",
        "glob 'llama*.int9.*' matches no cell; the nearest is llama3.2-1b.int8.native.prefill.m512",
    ),
    "exclude that matches nothing": (
        SOUND + "exclude: [§'*.m65']\n",
        "the nearest is llama3.2-1b.int8.native.decode.m64",
    ),
    "a glob in capitals": (SOUND + "exclude: [§'*.INT8.*']\n", "matches no cell"),
    "a glob not listed": (SOUND + "exclude: §'*.fp8.*'\n", "exclude must be a list"),
    "a glob that is a mapping": (
        SOUND + "exclude: [§{a: b}]\n",
        "an entry of exclude must be text",
    ),
    "everything excluded": (SOUND + "§exclude: ['*']\n", "no cell is left after exclude"),
    "included and excluded": (
        SOUND + "include: ['*.fp8.*']\n§exclude: ['*.fp8.*']\n",
        "no cell is left after exclude",
    ),
    "an override without match": (
        SOUND + "overrides: [§{engine_args: {enforce_eager: true}}]\n",
        "match is missing",
    ),
    "an override for no cell": (
        SOUND + "overrides: [{match: §'*.m63', retry: {max_attempts: 1}}]\n",
        "glob '*.m63' matches no cell",
    ),
    "an override of nothing": (
        SOUND + "overrides: [§{match: '*'}]\n",
        "this override changes nothing",
    ),
    "an override key misspelt": (
        SOUND + "overrides: [{match: '*', §engine_arg: {a: 1}}]\n",
        "unknown key 'engine_arg'; did you mean engine_args?",
    ),
    "an override of an owned argument": (
        SOUND + "overrides: [{match: '*', engine_args: {§seed: 1}}]\n",
        "'seed' cannot be set",
    ),
    "an override with a bad setting": (
        SOUND + "overrides: [{match: '*', measurement: {precision: §2}}]\n",
        "precision is a share",
    ),
    "an override with an unknown setting": (
        SOUND + "overrides: [{match: '*', timeouts: {§silence: 2}}]\n",
        "unknown key 'silence'; did you mean silence_s?",
    ),
    "an override with old words": (
        SOUND + "overrides: [{match: '*', engine_args: {enforce_eager: §on}}]\n",
        "write true",
    ),
    "overrides as a mapping": (SOUND + "overrides: §{match: '*'}\n", "overrides must be a list"),
}


@pytest.mark.parametrize(("text", "essence"), BAD.values(), ids=BAD.keys())
def test_one_slip_gives_one_message_at_its_place(text: str, essence: str) -> None:
    text, line, column = marked_place(text)
    (problem,) = problems_of(text)
    assert essence in problem.message
    assert (problem.line, problem.column) == (line, column)
    assert str(problem) == f"bad.yaml:{line}:{column}: {problem.message}"


@pytest.mark.parametrize(("text", "essence"), BAD.values(), ids=BAD.keys())
def test_no_message_speaks_pydantic(text: str, essence: str) -> None:
    messages = "\n".join(problem.message for problem in problems_of(text.replace("§", "")))
    for phrase in ("Input should", "Value error", "validation error", "pydantic", "Field required"):
        assert phrase not in messages


def test_all_problems_of_a_file_come_at_once_in_file_order() -> None:
    text = """\
name: a/b
models: [llama3.2-1b, lama, llama3.2-1b]
quantization: [int9, int8]
backends:
  - cutlas
  - cusparselt: {sparsity: [2:5, 2:4, 2:4]}
stages: {prefill: {M: [1500, x]}}
engine: vlm
trials: 0
seed: -1
measurement: {precision: 5, min_iterations: 0}
engine_args: {model: x, gpu_memory_utilization: 2, enforce_eager: yes}
overrides: [{}]
nonsense: 1
"""
    places = [(problem.line, problem.column) for problem in problems_of(text)]
    assert places == [
        *[(1, 7), (2, 23), (2, 29), (3, 16), (5, 5), (6, 29), (6, 39), (7, 24), (7, 30)],
        *[(8, 9), (9, 9), (10, 7), (11, 26), (11, 45), (12, 15), (12, 49), (12, 67)],
        *[(13, 13), (14, 1)],
    ]


def test_globs_are_checked_although_something_else_is_wrong() -> None:
    messages = [p.message for p in problems_of(SOUND + "engine: x\nexclude: ['*.int7.*']\n")]
    assert len(messages) == 2
    assert messages[1].startswith("glob '*.int7.*' matches no cell")


def test_globs_are_not_blamed_for_a_model_that_is_misspelt() -> None:
    text = with_models("[lama3.2-1b]") + "exclude: ['llama3.2-1b.int8.*']\n"
    assert [problem.line for problem in problems_of(text)] == [2]


def test_a_repeated_key_is_reported_beside_what_its_first_value_has_wrong() -> None:
    problems = problems_of("name: a/b\nname: fine\n" + MODELS + STAGES)
    assert [problem.line for problem in problems] == [1, 2]


def test_several_overrides_are_each_checked() -> None:
    overrides = "".join(f"  - {{match: '*.m{m}', retry: {{max_attempts: 0}}}}\n" for m in (64, 512))
    problems = problems_of(SOUND + "overrides:\n" + overrides)
    assert [(problem.line, problem.column) for problem in problems] == [(5, 44), (6, 45)]


def test_too_many_cells_are_refused_before_they_are_built() -> None:
    m = ", ".join(str(m) for m in range(1, 1025))
    models = ", ".join(f"{{name: m{i}, path: .}}" for i in range(20))
    (problem,) = problems_of(f"name: x\nmodels: [{models}]\nstages: {{decode: {{M: [{m}]}}}}\n")
    assert problem.message.startswith("40960 cells; a matrix has at most 20000")
    assert (problem.line, problem.column) == (2, 1)


def test_alias_bomb_is_refused_before_it_grows() -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    problems = problems_of("l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(levels))
    assert "more than 20000 keys and values, aliases expanded" in problems[-1].message


def test_alias_inside_its_own_anchor_is_refused() -> None:
    (problem,) = problems_of("name: &a [x, *a]\n")
    assert problem.message == "alias *a stands inside the value that it repeats"
    assert (problem.line, problem.column) == (1, 14)


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: "])
def test_deep_nesting_is_a_message_and_no_recursion(opening: str) -> None:
    (problem,) = problems_of("a:\n " + opening * 20_000)
    assert problem.message == "nested more than 20 levels deep"


def test_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "h200.yaml").write_text(SOUND)
    with pytest.raises(MatrixError) as caught:
        load_matrix(tmp_path / "h20.yaml")
    expected = f"{tmp_path / 'h20.yaml'}: no such file; did you mean {tmp_path / 'h200.yaml'}?"
    assert str(caught.value) == expected
    assert caught.value.exit_code == ExitCode.USAGE


def test_missing_file_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match=r"nowhere/h200\.yaml: no such file$"):
        load_matrix(tmp_path / "nowhere" / "h200.yaml")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="a folder; name the matrix file in it"):
        load_matrix(tmp_path)


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MatrixError, match=r"m\.yaml: cannot be read: Permission denied"):
        load_matrix(tmp_path / "m.yaml")


def test_path_that_no_file_can_have() -> None:
    with pytest.raises(MatrixError, match="cannot be read"):
        load_matrix(Path("a\0b.yaml"))


def test_file_that_is_not_utf8_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: x\n# für\n".encode("latin-1"))
    with pytest.raises(MatrixError, match=r"latin\.yaml:2:4: byte 0xfc is not UTF-8"):
        load_matrix(path)


def test_utf16_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text(SOUND, encoding="utf-16")
    with pytest.raises(MatrixError, match=r"wide\.yaml:1:1: byte 0xff is not UTF-8"):
        load_matrix(path)


def test_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"[" * (MAX_BYTES + 1))
    with pytest.raises(MatrixError, match="the file is larger than 256 KiB"):
        load_matrix(path)
