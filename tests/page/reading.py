"""Reads a page as a browser would, and finds what must not be on it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

HOSTILE = '<script>alert("x")</script>'
LOADS = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "formaction"}
RUNS = {"script", "link", "img", "iframe", "object", "embed"}


class Page(HTMLParser):
    """Every tag and attribute of a page, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


def svgs(html: str) -> list[ElementTree.Element]:
    """All outermost pictures, parsed as XML."""
    found = re.findall(r'<svg class="picture.*?</svg>(?=\s*</figure>|\s*</section>)', html, re.DOTALL)
    assert len(found) == html.count('<svg class="picture')
    return [ElementTree.fromstring(each) for each in found]


def assert_loads_and_runs_nothing(html: str) -> None:
    """The page is one file, without scripts, and its policy says so too."""
    found = Page(html)
    targets = [value or "" for name, value in found.attributes if name in LOADS]
    assert all(target.startswith("#") for target in targets)
    assert not RUNS & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "url(" not in html and "@import" not in html
    assert "default-src 'none'; style-src 'unsafe-inline'\"" in html


def assert_well_formed(html: str) -> None:
    """Tags are balanced, headings never skip a level, and links of the contents lead somewhere."""
    found = Page(html)
    assert found.open == []
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    ids = {value for name, value in found.attributes if name == "id"}
    links = {(value or "")[1:] for name, value in found.attributes if name == "href"}
    assert links <= ids


def assert_themed(html: str) -> None:
    """Every colour a page names is defined for light and for dark."""
    light, dark = html.split("prefers-color-scheme: dark", 1)
    palette = r"var\((--(?:system|voice|heat|band|good|partial|failed|unknown)[\w-]*)\)"
    assert all(f"{name}:" in light and f"{name}:" in dark for name in re.findall(palette, html))
