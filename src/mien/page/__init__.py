"""Pages for people: one look and one set of rules for every report.

A page is one file that loads nothing and runs no script, light or dark as its reader's machine is, for
wide and narrow screens and for paper. Its template extends `base.html`, which brings the theme; shared
parts are in `parts.html`, pictures are drawn with `mien.page.svg`. Everything is escaped unless it is
`Markup`, which only pictures are: what comes from models and data sets is untrusted.
"""

from __future__ import annotations

from importlib.metadata import version

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(room: str, template: str, **values: object) -> str:
    """A page as HTML.

    Args:
        room: The package the template lies in, such as `mien.evaluate`; so do files it includes.
        template: The file's name.
        **values: What the template names. One that is missing is an error, and never an empty place.
    """
    loader = ChoiceLoader([PackageLoader(room, ""), PackageLoader(__name__, "")])
    jinja = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return jinja.get_template(template).render(version=version("mien"), **values)
