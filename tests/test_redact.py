"""What may be published: no secret, nothing that names the owner, and a log that still reads."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slidesparse_bench.redact import (
    REDACTED,
    Owner,
    redact,
    redact_command,
    redact_json,
    redact_value,
    redact_yaml,
)

ADA = Owner(
    places=(
        ("/home/ada", "~"),
        ("/home/ada/bench", "<repo>"),
        ("/home/ada/bench/.venv", "<venv>"),
    ),
    user="ada",
    host="lovelace.example.org",
)
NOBODY = Owner()
# Put together here, so that no scanner takes this file for a leak.
HUGGING_FACE = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"
GITHUB = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


@pytest.mark.parametrize(
    "secret",
    [
        HUGGING_FACE,
        GITHUB,
        "github_pat_" + "11ABCDEFG0abcdefghij_klmnopqrstuvwxyz",
        "sk-" + "proj-0123456789abcdefABCDEF",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "glpat-" + "0123456789abcdefABCD",
        "nvapi-" + "0123456789abcdefABCDEF-_x",
        "xoxb-" + "1234567890-abcdefgh",
        "AIza" + "SyA0123456789abcdefghijklmnopqrstuv",
        "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123",
    ],
)
@pytest.mark.parametrize("around", ["{}", "trying {} now", "x={},", "'{}'", "/cache/{}/model"])
def test_access_token_of_a_known_shape_is_replaced_anywhere(secret, around):
    assert redact(around.format(secret), NOBODY) == around.format(REDACTED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HF_TOKEN=abcdefgh", f"HF_TOKEN={REDACTED}"),
        ("hf_token: abcdefgh", f"hf_token: {REDACTED}"),
        ("{'hf_token': 'abcdefgh', 'seed': 0}", f"{{'hf_token': '{REDACTED}', 'seed': 0}}"),
        ('{"api_key": "x"}', f'{{"api_key": "{REDACTED}"}}'),
        ('{\\"hf_token\\": \\"abcdefgh\\"}', f'{{\\"hf_token\\": \\"{REDACTED}\\"}}'),
        ("api_key=['one', 'two'], seed=0", f"api_key=[{REDACTED}], seed=0"),
        ("password: 123", f"password: {REDACTED}"),
        ("export AWS_SECRET_ACCESS_KEY=a/b+c", f"export AWS_SECRET_ACCESS_KEY={REDACTED}"),
        ("serve --api-key abc --seed 1", f"serve --api-key {REDACTED} --seed 1"),
        ("serve --hf-token=abcdefgh", f"serve --hf-token={REDACTED}"),
        ("Authorization: Bearer abc.def-1", f"Authorization: Bearer {REDACTED}"),
        ("authorization: Basic dXNlcjpwdw==", f"authorization: Basic {REDACTED}"),
        ("https://ada:pw@git.example.org/x", f"https://{REDACTED}@git.example.org/x"),
        ("token='abcdefgh", f"token='{REDACTED}"),
        ("tcp://192.0.2.2:57383 backend=nccl", "tcp://<address>:57383 backend=nccl"),
    ],
)
def test_value_whose_name_says_it_is_secret_is_replaced(text, expected):
    assert redact(text, NOBODY) == expected


@pytest.mark.parametrize(
    "text",
    [
        "INFO Avg prompt throughput: 33.1 tokens/s, max_num_batched_tokens=513",
        "time per output token: 12.345 ms",
        "def f(token: str, api_key=None):",
        "{'eos_token': '<|endoftext|>', 'mask_token': '[MASK]', 'pad_token_id': 151643}",
        "skip_tokenizer_init=True, hf_overrides={}, hf_config_path=None",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN=1",
        "nvidia-cublas 13.1.0.3 on tcp://127.0.0.1:5000",
        "ValueError: No available memory for the cache blocks. Try gpu_memory_utilization",
        "KeyError: 'token'",
        "bearer token is missing",
    ],
)
def test_ordinary_words_of_a_log_stay(text):
    assert redact(text, NOBODY) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ada/.cache/x", "~/.cache/x"),
        ("in /home/ada.", "in ~."),
        ("/home/ada/bench/slidesparse_bench/a.py", "<repo>/slidesparse_bench/a.py"),
        ("/home/ada/bench/.venv/lib/x.py:12", "<venv>/lib/x.py:12"),
        ("PATH=/usr/bin:/home/ada/bin", "PATH=/usr/bin:~/bin"),
        ("g++ -I/home/ada/include", "g++ -I~/include"),
        ("/home/ada2/x and /home/bob/y", "/home/<user>/x and /home/<user>/y"),
        ("/tmp/torchinductor_ada/z", "/tmp/torchinductor_<user>/z"),
        ("/scratch/ada/models", "/scratch/<user>/models"),
        ("adaptive /usr/share/adapters ada", "adaptive /usr/share/adapters ada"),
        ("on lovelace: ok", "on <host>: ok"),
        ("lovelace.example.org:8000 /data/lovelaces", "<host>:8000 /data/lovelaces"),
    ],
)
def test_what_names_the_owner_is_replaced_as_whole_words(text, expected):
    assert redact(text, ADA) == expected


@pytest.mark.parametrize("host", ["gpu", "GPU0", "test", "node07", "h200", "localhost", "ab", ""])
def test_host_name_that_is_a_word_of_any_log_stays(host):
    text = "gpu GPU0 test node07 h200 localhost ab"
    assert redact(text, Owner(host=host)) == text


def test_user_name_that_is_a_word_of_any_path_stays():
    assert (
        redact("/data/root/x /data/ubuntu/y", Owner(user="root")) == "/data/root/x /data/ubuntu/y"
    )


def test_home_of_a_container_without_users_hides_nothing():
    assert redact("/etc/hosts /usr", Owner(places=(("/", "~"),))) == "/etc/hosts /usr"


def test_this_machine_has_an_owner_whose_folders_are_absolute():
    assert all(path.startswith("/") for path, _ in Owner.here().places)
    assert redact(__file__) != __file__


def test_json_keeps_keys_numbers_and_shape():
    value = {
        "hf_token": "abcdefgh",
        "api_key": ["x", "y"],
        "seed": 1,
        "path": "/home/ada/m",
        "n": None,
    }
    assert redact_json(value, ADA) == {
        "hf_token": REDACTED,
        "api_key": [REDACTED, REDACTED],
        "seed": 1,
        "path": "~/m",
        "n": None,
    }


def test_argument_after_a_secret_option_is_replaced():
    command = [
        "slidesparse",
        "run",
        "m.yaml",
        "--hf-token",
        "abcdefgh",
        "--set",
        "api_key=abcdefgh",
    ]
    assert redact_command(command, NOBODY)[3:] == [
        "--hf-token", REDACTED, "--set", f"api_key={REDACTED}",
    ]  # fmt: skip


def test_value_of_a_secret_variable_needs_no_known_shape():
    assert redact_value("HF_TOKEN", "anything at all", NOBODY) == REDACTED
    assert redact_value("VLLM_USE_FLASHINFER_SAMPLER", "0", NOBODY) == "0"


FRAGMENTS = st.sampled_from(
    [
        "token", "api_key", "password", "authorization", "Bearer ", "--", "=", ": ", " ", "\n", "'",
        '"', '\\"', "[", "]", ",", "/", "/home/", "ada", "/home/ada", "/home/ada/bench", "_ada",
        "lovelace", ".example.org", "-", ".", "://", "@", "192.0.2.2", "hf_", "abcdefgh12345678",
        "sk-", "eyJ", "None", "x", "<redacted>", "~", "<user>", "\r", "\x00", "ü", "\udc80",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=12).map("".join))


@given(TEXTS)
@example("authorization: Bearer abcdefgh12345678")
def test_redacting_twice_changes_nothing_more(text):
    once = redact(text, ADA)
    assert redact(once, ADA) == once


@given(TEXTS)
def test_every_line_stays_in_its_place(text):
    assert redact(text, ADA).count("\n") == text.count("\n")


@given(st.lists(FRAGMENTS, max_size=6).map("".join), st.lists(FRAGMENTS, max_size=6).map("".join))
def test_known_token_never_survives(before, after):
    # A letter or digit right before it would make it another word.
    assert HUGGING_FACE not in redact(f"{before} {HUGGING_FACE}{after}", ADA)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: st.lists(inner) | st.dictionaries(FRAGMENTS, inner),
        max_leaves=8,
    )
)
def test_redacted_json_is_json_with_the_same_keys(value):
    redacted = redact_json(value, ADA)
    assert json.loads(json.dumps(redacted)) == redacted
    assert shape(redacted) == shape(value)


def shape(value):
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str if is_number else type(value)  # a number that is secret becomes a text


# Trees


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ({"private_key": 94739201847}, {"private_key": REDACTED}),
        ({"credentials": {"value": "abc", "n": [1]}}, {"credentials": {"value": REDACTED, "n": [REDACTED]}}),
        ({"next_token": 7, "password": None, "secret": True}, {"next_token": 7, "password": None, "secret": True}),
        ({"api_keys": ["abc", 12]}, {"api_keys": [REDACTED, REDACTED]}),
    ],
)  # fmt: skip
def test_everything_below_a_secret_key_is_secret(value, clean):
    assert redact_json(value, NOBODY) == clean


@pytest.mark.parametrize(
    "written",
    [
        "password: S3CRETone S3CRETtwo S3CRETthree",
        "passphrase: S3CRETx,S3CRETy;S3CRETz",
        "secret: |\n  S3CRETa\n  S3CRETb",
        "access_key:\n  S3CRETbelow",
        "headers: {Authorization: S3CRETplain}",
        "credentials:\n  user: S3CRETu\n  value: [S3CRETv, 1]",
        "password: 'S3CRET it''s'  # why",
    ],
)
def test_no_secret_of_a_yaml_file_stays_however_it_is_written(written):
    text = f"name: a\n{written}\nmodels: [m]  # a comment\n"
    clean = redact_yaml(text, NOBODY)
    assert "S3CRET" not in clean
    assert clean.startswith("name: a\n")
    assert clean.endswith("\nmodels: [m]  # a comment\n")
    assert clean.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            "engine_args: {hf_token: &t S3CRETxyz}\noverrides: [{match: a, engine_args: {hf_token: *t}}]\n",
            "engine_args: {hf_token: <redacted>}\noverrides: [{match: a, engine_args: {hf_token: *t}}]\n",
        ),
        (
            "load: &c {token: S3CRETa, password: b, user: S3CRETb}\ncredentials: *c\nn: 1\n",
            "load: <redacted>\ncredentials: <redacted>\nn: 1\n",
        ),
        ("a: 1\n---\nsecret: |\n  S3CRET\n", "a: 1\n---\nsecret: <redacted>\n\n"),
    ],
    ids=["alias of a secret", "alias that makes a secret", "two documents"],
)  # fmt: skip
def test_aliases_and_documents_destroy_nothing_and_hide_everything(text, clean):
    found = redact_yaml(text, NOBODY)
    assert "S3CRET" not in found
    assert found.replace("\n\n", "\n") == clean.replace("\n\n", "\n")


@pytest.mark.parametrize(
    "text", ["a: [1, 2\npassword: S3CRETx\n", "a: &a\n  b: *a\n  token: S3CRETx\n"]
)
def test_broken_and_circular_yaml_is_redacted_all_the_same(text):
    assert "S3CRET" not in redact_yaml(text, NOBODY)
