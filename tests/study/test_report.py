"""The report: what it says follows from the figures, whatever names and gaps they have, and it needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparisons import FEW, Entrant, knocked, results
from palate.core.artefact import write_json
from palate.study.drawing import draw, standalone
from palate.study.findings import Findings, read_findings
from palate.study.report import page, tables_latex, tables_markdown, write_docs, write_report
from palate.study.report_reading import reading
from palate.study.report_tables import every_pair, pairs, quality
from palate.study.report_words import NAME, short_names, shortened
from palate.study.tabular import Cell, Column, Table, latex, latex_text, markdown, markdown_text

NASTY = "<script>alert('x')</script> $x_1$ & a|b*c* \\input{y} # 50%"
WAYS = [knocked("bm3", "text", how, 0.05, how == "absent") for how in ("absent", "noise")]


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return results(FEW, knock_out=WAYS)


@pytest.fixture(scope="module")
def text(stored: dict[str, Any]) -> str:
    return page(found_in(stored))


def found_in(stored: Mapping[str, Any]) -> Findings:
    return Findings.parse(json.loads(json.dumps(stored)))


def said(found: Findings) -> str:
    return "\n".join(line for passage in reading(found) for line in passage.lines)


class Page(HTMLParser):
    """What a browser would make of a page: elements opened and closed, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.bold: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] == "b":
            self.bold.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_winner_is_marked_only_where_one_is_separated(stored: dict[str, Any], text: str) -> None:
    found = found_in(stored)
    assert found.separation["recall@20"].winner == "bm3"
    assert found.separation["recall@10"].winner is None
    expected = [f"{found.models['bm3'].metrics[metric].mean:.4f}" for metric in ("recall@20", "ndcg@20")]
    marked = [cell.text for row in quality(found).rows for cell in row if cell.mark == "winner"]
    assert marked == expected
    assert set(Page(text).bold) == set(expected)
    assert re.findall(r"\*\*([\d.]+)\*\*", markdown(quality(found))) == expected
    assert re.findall(r"textbf\{([\d.]+)\}", latex(quality(found))) == expected
    means = [float(row[1].text) for row in quality(found).rows]
    assert means == sorted(means, reverse=True)
    verdicts = [cell.text for cell in quality(found).foot[1:5]]
    assert verdicts == ["BM3 is ahead", "BM3 is ahead", "not separated", "not separated"]


def test_the_reading_calls_better_only_what_is_separated() -> None:
    found = found_in(results(FEW))
    text = said(found)
    assert "BM3 is ahead on Recall@20" in text
    assert "The first place is not separated on Recall@10" in text
    assert "Recall@20. Better: BM3; not separated from it: EASE; worse: Worst." in text
    assert "The best model that uses features is BM3" in text
    assert "BM3 is ahead, and the two are separated" in text
    assert "5 are separated on Recall@20; not separated: EASE and Popularity." in text.replace(
        "Popularity and EASE", "EASE and Popularity"
    )
    assert "might do better: Worst." in text, "it trained up to the limit of epochs; BM3 did not"


def test_without_a_winner_the_reading_says_so() -> None:
    found = found_in(results({"one": Entrant(0.2), "other": Entrant(0.2), "popularity": Entrant(0.1)}))
    text = said(found)
    assert "Nobody wins on Recall@20" in text
    assert "is ahead on" not in text
    assert "share the first place" in text
    assert not [cell for row in quality(found).rows for cell in row if cell.mark == "winner"]


def test_a_difference_within_the_seeds_spread_is_called_that() -> None:
    stored = results(FEW)
    assert "seeds' spread" not in said(found_in(stored))
    stored["models"]["bm3"]["metrics"]["recall@20"]["over_seeds"] = 0.5
    assert "less than twice the seeds' spread (0.5000)" in said(found_in(stored))


def test_a_canary_that_beats_popularity_is_a_warning() -> None:
    entrants = {"popularity": Entrant(0.1), "indexorder": Entrant(0.05, title="IndexOrder")}
    assert "leak" not in said(found_in(results(entrants)))
    entrants["indexorder"] = Entrant(0.3, title="IndexOrder")
    assert "Warning: IndexOrder" in said(found_in(results(entrants)))


@pytest.mark.parametrize(
    ("way", "separated", "expected"),
    [
        ("absent", True, "Text helped BM3. Left out: BM3 loses 0.0500."),
        ("absent", False, "No model is shown to gain from text. Left out: no separated change for BM3."),
        ("noise", True, "Noise in its place costs BM3, but"),
    ],
)
def test_a_modality_helped_only_where_leaving_it_out_is_separated(way: str, separated: bool, expected: str) -> None:
    ways = [knocked("bm3", "text", how, 0.05, separated and how == way) for how in ("absent", "noise")]
    assert expected in said(found_in(results(FEW, knock_out=ways)))


def test_a_gain_that_wrong_items_rows_bring_too_is_not_called_content() -> None:
    for right in (True, False):
        ways = [knocked("bm3", "text", "absent", 0.05, True), knocked("bm3", "text", "shuffled", 0.05, right)]
        text = said(found_in(results(FEW, knock_out=ways)))
        assert "Text helped BM3." in text
        assert ("is not shown to matter to BM3" in text) is not right


def test_knock_outs_show_the_corrected_interval_and_what_is_to_be_known_of_them() -> None:
    way = {**knocked("bm3", "text", "noise", 0.05, True), "note": "'joint' was made from text too"}
    found = found_in(results(FEW, knock_out=[way]))
    for text in (" ".join(Page(page(found)).words), tables_markdown(found)):
        assert "0.0300 to 0.0700" in text.replace("+", "")
        assert "'joint' was made from text too." in text


def test_where_a_modality_is_the_only_one_wrong_rows_stand_in_for_leaving_it_out() -> None:
    ways = [knocked("bm3", "text", how, 0.05, True) for how in ("noise", "shuffled")]
    text = said(found_in(results(FEW, knock_out=ways)))
    assert (
        "Text helped BM3. Replaced by noise: BM3 loses 0.0500. Dealt out to the wrong items: BM3 loses 0.0500." in text
    )
    ways.append(knocked("worst", "text", "absent", 0.05, False))
    assert "Text helped BM3. Left out: no separated change for Worst." in said(found_in(results(FEW, knock_out=ways)))
    ways = [knocked("bm3", "text", "absent", -0.05, True)]
    text = said(found_in(results(FEW, knock_out=ways)))
    assert "No model is shown to gain from text. Left out: BM3 gains 0.0500." in text


def test_what_is_missing_is_said() -> None:
    stored = results(FEW)
    stored["failed"] = {"mmgcn, seed 0": "out of memory"}
    stored["plan"]["entrants"]["mmgcn"] = "mmgcn"
    stored["models"]["bm3"]["seeds"] = 3
    stored["separation"]["recall@20"]["left_out"] = 7
    found = found_in(stored)
    text = said(found)
    assert "1 run failed" in text
    assert "in no table: mmgcn" in text
    assert "Fewer than the 5 seeds that were planned: BM3 (3)." in text
    assert "7 users lack a value" in text
    assert "Thin slices, by number of users: cold items (12)." in text
    stored = results({"popularity": Entrant(0.1)}, failed={"mmgcn, seed 0": "out of memory"})
    assert "out of memory" in " ".join(Page(page(found_in(stored))).words)


def test_the_matrix_has_each_pair_twice_and_marks_the_separated_ones(stored: dict[str, Any]) -> None:
    found = found_in(stored)
    order = found.separation["recall@20"].order
    rows = pairs(found, "recall@20").rows
    for one, label in enumerate(order):
        for two, other in enumerate(order):
            cell, pair = rows[one][two + 1], found.separation["recall@20"].pair(label, other)
            if pair is None:
                assert (one == two, cell.text) == (True, "")
                continue
            assert cell.text.endswith("*") == pair.separated
            value = pair.difference.mean if two > one else pair.corrected_p
            assert float(cell.text.strip("*")) == pytest.approx(value, abs=5e-5)
    assert len(every_pair(found).rows) == 6


def test_the_page_stands_alone_and_is_whole(text: str) -> None:
    parsed = Page(text)
    assert parsed.open == []
    assert not re.search(r"<(img|image|script|link|iframe|object)\b|\bsrc=|url\((?!#)|@import", text)
    assert "default-src 'none'" in text
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = re.findall(r'href="([^"]*)"|url\(([^)]*)\)', text)
    assert {(href or url).removeprefix("#") for href, url in referred} <= set(names)
    assert len(parsed.of("caption")) == len(parsed.of("table")) > 10
    assert all(attributes["scope"] in ("row", "col") for attributes in parsed.of("th"))
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    # Two of quality, three of cost, two of items and one of users, learning of two by two, one knock-out.
    assert len(drawings) == 2 + 3 + 3 + 4 + 1
    for drawing in drawings:
        assert ElementTree.fromstring(drawing).attrib["aria-label"]
        assert not re.search(r"#[0-9a-fA-F]{6}\b", drawing), "every colour is the page's"


def test_thin_slices_are_grey_and_said_to_be_thin(text: str) -> None:
    thin, full = (
        re.search(rf'<svg[^>]*aria-label="[^"]*{name}[^"]*".*?</svg>', text, re.DOTALL)
        for name in ("cold items", "head items")
    )
    assert thin
    assert full
    assert "n = 12 users, thin" in thin[0]
    assert "var(--bar)" not in thin[0]
    assert "var(--other)" not in thin[0]
    assert "var(--bar)" in full[0]
    assert "thin" not in full[0]
    assert "items without image: no test positive there" in text


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    stored = results({NASTY: Entrant(0.3, title=NASTY, features=("text",), epochs=4), "popularity": Entrant(0.1)})
    stored["failed"] = {NASTY: NASTY}
    stored["data"] |= {"name": NASTY, "notes": [NASTY]}
    stored["environment"]["command"] = ["palate", NASTY]
    stored["knock_out"] = [knocked(NASTY, NASTY, "absent", 0.1, True)]
    found = found_in(stored)
    text = page(found)
    assert "<script" not in text
    assert "script" not in {tag for tag, _ in Page(text).elements}
    assert NASTY in " ".join(Page(text).words)
    write_json(tmp_path / "results.json", stored)
    write_docs(tmp_path, tmp_path / "docs")
    readme = (tmp_path / "docs" / "README.md").read_text(encoding="utf-8")
    # In a block of code, and nowhere else, it stands as it is.
    assert re.findall(r"^.*<script", readme, flags=re.MULTILINE) == ["    palate '<script"]
    for drawing in (tmp_path / "docs").glob("*.svg"):
        assert not [part for part in ElementTree.parse(drawing).iter() if part.tag.endswith("script")]
    assert "\\input{" not in tables_latex(found)


@given(st.text(max_size=30))
def test_markdown_and_latex_cells_hold_any_text(text: str) -> None:
    table = Table("t", "caption", (Column("a"), Column("b")), ((Cell(text), Cell("1")),))
    rows = markdown(table).rstrip("\n").split("\n")
    assert len(rows) == 5
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows[2:]] == [3, 3, 3]
    assert not re.search(r"(?<!\\)(?:\\\\)*[*`\[\]$]|[<>]", markdown_text(text))
    plain = re.sub(r"\\(?:[{}$&#_%]|[a-z]+\{\})|\$\\?[a-z-]*\$", "", latex_text(text))
    assert not set(plain) & set("\\{}$&#_%~^<>|")


def test_columns_of_both_tables_stand_in_the_page_in_one_order() -> None:
    found = found_in(results(FEW))
    for text in (tables_markdown(found), tables_latex(found)):
        places = [text.index(f"{name} ") for name in ("BM3", "Worst")]
        assert places == sorted(places)
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end", tables_latex(found), re.DOTALL):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}


@pytest.mark.parametrize("entrant", [Entrant(0.2), Entrant(0.2, features=("text",), epochs=1, seeds=1)])
def test_one_model_alone_has_a_report_too(entrant: Entrant, tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", results({"only": entrant}))
    assert [path.is_file() for path in write_report(tmp_path)] == [True] * 3
    found = read_findings(tmp_path)
    assert "alone here" in said(found)
    text = page(found)
    assert "no learning curves" in text
    assert Page(text).bold == []


def test_many_models_with_long_names_keep_apart() -> None:
    names = [f"a model with a very long name that says what it does, variant number {place}" for place in range(16)]
    entrants = {name: Entrant(0.1 + place / 100, model="bm3", epochs=2) for place, name in enumerate(names)}
    short = short_names(found_in(results(entrants)))
    assert len(set(short.values())) == 16
    assert max(map(len, short.values())) <= NAME
    twins = [f"{'a' * 20}{place}{'b' * 20}" for place in range(3)]
    assert len({*short_names(found_in(results({name: Entrant(0.1) for name in twins}))).values()}) == 3


@given(st.text(max_size=60), st.integers(4, 40))
def test_a_shortened_name_is_short_and_keeps_both_ends(text: str, most: int) -> None:
    flat = " ".join(text.split())
    short = shortened(text, most)
    assert len(short) <= most
    assert short == flat if len(flat) <= most else (flat[:2] == short[:2] and flat[-1] == short[-1])


def test_the_same_results_give_the_same_bytes(stored: dict[str, Any], text: str, tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", stored)
    write_report(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.html", "tables.md", "tables.tex"}


def test_docs_show_every_drawing_and_nothing_old(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", results(FEW))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "knock-outs.svg").write_text("of an earlier comparison")
    written = write_docs(tmp_path, docs)
    assert {path.name for path in docs.iterdir()} == {path.name for path in written}
    linked = re.findall(r"\]\(([^)]*)\)", (docs / "README.md").read_text(encoding="utf-8"))
    assert {*linked, "README.md"} == {path.name for path in written}
    for drawing in docs.glob("*.svg"):
        text = drawing.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "prefers-color-scheme: dark" in text
        assert set(re.findall(r"var\((--\w+)\)", text)) <= set(re.findall(r"(--\w+):", text))


def test_a_file_of_drawings_has_room_for_each() -> None:
    drawings = [draw(str(place), "label", 2, 1 + place, lambda axes: None) for place in range(3)]
    root = ElementTree.fromstring(standalone(drawings, 2))
    boxes = [
        tuple(float(part.attrib[side]) for side in ("x", "y", "width", "height"))
        for part in root
        if part.tag.endswith("svg")
    ]
    assert [(x, y) for x, y, _, _ in boxes] == [(12, 12), (168, 12), (12, 168)]
    assert float(root.attrib["height"]) == 12 + 144 + 12 + 216 + 12
    assert float(root.attrib["width"]) == 12 + 144 + 12 + 144 + 12
