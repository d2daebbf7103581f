"""A picture of the report with its words."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One picture.

    Attributes:
        title: What it shows, in a few words.
        picture: An SVG from `mien.page.svg`, which escapes its own words.
        about: How to read it, in a sentence or two.
        wide: Whether it needs the whole width of the page.
    """

    title: str
    picture: str
    about: str = ""
    wide: bool = False
