"""Render the templates of deploy/ to manifests, values quoted so that none can change their structure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache

import jinja2

from kmatrix.values.errors import InputError

# A folder of manifests, or of their sources in deploy/: text by path below it.
Folder = Mapping[str, str]

_PRINTABLE = re.compile(r"[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]*")


def file_of(sources: Folder, path: str, values: Mapping[str, object]) -> str:
    """Return a file of deploy/, rendered if it is a template.

    Raises:
        InputError: the file is missing, or its template is broken.
    """
    return sources[path] if path in sources else render_template(sources, f"{path}.j2", **values)


def render_template(sources: Folder, path: str, **values: object) -> str:
    """Return a template of deploy/, rendered.

    Raises:
        InputError: the template is missing or broken.
    """
    if path not in sources:
        raise InputError(f"deploy/{path} is missing", "Restore deploy/ from version control.")
    try:
        return _compiled(path, sources[path]).render(**values)
    except jinja2.TemplateError as error:
        raise InputError(f"deploy/{path}: {error.message}", "Correct the template.") from error


@lru_cache(maxsize=32)
def _compiled(path: str, template: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters.update({"text": _text, "block": _block})
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"deploy/{path}:{error.lineno}: {error.message}", "Correct the template.") from error


def _text(value: object) -> str:
    """Return any value as a YAML string: 7.4 is not a number, `yes` not a boolean."""
    return json.dumps(str(value), ensure_ascii=True)


def _block(value: str, indent: int) -> str:
    """Return a text of several lines as a readable YAML block.

    Raises:
        InputError: a block cannot hold the text.
    """
    if not value.endswith("\n") or value.endswith("\n\n") or not value.strip() or not _PRINTABLE.fullmatch(value):
        raise InputError(
            f"the file that begins {value[:40]!r} cannot be in a manifest",
            "It must be printable text that ends with exactly one line break.",
        )
    blanks = " " * indent
    lines = "\n".join(blanks + line if line else "" for line in value[:-1].split("\n"))
    # The 2 gives the indentation of the text, also if its first line begins with a blank.
    return f"|2\n{lines}"
