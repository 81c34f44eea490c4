"""Make external text safe to print, to store and to write as XML: no control character, no direction override."""

from __future__ import annotations

import re

# ECMA-48: control sequences, control strings (an operating system command carries gcc's links), and short escapes;
# the eight-bit forms begin with one character of C1.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[P\]X^_]|[\x90\x9d\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-Z\\^-~]"
)
# Characters that XML 1.0 excludes (production 2, Char), DEL and C1, and the marks of UAX #9 that reorder a line.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def plain(text: str) -> str:
    """Return text without terminal sequences, control characters, direction marks and characters that XML excludes.

    Newlines and tabs stay. A carriage return before a newline is removed; one within a line begins a new line, as the
    text that overwrote the line on a terminal is a message of its own.

    Args:
        text: decoded text from a builder, a guest, a registry, a module.
    """
    text = _SEQUENCE.sub("", text).replace("\r\n", "\n").rstrip("\r").replace("\r", "\n")
    return _FORBIDDEN.sub("", text)


def plain_line(text: str) -> str:
    """Return `plain` text as one line, with a blank for every line end."""
    return " ".join(part for part in plain(text).split("\n") if part)
