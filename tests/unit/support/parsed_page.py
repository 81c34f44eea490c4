"""A page of the report as a browser reads it: its elements with their attributes and their text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "input", "br", "hr", "img", "wbr", "col"}

# Elements that HTML lets end without their end tags, and by which others they end.
_ENDED_BY = {"td": {"td", "th", "tr", "tbody"}, "th": {"td", "th", "tr", "tbody"}, "tr": {"tr", "tbody"}, "li": {"li"}}


@dataclass
class Element:
    """An element, and the text in it and in its descendants."""

    tag: str
    attributes: Mapping[str, str]
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        while self.open and tag in _ENDED_BY.get(self.open[-1].tag, ()):
            self.open.pop()
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.found.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1].tag != tag and self.open[-1].tag in _ENDED_BY:
            self.open.pop()
        assert self.open, tag
        assert self.open[-1].tag == tag, f"{tag} ends in {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.parts.append(data)


def elements(text: str) -> list[Element]:
    """Return the elements of a page, in their order; all must be closed but those that HTML ends by itself."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser.found


def tagged(text: str, tag: str, class_: str = "") -> list[Element]:
    """Return the elements with a tag, and with a class if one is given."""
    return [
        each
        for each in elements(text)
        if each.tag == tag and (not class_ or class_ in each.attributes.get("class", "").split())
    ]


def links(text: str) -> dict[str, str]:
    """Return the words of every link, and where it leads."""
    return {each.words: each.attributes.get("href", "") for each in tagged(text, "a")}
