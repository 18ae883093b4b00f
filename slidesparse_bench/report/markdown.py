"""Markdown primitives and the words of numbers and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def one_line(text: str) -> str:
    """Runs of white space as one space; what has no shape (terminal codes in logs) as `�`."""
    words = " ".join(text.split())
    return "".join(character if character.isprintable() else "�" for character in words)


_OURS = r"\[\d+\](?![(:])|(?<!\S)~(?=\d)"
"""The mark of a note, `[1]`, and `~1.01x`: no markup either, and plainer as they are."""
_MARKUP = r"[\\`*<\[\]&~]|(?<![^\W_])_|_(?![^\W_])"
"""`_` within a word is no markup."""
_SPECIAL = re.compile(f"({_OURS})|({_MARKUP})")


def escaped(text: str) -> str:
    """Text in which nothing is taken for Markdown or HTML."""
    return _SPECIAL.sub(lambda found: found[1] or f"\\{found[2]}", text)


def plain(text: str) -> str:
    """Text of others on one line, so that nothing in it is taken for Markdown or HTML."""
    return escaped(one_line(text))


def code(text: str) -> str:
    """Inline code, with as many backticks as the text demands."""
    text = one_line(text)
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (_longest_run(text) + 1)
    return f"{ticks} {text} {ticks}"


def fence(text: str, language: str = "") -> str:
    """A code block, fenced by more backticks than the text has in a row."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def details(summary: str, body: str) -> str:
    """A block that is closed until the reader opens it."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def blocks(parts: Iterable[str]) -> str:
    """Paragraphs, lists and tables, one empty line between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part)


def bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def counted(number: int, noun: str) -> str:
    """`1 cell`, `1,024 cells`, `2 processes`."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def shortened(text: str, limit: int) -> str:
    """One line of at most `limit` characters; `…` tells that something is missing."""
    text = one_line(text)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def percent(share: float) -> str:
    """A share as `25 %`, below 10 % with one decimal: `0.4 %`."""
    value = 100 * share
    return f"{value:.0f} %" if value == 0 or value >= 9.95 else f"{value:.1f} %"


def round_percent(share: float) -> str:
    """A share that somebody chose, without needless digits: `1 %`, `0.5 %`."""
    return f"{100 * share:.6g} %"


def m_ranges(ms: Iterable[int], planned: Iterable[int]) -> str:
    """Values of M, three or more neighbours of the planned list as a range: `64, 512 … 4096`."""
    order = {m: place for place, m in enumerate(sorted(set(planned)))}
    runs: list[list[int]] = []
    for m in sorted(set(ms)):
        if runs and order.get(m, -1) == order.get(runs[-1][-1], -3) + 1:
            runs[-1].append(m)
        else:
            runs.append([m])
    return ", ".join(
        f"{run[0]} … {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )
