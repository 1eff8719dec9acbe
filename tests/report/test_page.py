"""The parts of a report as one HTML page, as Markdown and as JSON."""

import json
import re

from weam_ext.report.page import (
    Figures,
    Fold,
    Heading,
    Table,
    Text,
    to_html,
    to_json,
    to_markdown,
    whole,
)


def test_parts_as_text() -> None:
    parts = [Heading("A & B"), Text("<i>"), Table(["a|b", "c"], [["1|2", "+3.0"]]), Figures([], "")]
    assert "| a\\|b | c |\n| --- | --- |\n| 1\\|2 | +3.0 |" in to_markdown("t", parts)
    page = to_html("<t>", parts)
    assert "&lt;t&gt;" in page and "&lt;i&gt;" in page and '<h2 id="a---b">' in page
    assert '<td class="number">+3.0</td>' in page


def test_what_counts_as_a_number_is_on_the_right() -> None:
    values = ["", "–", "+3.0", "−1.5", "12", "[+0.1, +0.3]", "45.0 ± 0.2", "1,024", "98.5%"]
    page = to_html("t", [Table(["number", "word"], [[value, "de"] for value in values])])
    assert page.count('<td class="number">') == len(values)
    mixed = to_html("t", [Table(["mixed"], [["12"], ["twelve"]])])
    assert 'class="number"' not in mixed.partition("<body>")[2]
    assert 'class="number"' not in to_html("t", [Table(["none"], [])]).partition("<body>")[2]


def test_what_is_empty_is_not_there() -> None:
    parts = [Heading("A"), Heading("B", 3), Figures([], ""), Fold("C", [Table(["x"], [])]),
             Heading("D"), Text("said"), Heading("E")]  # fmt: skip
    for show in (to_html, to_markdown):
        page = show("t", parts)
        assert "D" in page and "said" in page
    assert whole(parts) == [Heading("D"), Text("said")]


def test_folded_parts_are_a_click_away() -> None:
    parts = [Fold("More <of it>", [Heading("Inside", 3), Text("folded")])]
    page = to_html("t", parts)
    assert re.search(
        "<details><summary>More &lt;of it&gt;</summary>.*folded.*</details>", page, re.S
    )
    assert "**More <of it>**" in to_markdown("t", parts)


def test_verdicts_stand_out_and_headings_are_linked() -> None:
    page = to_html("t", [Heading("Gains"), Heading("by language", 3),
                         Table(["v"], [["supported"], ["not supported"], ["<b>"]])])  # fmt: skip
    assert '<span class="verdict yes">supported</span>' in page
    assert '<span class="verdict no">not supported</span>' in page
    assert "<td>&lt;b&gt;</td>" in page
    cells = ["better +1.2 [+0.3, +2.1]", "better for these checkpoints", "better model"]
    tabled = to_html("t", [Table(["v"], [[cell] for cell in cells])])
    assert tabled.count('class="verdict yes"') == 2
    assert '<nav><a href="#gains">Gains</a></nav>' in page and '<h3 id="by-language">' in page


def test_json_has_the_same_parts() -> None:
    parts = [
        Heading("Gains"),
        Fold("More", [Table(("a", "b"), [("é", "+3.0")], "what it shows")]),
        Figures(["<svg/>"], "a figure"),
    ]
    table = {"kind": "table", "header": ["a", "b"], "rows": [["é", "+3.0"]]}
    assert json.loads(to_json("t", parts)) == {
        "title": "t",
        "parts": [
            {"kind": "heading", "text": "Gains", "level": 2},
            {"kind": "heading", "text": "More", "level": 3},
            table | {"caption": "what it shows"},
        ],
    }
