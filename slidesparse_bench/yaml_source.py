"""YAML as it was written: text, places, and nothing guessed.

PyYAML's own loader reads `2:4` as 124, `2_4` as 24 and `no` as False, and lets a repeated key win
silently. Here plain scalars stay text, a repeated key is a problem, and every key and value knows
its line and column. The tree is built from the parser's events, not with `yaml.compose()`, which
recurses (a file of brackets ends it) and has no bound on aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml import events

from slidesparse_bench.errors import MatrixError, Problem

MAX_BYTES = 256 * 1024
"""Size of a file; a full matrix of this project is about 2 KiB."""
MAX_DEPTH = 20
"""Lists and mappings inside each other."""
MAX_NODES = 20_000
"""Keys and values after aliases are expanded."""

KeyPath = tuple[str | int, ...]
"""Where a value stands: mapping keys and list indices from the top."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_CORE_TAG = "tag:yaml.org,2002:"
_NOT_YAML = re.compile(yaml.reader.Reader.NON_PRINTABLE.pattern)
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


_GLOB_HINT = "if it is a glob, put it in quotes: '*.int8.*'"
_IN_PLAIN_WORDS = (
    (r"'\\t' that cannot start", "a tab cannot indent in YAML; use spaces"),
    (r"character (.+) that cannot start", r"text that begins with \1 must be in quotes"),
    (r"scanning an alias", f"an alias *name does not continue like this; {_GLOB_HINT}"),
    (r"quoted scalar: found unexpected end", "the quote opened<start> is never closed"),
    (r"expected ',' or '(.)'", r"a ',' or '\1' is missing here for the bracket opened<start>"),
    (
        r"expected <block end>, but found '<block",
        "indented unlike the lines of its block, begun<start>",
    ),
    (
        r"mapping values are not allowed",
        "a ':' that begins no value here; check the indentation, or quote text that holds ': '",
    ),
)
"""What PyYAML says (`context: problem`), and the same for somebody who does not know its grammar."""


class Position(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass
class _Node:
    """One value. A mapping maps its key to where the key stands and to the value's node."""

    position: Position
    value: str | list[_Node] | dict[str, tuple[Position, _Node]] | None
    plain: bool = False
    size: int = 1

    def child(self, step: str | int) -> _Node | None:
        if isinstance(self.value, dict) and step in self.value:
            return self.value[str(step)][1]
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def as_data(self) -> Any:
        if isinstance(self.value, dict):
            return {key: node.as_data() for key, (_, node) in self.value.items()}
        if isinstance(self.value, list):
            return [node.as_data() for node in self.value]
        return self.value


@dataclass(frozen=True)
class Source:
    """A YAML mapping and the place of everything in it.

    `problems` are those that did not stop the reading: repeated keys, tags, keys that are no text.
    What an alias or a merge key `<<` brings in stands where it was written, at the anchor.
    """

    path: str
    root: _Node
    problems: list[Problem] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        """Plain dict, list, str and None (an empty or `null` plain scalar), a new copy each time."""
        data = self.root.as_data()
        assert isinstance(data, dict)
        return data

    def locate(self, path: KeyPath) -> Position:
        """Where the value at `path` stands, or the innermost value around it that exists."""
        return self._nearest(path)[0].position

    def locate_key(self, path: KeyPath) -> Position:
        """Where the key that ends `path` stands; a list item is its own key."""
        parent, missed = self._nearest(path[:-1])
        if path and not missed and isinstance(parent.value, dict) and path[-1] in parent.value:
            return parent.value[str(path[-1])][0]
        return self.locate(path)

    def is_plain(self, path: KeyPath) -> bool:
        """Whether the value is a scalar written without quotes."""
        node, missed = self._nearest(path)
        return node.plain and not missed

    def raw(self, path: KeyPath) -> Any:
        """The value at `path` as plain data, None where there is none."""
        node, missed = self._nearest(path)
        return None if missed else node.as_data()

    def problem(self, path: KeyPath, message: str, *, at_key: bool = False) -> Problem:
        """A problem with the value (or the key) at `path`."""
        position = self.locate_key(path) if at_key else self.locate(path)
        return Problem(self.path, position.line, position.column, message)

    def _nearest(self, path: KeyPath) -> tuple[_Node, bool]:
        node = self.root
        for step in path:
            inner = node.child(step)
            if inner is None:
                return node, True
            node = inner
        return node, False


def decode(data: bytes, path: str) -> str:
    """The text of a file's bytes, a byte order mark included.

    Raises:
        MatrixError: larger than MAX_BYTES, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1024} KiB; no matrix needs that"
        raise MatrixError([Problem(path, 1, 1, message)])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        position = _end_of(before)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise MatrixError([Problem(path, *position, message)]) from error


def read(text: str, path: str) -> Source:
    """Read one YAML document whose top is a mapping; `path` names it in messages.

    Raises:
        MatrixError: not YAML, more than one document, empty, no mapping, or beyond the limits.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        message = f"the text is longer than {MAX_BYTES} characters; no matrix needs that"
        raise MatrixError([Problem(path, 1, 1, message)])
    if found := _NOT_YAML.search(text):
        message = f"character U+{ord(found[0]):04X} is not allowed in YAML; remove it"
        raise MatrixError([Problem(path, *_end_of(text[: found.start()]), message)])
    return _Builder(text, path).document()


def _end_of(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


class _Builder:
    """Builds the tree of one document from parser events; every limit is checked on the way."""

    def __init__(self, text: str, path: str) -> None:
        self.path = path
        self.loader = yaml.SafeLoader(text)
        self.events = self._events()
        self.anchors: dict[str, _Node | None] = {}
        self.nodes = 0
        self.problems: list[Problem] = []

    def document(self) -> Source:
        next(self.events)
        event = next(self.events)
        if isinstance(event, events.StreamEndEvent):
            self._stop(Position(1, 1), "the file is empty; a mapping (`key: value`) is expected")
        root = self._node(next(self.events), depth=0)
        next(self.events)
        event = next(self.events)
        if not isinstance(event, events.StreamEndEvent):
            self._stop(_position(event), "a second document begins here; one file holds one")
        if not isinstance(root.value, dict):
            what = "a list" if isinstance(root.value, list) else "a single value"
            self._stop(root.position, f"the top is {what}; a mapping (`key: value`) is expected")
        return Source(self.path, root, self.problems)

    def _events(self) -> Iterator[events.Event]:
        while True:
            try:
                event: events.Event = self.loader.get_event()  # type: ignore[no-untyped-call]
            except yaml.MarkedYAMLError as error:
                self._stop(*_syntax(error))
            except (ValueError, OverflowError):
                # PyYAML hands an escape such as "\U99999999" straight to chr().
                self._stop(
                    _from_mark(self.loader.get_mark()),
                    "not valid YAML: an escape that is no character",
                )
            yield event

    def _node(self, event: events.Event, depth: int) -> _Node:
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        assert isinstance(event, events.NodeEvent)
        self._count(1, event)
        if depth > MAX_DEPTH:
            self._stop(_position(event), f"nested more than {MAX_DEPTH} levels deep")
        self._refuse_tag(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        node = self._collection(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _collection(self, event: events.NodeEvent, depth: int) -> _Node:
        if isinstance(event, events.SequenceStartEvent):
            return self._sequence(event, depth)
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(event, depth)
        assert isinstance(event, events.ScalarEvent)
        return self._scalar(event)

    def _scalar(self, event: events.ScalarEvent) -> _Node:
        plain = not event.style
        if found := _NOT_TEXT.search(event.value):
            message = f"the text holds the character U+{ord(found[0]):04X}, which has no use here"
            self._add(_position(event), message)
        null = plain and event.value in _NULLS
        return _Node(_position(event), None if null else event.value, plain)

    def _sequence(self, start: events.Event, depth: int) -> _Node:
        items: list[_Node] = []
        while not isinstance(event := next(self.events), events.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _Node(_position(start), items, size=1 + sum(item.size for item in items))

    def _mapping(self, start: events.Event, depth: int) -> _Node:
        entries: dict[str, tuple[Position, _Node]] = {}
        merged: dict[str, tuple[Position, _Node]] = {}
        size = 1
        while not isinstance(event := next(self.events), events.MappingEndEvent):
            key = self._node(event, depth + 1)
            position = _position(event)
            value = self._node(next(self.events), depth + 1)
            size += key.size + value.size
            if key.plain and key.value == "<<":
                merged = self._merged(value) | merged
            else:
                self._enter(entries, key, position, value)
        return _Node(_position(start), merged | entries, size=size)

    def _enter(
        self,
        entries: dict[str, tuple[Position, _Node]],
        key: _Node,
        position: Position,
        value: _Node,
    ) -> None:
        if isinstance(key.value, (list, dict)) or (key.value is None):
            self._add(position, "a key must be text")
        elif key.value in entries:
            line = entries[key.value][0].line
            self._add(position, f"key '{key.value}' appears twice; the first is on line {line}")
        else:
            entries[key.value] = (position, value)

    def _merged(self, value: _Node) -> dict[str, tuple[Position, _Node]]:
        """What `<<` brings in: of several mappings, the first that has a key wins (YAML 1.1)."""
        sources = value.value if isinstance(value.value, list) else [value]
        merged: dict[str, tuple[Position, _Node]] = {}
        for source in sources:
            if isinstance(source.value, dict):
                merged = source.value | merged
            else:
                self._add(source.position, "`<<` merges mappings only: `<<: *anchor`")
        return merged

    def _alias(self, event: events.AliasEvent) -> _Node:
        name = str(event.anchor)
        if name not in self.anchors:
            self._stop(_position(event), f"no anchor &{name} before this alias; {_GLOB_HINT}")
        node = self.anchors[name]
        if node is None:
            self._stop(_position(event), f"alias *{name} stands inside the value that it repeats")
        self._count(node.size, event)
        return node

    def _count(self, nodes: int, event: events.Event) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            message = (
                f"more than {MAX_NODES} keys and values, aliases expanded; no matrix needs that"
            )
            self._stop(_position(event), message)

    def _refuse_tag(self, event: events.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            written = tag.replace(_CORE_TAG, "!!")
            self._add(_position(event), f"tag {written} has no meaning here; remove it")

    def _add(self, position: Position, message: str) -> None:
        self.problems.append(Problem(self.path, *position, message))

    def _stop(self, position: Position, message: str) -> NoReturn:
        raise MatrixError([*self.problems, Problem(self.path, *position, message)])


def _position(event: events.Event) -> Position:
    return _from_mark(event.start_mark)


def _from_mark(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _syntax(error: yaml.MarkedYAMLError) -> tuple[Position, str]:
    position = _from_mark(error.problem_mark or error.context_mark)
    context = str(error.context or "")
    start = f" on line {error.context_mark.line + 1}" if error.context_mark else ""
    problem = str(error.problem or context)
    for pattern, words in _IN_PLAIN_WORDS:
        if found := re.search(pattern, f"{context}: {problem}"):
            return position, found.expand(words).replace("<start>", start)
    return position, f"not valid YAML: {problem}" + (f" ({context}{start})" if context else "")
