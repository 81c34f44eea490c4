"""What the finding codes mean, from the Markdown of docs/findings.md: as a page, and as two sentences for each code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

_CODE = re.compile(r"[a-z][a-z0-9-]*")
_ENTRY = re.compile(r"Found by: (.+?)\. Verdict: (.+?)\.\n(.+?)\nDo: (.+)", re.DOTALL)


@dataclass(frozen=True)
class Meaning:
    """What a code means.

    Attributes:
        found_by: the gate or the step that gives it.
        text: what is wrong, as HTML.
        next_step: what to do, as HTML.
    """

    found_by: str
    text: Markup
    next_step: Markup


def codes_of(markdown: str) -> frozenset[str]:
    """Return the codes that the document describes."""
    return frozenset(code for code, _ in _entries(_parse(markdown)))


@cache
def meanings(markdown: str, page: str) -> Mapping[str, Meaning]:
    """Return what each code means.

    Args:
        markdown: the document.
        page: the address of its page, for links between codes.
    """
    tokens = _parse(markdown)
    ids = _ids(tokens)
    found = {}
    for code, content in _entries(tokens):
        if match := _ENTRY.fullmatch(content):
            text, step = (_inline(part, ids, page) for part in (match[3], match[4][:1].upper() + match[4][1:]))
            found[code] = Meaning(match[1], text, step)
    return found


def as_page(markdown: str) -> Markup:
    """Return the document as HTML without its title; its headings can be linked to by their words, as on GitHub."""
    tokens = _parse(markdown)
    ids = _ids(tokens)
    if tokens and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", _slug(inline.content))
        # The policy of the pages forbids styles of elements, which a table's columns may have.
        opening.attrs.pop("style", None)
    return _rendered(tokens, ids, "")


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def _parse(markdown: str) -> list[Token]:
    return _parser().parse(markdown)


def _entries(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Yield each code, and the paragraph below its heading."""
    for index, token in enumerate(tokens[:-4]):
        if token.type == "heading_open" and token.tag in ("h3", "h4") and _CODE.fullmatch(tokens[index + 1].content):
            yield tokens[index + 1].content, tokens[index + 4].content


def _ids(tokens: Sequence[Token]) -> frozenset[str]:
    return frozenset(_slug(inline.content) for opening, inline in pairwise(tokens) if opening.type == "heading_open")


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _inline(markdown: str, ids: frozenset[str], page: str) -> Markup:
    return _rendered(_parser().parseInline(markdown.replace("\n", " ")), ids, page)


def _rendered(tokens: Sequence[Token], ids: frozenset[str], page: str) -> Markup:
    for token in tokens:
        if token.children:
            token.children = [*_linked(token.children, ids, page)]
    parser = _parser()
    return Markup(parser.renderer.render(tokens, parser.options, {}).strip())


def _linked(children: Sequence[Token], ids: frozenset[str], page: str) -> Iterator[Token]:
    """Yield tokens with links to headings of the page alone; of others the words stay, with the document they name."""
    behind = ""
    kept = True
    for token in children:
        if token.type == "link_open":
            target = str(token.attrs.get("href", ""))
            kept = target.startswith("#") and target[1:] in ids
            named = re.match(r"([\w-]+\.md)(#|$)", target)
            behind = f" (in the project's docs/{named[1]})" if named else ""
            if kept:
                token.attrs = {"href": f"{page}{target}"}
                yield token
        elif token.type == "link_close":
            yield token if kept else Token("text", "", 0, content=behind)
        else:
            yield token
