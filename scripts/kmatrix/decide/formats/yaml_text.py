"""Writes values as YAML for people: keys in the given order, texts of several lines as blocks."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Repeat a value that occurs twice: readers of pipelines need no anchors."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any, banner: str = "") -> str:
    """Return a value as a YAML document, below a comment.

    Args:
        value: mappings, lists, texts, numbers and truth values.
        banner: the comment, without its `#`; empty for none.
    """
    comment = "".join(f"# {line}\n" for line in banner.splitlines())
    return comment + yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
