"""The HTML report: one file that stands alone, is well formed, and says what the Markdown says."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builders import CELL, build_failed, build_failure, build_passed, build_run

from slidesparse_bench.report import ReportInputs, write_report
from slidesparse_bench.report.blocks import (
    Alert,
    Fold,
    Foreign,
    Grid,
    Head,
    Heading,
    Image,
    Listing,
)
from slidesparse_bench.report.blocks import Paragraph as Words
from slidesparse_bench.report.document import document_of
from slidesparse_bench.report.html_writer import html_of
from slidesparse_bench.report.languages import CHINESE, ENGLISH
from slidesparse_bench.report.view import view_of
from slidesparse_bench.report.words import Code, say

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a test asks of a page: tags in balance, attributes, text by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(*blocks, language=ENGLISH, images=Path("nowhere")) -> Page:
    return Page(html_of(list(blocks), language, images))


def inputs() -> ReportInputs:
    ids = [
        f"qwen2.5-7b.int8.{b}.prefill.m{m}" for b in ("cutlass", "cublaslt") for m in (512, 1024)
    ]
    failed = build_failed(CELL, build_failure(root_cause="a <script>alert(1)</script> & `b`"))
    run = build_run({**{each: build_passed(each) for each in ids}, CELL: failed})
    gpu = {"name": "NVIDIA H200", "memory_gib": 139.8, "compute_capability": "9.0"}
    environment = {"engine": "vllm", "gpus": [gpu]}
    notes = "Against <b>nothing</b>."
    return ReportInputs(run, Path("runs") / run.run_id, environment=environment, notes=notes)


@pytest.fixture(scope="module", params=["en", "zh"])
def written(request, tmp_path_factory) -> tuple[str, str]:
    """The text of the HTML file of a whole report, and its language."""
    folder = tmp_path_factory.mktemp("report")
    paths = write_report(inputs(), folder, lang=request.param, formats=["html"])
    return paths[0].read_text(encoding="utf-8"), request.param


def test_every_tag_is_closed_in_order(written):
    assert Page(written[0]).wrong == []


def test_page_names_its_language_and_has_a_title(written):
    found = Page(written[0])
    assert found.all("html") == [{"lang": written[1]}]
    assert "h200-20260301-100000" in found.texts["title"][0]


def test_nothing_is_fetched(written):
    found = Page(written[0])
    sources = [each.get("src") or "" for name in ("img", "script") for each in found.all(name)]
    assert [
        source[:22] for source in sources if not source.startswith("data:image/png;base64,")
    ] == []
    assert found.all("script") == found.all("link") == found.all("iframe") == []
    assert re.findall(r"url\(|@import|https?://", "".join(found.texts["style"])) == []
    links = [each.get("href") or "" for each in found.all("a")]
    assert [link for link in links if not link.startswith("#")] == []


def test_every_link_leads_to_one_place(written):
    found = Page(written[0])
    anchors = Counter(a["id"] for _, a in found.tags if a.get("id"))
    assert [name for name, count in anchors.items() if count > 1] == []
    assert [a["href"] for a in found.all("a") if (a["href"] or "")[1:] not in anchors] == []


def test_page_begins_with_a_skip_link_to_its_content(written):
    found = Page(written[0])
    assert found.all("a")[0] == {"class": "skip", "href": "#content"}
    assert found.all("main") == [{"id": "content"}]


def test_images_have_alternative_texts(written):
    pytest.importorskip("matplotlib")
    images = Page(written[0]).all("img")
    assert len(images) == 2
    assert all(each["alt"] for each in images)


def test_every_table_has_a_caption_heads_and_a_box_that_scrolls(written):
    found = Page(written[0])
    tables, boxes = (
        len(found.all("table")),
        [a for a in found.all("div") if a.get("role") == "region"],
    )
    assert tables > 10
    assert len(found.all("caption")) == len(boxes) == tables
    assert {a["scope"] for a in found.all("th")} == {"col", "row"}
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_headings_do_not_skip_a_level(written):
    levels = [int(name[1]) for name, _ in Page(written[0]).tags if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_text_of_others_is_never_markup(written):
    assert "<script>" not in written[0]
    assert "a &lt;script&gt;alert(1)&lt;/script&gt; &amp; `b`" in written[0]
    assert "Against &lt;b&gt;nothing&lt;/b&gt;." in written[0]


def test_style_knows_dark_print_and_phones(written):
    style = "".join(Page(written[0]).texts["style"])
    for feature in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", "sticky"):
        assert feature in style


def test_colours_have_the_contrast_that_wcag_asks_of_text(written):
    style = "".join(Page(written[0]).texts["style"])
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media")[:2]
    ]
    for colours in schemes:
        for ink, paper in (("ink", "paper"), ("ink", "tint"), ("ink", "head"), ("soft", "paper")):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        assert contrast(colours["link"], colours["paper"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_html_has_the_tables_of_the_document():
    document = document_of(view_of(inputs()))
    grids = [block for block in flat(document) if isinstance(block, Grid)]
    rows = sum(len(table.rows) + 1 for table in grids)
    assert html_of(document, ENGLISH, Path("nowhere")).count("<tr>") == rows


def flat(blocks):
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from flat(block.blocks)


def test_both_languages_have_the_same_anchors():
    document = document_of(view_of(inputs()))
    names = [
        [a.get("id") for _, a in Page(html_of(document, language, Path("x"))).tags if a.get("id")]
        for language in (ENGLISH, CHINESE)
    ]
    assert names[0] == names[1]


def test_equal_headings_get_different_anchors():
    found = page(Heading(1, "t"), Heading(2, "a b"), Heading(2, "a b"), Heading(2, "…"))
    assert [a["id"] for a in found.all("h2")] == ["a-b", "a-b-2", "section"]


def test_each_kind_of_block_has_its_tag():
    found = page(
        Heading(1, "title"),
        Alert(say("**Advice:** {advice}", advice=Code("x<y"))),
        Words("text"),
        Listing("a\n  b"),
        Foreign("*md*"),
        Fold("more", (Words("inside"),)),
        Grid("caption", (Head("k"), Head("n", right=True)), (("a", 1), ("b", None))),
    )
    assert found.wrong == []
    assert found.texts["strong"] == ["Advice:"]
    assert found.texts["code"] == ["x<y"]
    assert found.texts["pre"] == ["a\n  b", "*md*"]
    assert found.texts["summary"] == ["more"]
    assert found.texts["td"] == ["1"]
    assert [a.get("class") for a in found.all("td")] == ["number", "number"]


def test_image_that_was_not_drawn_leaves_its_alternative_text(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    found = page(Heading(1, "t"), Image("a.png", "seen"), Image("b.png", "lost"), images=tmp_path)
    assert [a["alt"] for a in found.all("img")] == ["seen"]
    assert "lost" in found.texts["p"]
