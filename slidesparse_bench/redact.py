"""Text without secrets, and without what names its owner.

Two kinds of things are replaced. Secrets, wherever they come from: access tokens by their known
shapes, values whose name says that they are secret, credentials in URLs. And what names the owner
of this machine: home folder, user, host, the folders of this program. Replacing is not proof: read
a bundle before you publish it.

Every pattern starts at a literal or at the beginning of a word and stays within one line, so the
time is linear in the text, and line numbers are what they were.
"""

from __future__ import annotations

import functools
import getpass
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REDACTED = "<redacted>"

_SHAPES = {
    "hf_": r"[A-Za-z0-9]{16,}",  # Hugging Face
    **dict.fromkeys(("gho_", "ghp_", "ghr_", "ghs_", "ghu_"), r"[A-Za-z0-9]{16,}"),  # GitHub
    "github_pat_": r"\w{16,}",
    "glpat-": r"[\w-]{16,}",  # GitLab
    **dict.fromkeys(("AKIA", "ASIA"), r"[A-Z0-9]{16}"),  # AWS key id
    "sk-": r"[\w-]{16,}",  # OpenAI, Anthropic and others
    "nvapi-": r"[\w-]{16,}",  # NVIDIA
    **dict.fromkeys(("xoxb-", "xoxp-", "xapp-"), r"[\w-]{10,}"),  # Slack
    "AIza": r"[\w-]{30,}",  # Google
    "eyJ": r"(?<![\w-]eyJ)[\w-]{8,}\.[\w-]{8,}\.[\w-]*",  # JSON Web Token
}
"""How access tokens begin, and go on."""
_TOKENS = tuple(
    # The literal first: `re` then searches ten times as fast. What stands before it comes second.
    re.compile(rf"{beginning}(?<![A-Za-z0-9]{beginning}){rest}")
    for beginning, rest in _SHAPES.items()
)
_NAME = (
    r"(?:token|secrets?|passwords?|passwd|passphrase|api[_-]?keys?|access[_-]?key(?:[_-]?id)?"
    r"|secret[_-]?key|private[_-]?key|credentials?)"
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAME}|authorization)\Z")
_VALUE = (
    r"""(?:"[^"\n]*(?:"|$)|'[^'\n]*(?:'|$)|\\"[^"\n]*(?:"|$)|\[[^\]\n]*(?:\]|$)"""
    r"""|[^\s"',;&)\]}]+)"""
)
_ASSIGNMENT = re.compile(
    rf"""(?i)({_NAME}\\?["']?[ \t]{{0,8}}[=:][ \t]{{0,8}})(?![ \t])({_VALUE})"""
)
_OPTION = re.compile(rf"(?i)((?<!-)--[a-z0-9_-]{{0,40}}{_NAME}[ \t]+)(?!-)({_VALUE})")
_SCHEME = re.compile(
    r"""(?i)\b((?:authorization["']?[ \t]{0,8}[=:][ \t]{0,8}["']?(?:basic|token|bearer)|bearer)"""
    r"""[ \t]+)(?!(?:token|auth\w{0,20})\b)[\w.~+/=-]{6,}"""
)
_HINTS = ("token", "secret", "passw", "passphrase", "key", "credential", "authorization", "bearer")
"""A line with none of these is spared the three slow patterns above."""
_CREDENTIALS = re.compile(r"(://)[^/\s:@]{0,256}:[^/\s@]{1,256}@")
_ADDRESS = re.compile(r"(://)(?!127\.|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_BLANK = re.compile(r"(?i)|none|null|true|false|\*+|<[^<>\n]*>|\[[a-z]+\]")
"""Nothing, a switch, or a marker such as `</s>` and `[MASK]`, the special tokens of tokenizers."""
_QUANTITY = re.compile(r"(?i)[-+]?\d[\d.,e+-]*[ ]?[a-z%]{0,2}")
_SHORTEST_TOKEN = 6
"""`token: str` in the source line of a traceback is no access token."""

_ANY_HOME = re.compile(r"""(/home/|/Users/)[^/\s"'`:;,<>()\[\]{}]{1,64}""")
_ORDINARY = re.compile(
    r"(?:"
    r"admin|app|build|cache|ci|cloud|cluster|compute|container|core|cpu|cuda|"
    r"data|default|demo|dev|device|docker|engine|gpu|guest|head|home|host|"
    r"jenkins|lab|linux|local|localhost|login|machine|main|master|model|models|"
    r"node|nobody|nvidia|pod|prod|python|root|run|runner|server|slurm|test|"
    r"tests|tmp|torch|triton|ubuntu|user|users|vagrant|vllm|work|worker|"
    r"workspace"
    r")[\d_-]*"
)
"""Names of machines and users that are words of any log, also numbered."""
_DEVICE_NAME = re.compile(r"[a-z]{0,3}\d+[a-z]?")
_SHORTEST_NAME = 3


@dataclass(frozen=True)
class Owner:
    """What names the owner of a machine.

    `places` are absolute folders and what to write instead of them. Names that are ordinary words
    of a log (`gpu`, `node3`, `h200`, `root`) identify nobody, and are left alone.
    """

    places: tuple[tuple[str, str], ...] = ()
    user: str = ""
    host: str = ""

    @classmethod
    @functools.cache
    def here(cls) -> Owner:
        """The owner of this machine; what cannot be found out is left empty. Never raises."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container with a user id that has no name
            user = ""
        return cls(_places(), user, platform.node())


def redact(text: str, owner: Owner | None = None) -> str:
    """The text without secrets and without what names the `owner` (default: of this machine).

    Number and order of lines stay; redacting twice changes nothing. Never raises.
    """
    text = "\n".join(map(_without_named, text.split("\n")))
    for token in _TOKENS:
        text = token.sub(REDACTED, text)
    text = _CREDENTIALS.sub(rf"\1{REDACTED}@", text)
    text = _ADDRESS.sub(r"\1<address>", text)
    for pattern, stand_in in _rules(owner or Owner.here()):
        text = pattern.sub(stand_in, text)
    return text


def redact_value(name: str, value: str, owner: Owner | None = None) -> str:
    """The value of a variable, option or key: nothing of it when the name says it is secret."""
    return REDACTED if _hides(name, value) else redact(value, owner)


def redact_json(value: Any, owner: Owner | None = None, name: str = "") -> Any:
    """The same for a tree of JSON values; keys and the shape stay, and numbers but secret ones.

    `name` is the key that the value stands under. Under a secret one everything is secret.
    """
    if isinstance(value, str):
        return redact_value(name, value, owner)
    if isinstance(value, Mapping):
        inherited = name if _SECRET_NAME.search(name) else ""
        return {key: redact_json(item, owner, inherited or str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_json(item, owner, name) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return REDACTED if is_number and _hides(name, str(value)) else value


def redact_yaml(text: str, owner: Owner | None = None) -> str:
    """The same for a YAML file, whose values are found however they are written.

    Comments, order and lines stay. What is no YAML is taken as any other text.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return redact(text, owner)
    seen: set[int] = set()
    spans = [span for root in documents for span in _secret_spans(root, seen)]
    for begin, end in reversed(_outermost(spans)):
        written = text[begin:end]
        kept = len(written.rstrip())
        lines = "\n" * written[:kept].count("\n")
        text = f"{text[:begin]}{REDACTED}{lines}{written[kept:]}{text[end:]}"
    return redact(text, owner)


def _outermost(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """In order, those that lie in no other: an alias is the node that its anchor names, once more."""
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


def _secret_spans(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Where in the text the values of secret keys stand; an anchor may lead back to its own parent."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _secret_spans(item, seen)
        return
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not _SECRET_NAME.search(name):
            yield from _secret_spans(value, seen)
        elif not isinstance(value, yaml.ScalarNode) or _hides(name, value.value):
            yield value.start_mark.index, value.end_mark.index


def redact_command(arguments: list[str], owner: Owner | None = None) -> list[str]:
    """The same for a command: also the argument after an option such as `--hf-token`."""
    names = ["", *(each if each.startswith("--") else "" for each in arguments)]
    return [redact_value(name, each, owner) for name, each in zip(names, arguments, strict=False)]


def _without_named(line: str) -> str:
    lower = line.lower()
    if not any(hint in lower for hint in _HINTS):
        return line
    line = _SCHEME.sub(rf"\1{REDACTED}", line)
    line = _ASSIGNMENT.sub(_without_value, line)
    return _OPTION.sub(_without_value, line)


def _without_value(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if value.startswith("["):
        return f"{name}[{REDACTED}]" if re.search(r"[A-Za-z]", value) else match[0]
    quote = next((each for each in ('\\"', '"', "'") if value.startswith(each)), "")
    inner = value[len(quote) :]
    closing = quote if quote and inner.endswith(quote) else ""
    if _is_no_secret(name, inner.removesuffix(closing)):
        return match[0]
    return f"{name}{quote}{REDACTED}{closing}"


def _hides(name: str, value: str) -> bool:
    """Whether what stands under this name is a secret."""
    return _SECRET_NAME.search(name) is not None and not _is_no_secret(name, value)


def _is_no_secret(name: str, value: str) -> bool:
    if _BLANK.fullmatch(value):
        return True
    is_token = "token" in name.lower()  # a word of the field: `time per output token: 12 ms`
    return is_token and (len(value) < _SHORTEST_TOKEN or bool(_QUANTITY.fullmatch(value)))


_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


@functools.lru_cache(maxsize=8)
def _rules(owner: Owner) -> tuple[_Rule, ...]:
    """Longest folder first: the environment may lie in the checkout, and that in the home."""
    rules: list[_Rule] = [
        (_folder(path), stand_in)
        for path, stand_in in sorted(owner.places, key=lambda place: -len(place[0]))
        if path.startswith("/") and path.strip("/")
    ]
    rules.append((_ANY_HOME, r"\1<user>"))
    if _identifies(owner.user):
        # `/scratch/ada/x` and `/tmp/torchinductor_ada/x`
        name = re.escape(owner.user)
        rules.append((re.compile(rf"(/(?:\w{{1,40}}_)?){name}(?![\w-])"), r"\1<user>"))
    host = owner.host.partition(".")[0]
    if _identifies(host):
        name = re.escape(host)
        domain = r"(?:(?:\.[A-Za-z0-9-]{1,63}){2,8})?"
        rules.append((re.compile(rf"{name}(?<![\w.-]{name}){domain}(?![\w-])"), "<host>"))
    return tuple(rules)


def _folder(path: str) -> re.Pattern[str]:
    """The folder as a whole path or at the beginning of one, also after `-I` and `-L`."""
    place = re.escape(path.rstrip("/"))
    before = rf"(?:(?<![\w.~>-]{place})|(?<=\s-[A-Z]{place}))"
    return re.compile(rf"{place}{before}(?![\w-])(?!\.\w)")


def _identifies(name: str) -> bool:
    """Whether replacing this name hides somebody, rather than maiming a log."""
    lower = name.lower()
    return (
        len(lower) >= _SHORTEST_NAME
        and not _ORDINARY.fullmatch(lower)
        and not _DEVICE_NAME.fullmatch(lower)
    )


def _places() -> tuple[tuple[str, str], ...]:
    """Folders of this machine; each as it is called and as it is when links are followed."""
    checkout = Path(__file__).absolute().parents[1]
    found = [(os.path.expanduser("~"), "~")]  # noqa: PTH111 - Path.home() raises without one
    if (checkout / "pyproject.toml").is_file():
        found.append((str(checkout), "<repo>"))
    if sys.prefix != sys.base_prefix:
        found.append((sys.prefix, "<venv>"))
    real = [(os.path.realpath(path), stand_in) for path, stand_in in found]
    return tuple(dict.fromkeys([*found, *real]))
