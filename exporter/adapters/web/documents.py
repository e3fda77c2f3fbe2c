"""The runbooks and the documentation as HTML, made from the Markdown that goes with the program."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from posixpath import dirname, join, normpath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from exporter import assets

RUNBOOKS, DOCS = "docs/runbooks", "docs"

# HTML in a text is shown as text, so a page consists of what Markdown alone can say.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


class Document(NamedTuple):
    """A page; `name` is the last part of its address, `summary` the first paragraph below a heading."""

    name: str
    summary: Markup
    body: Markup


def names(folder: str) -> Sequence[str]:
    """The names of the pages of `RUNBOOKS` or `DOCS`, sorted."""
    found = (name.removeprefix(f"{folder}/") for name in assets.names(folder) if name.endswith(".md"))
    return [name.removesuffix(".md") for name in found if "/" not in name]


@cache  # as many as there are files
def document(folder: str, name: str) -> Document:
    """The page of this name. Raises KeyError if there is none.

    Its links are relative to a page that is one folder deep, as `/runbooks/` and `/docs/` are.
    """
    file = f"{folder}/{name}.md"
    tokens = _MARKDOWN.parse(assets.read(file))
    anchors: Counter[str] = Counter()
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            token.attrSet("id", _anchor(following.content, anchors))
        token.children = None if token.children is None else list(_relinked(token.children, file))
    first = next((token for before, token in _pairs(tokens) if before == "paragraph_open"), None)
    return Document(name, _html([first] if first else []), _html(tokens))


def _pairs(tokens: Sequence[Token]) -> Iterator[tuple[str, Token]]:
    return zip((token.type for token in tokens), tokens[1:], strict=False)


def _html(tokens: Sequence[Token]) -> Markup:
    # What the renderer did not make itself, it has escaped.
    return Markup(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))  # noqa: S704


def _anchor(heading: str, taken: Counter[str]) -> str:
    """The id of a heading, as GitHub makes it."""
    anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    taken[anchor] += 1
    return anchor if taken[anchor] == 1 else f"{anchor}-{taken[anchor] - 1}"


def _relinked(tokens: Sequence[Token], file: str) -> Iterator[Token]:
    """The same text, of which links lead to our own pages; what is not among these is text without a link."""
    links = [True]  # whether each link that is open here has an address
    for token in tokens:
        if token.type == "link_open":
            address = _address(str(token.attrs["href"]), file)
            links.append(bool(address))
            token.attrSet("href", address)
        if token.type == "image":  # pictures do not go with the program
            yield Token("text", "", 0, content=token.content)
        elif token.type not in ("link_open", "link_close") or links[-1]:
            yield token
        if token.type == "link_close":
            links.pop()


def _address(href: str, file: str) -> str:
    """Where a link of a file leads to on our pages; "" for what is not there."""
    parts = urlsplit(href)
    if parts.scheme or not parts.path:
        return href
    target = normpath(join(dirname(file), unquote(parts.path)))
    folder, name = dirname(target), target.rpartition("/")[2].removesuffix(".md")
    if folder not in (RUNBOOKS, DOCS) or name not in names(folder):
        return ""
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    return f"../{folder.removeprefix('docs/')}/{name}{anchor}"
