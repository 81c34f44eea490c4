"""Turns templates into pages: whatever they show is text, and never becomes markup or script."""

from __future__ import annotations

from functools import cache
from importlib import resources

import jinja2

from kmatrix.decide.report.model import Report
from kmatrix.values.text import plain

# In the order of the navigation.
SECTIONS = (
    ("index.html", "Matrix"),
    ("changes.html", "Changes"),
    ("releases.html", "Releases"),
    ("kernels.html", "Kernels"),
    ("findings.html", "Findings"),
)


def page(report: Report, template: str, path: str, **values: object) -> str:
    """Return a page.

    Args:
        report: that it is a page of.
        template: the name of a file in `templates/`.
        path: of the page, below the report's folder.
        values: what the template shows; a `markupsafe.Markup` alone is taken as markup.
    """
    up = "../" * path.count("/")
    return _environment().get_template(template).render(report=report, sections=SECTIONS, up=up, path=path, **values)


def asset(name: str) -> str:
    """Return the text of a file of `assets/`."""
    return resources.files("kmatrix.decide.report").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    return environment


def _plain(value: object) -> object:
    """Return text of images, logs and registries without control characters and direction marks."""
    return plain(value) if type(value) is str else value


def _template(name: str) -> str:
    return resources.files("kmatrix.decide.report").joinpath("templates", name).read_text(encoding="utf-8")
