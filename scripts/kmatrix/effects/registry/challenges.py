"""Reads WWW-Authenticate headers by RFC 9110, section 11: several headers, and several challenges in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The base64 that Negotiate and NTLM send; a comma or the end after it distinguishes it from a parameter's name.
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|\Z)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# The standard demands quotes around a value with a colon; some services omit them.
_PLAIN = re.compile(r'[^\s",]*')
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_BLANKS = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"[ \t,]*")
_REST = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\Z)|[^,"])*')


@dataclass(frozen=True)
class Challenge:
    """One authentication scheme on offer; the scheme and the names of the parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all WWW-Authenticate headers of a response, in order; malformed ones are skipped."""
    return tuple(challenge for header in headers for challenge in _parse(header))


def _parse(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = _after(_BETWEEN, header, 0)
    while position < len(header):
        scheme = _TOKEN.match(header, position)
        if scheme is None:
            position = _after(_BETWEEN, header, max(_after(_REST, header, position), position + 1))
            continue
        position = _after(_BLANKS, header, scheme.end())
        parameters: dict[str, str] = {}
        if token68 := _TOKEN68.match(header, position) if position > scheme.end() else None:
            position = token68.end()
        else:
            position = _parameters(header, position, parameters)
        found.append(Challenge(scheme[0].lower(), parameters))
        position = _after(_BETWEEN, header, position)
    return found


def _parameters(header: str, position: int, parameters: dict[str, str]) -> int:
    """Read the parameters of one challenge, and return where the next one may begin."""
    while True:
        name = _TOKEN.match(header, position)
        equals = _EQUALS.match(header, name.end()) if name else None
        if name is None or equals is None:
            return position
        if quoted := _QUOTED.match(header, equals.end()):
            value, position = re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
        else:
            position = _after(_PLAIN, header, equals.end())
            value = header[equals.end() : position]
        # The first of two wins: a proxy that adds to a header appends.
        parameters.setdefault(name[0].lower(), value)
        # Text between a value and the next comma is ignored.
        position = _after(_BETWEEN, header, _after(_REST, header, position))


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the end of a match of a pattern that also matches the empty text."""
    match = pattern.match(text, position)
    return match.end() if match else position
