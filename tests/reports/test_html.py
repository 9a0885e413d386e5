"""HTML from elements: no text becomes markup."""

from __future__ import annotations

import html.parser
import json

from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.reports.html import Markup, data, element, joined, table, text


class Reader(html.parser.HTMLParser):
    """The elements and the text that a browser would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(markup: str) -> Reader:
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


def test_elements_nest_and_escape() -> None:
    """Elements stay elements, texts are escaped, None is left out, attributes are named as in HTML."""
    made = element("a", "x < y", None, element("b", "&"), href='"/', class_="c", data_x="1", hidden=True, open=False)
    assert made == '<a href="&quot;/" class="c" data-x="1" hidden>x &lt; y<b>&amp;</b></a>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert joined(["<", Markup("<br>")]) == "&lt;<br>"


def test_a_table_has_a_head_and_numbers_on_the_right() -> None:
    """The first columns are text, the others numbers."""
    made = table(["name", "count"], [["<a>", "1"]])
    assert '<th scope="col">name</th><th scope="col" class="number">count</th>' in made
    assert '<td>&lt;a&gt;</td><td class="number">1</td>' in made


@given(st.text())
def test_any_text_stays_text(value: str) -> None:
    """A parser sees the element and the attribute that were made, and nothing of the text as markup."""
    reader = read(element("p", value, title=value))
    assert reader.tags == ["p"]
    assert [name for name, _ in reader.attributes] == ["title"]
    assert reader.text.replace("\r", "\n") == text_of(value)


def text_of(value: str) -> str:
    """What is left of a text: the invisible is replaced."""
    return html.unescape(str(text(value))).replace("\r", "\n")


def test_what_cannot_be_seen_is_replaced() -> None:
    """Control characters, turned writing and half characters cannot fake or break a page; line ends stay."""
    assert text("a\x1b[31mb\u202ec\ud800d\n\te") == "a\ufffd[31mb\ufffdc\ufffdd\n\te"
    text("\ud800").encode()


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_data_comes_back_and_cannot_end_its_element(value: object) -> None:
    """The JSON within the page holds no character that HTML knows, and reads back as what it was."""
    made = data("it", value)
    inner = made.removeprefix('<script type="application/json" id="it">').removesuffix("</script>")
    assert not set("<>&") & set(inner)
    assert json.loads(inner) == value
