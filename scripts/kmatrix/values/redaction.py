"""Takes user information and queries out of the addresses in a text: both may hold passwords, tokens and signatures.

People and other programs do not always write them as RFC 3986 asks: a password may hold `/`, `?` or `@` as it is. Where
it is not certain which part of an address is which, more is taken out than is needed, never less.
"""

from __future__ import annotations

import re

_MARK = "***"
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>\S+)")
# Of an address without a scheme, as a registry is written: user:password@host, up to the last @ that is no digest's.
_PAIR = re.compile(r"(?<![\w*])[^\s'\"=@:/]+:[^\s'\"]*(?<!\*{3})@(?!sha256:)(?=[\w\[])")
# The request target of an HTTP request, as urllib3 shows it without its server: after `url: ` or in quotes whatever its
# query is, for a token may be all of it; elsewhere, where a question may stand, only a query that has fields.
_QUERY = re.compile(
    r"(?P<path>(?<=\burl: )[^\s?'\"]*|(?<=['\"])/[^\s?'\"]*)\?(?P<query>\S+)"
    r"|(?P<target>(?<!\w)/[^\s?'\"]*)\?(?P<fields>[^\s=]*=\S*)"
)
_AT = re.compile(r"@(?!sha256:)")
_CLOSING = re.compile(r"[])}>'\",.:;]*\Z")


def redacted(text: str) -> str:
    """Return a text with `***` in place of the user information and the query of every address in it."""
    return _PAIR.sub(f"{_MARK}@", _QUERY.sub(_without_query, _ADDRESS.sub(_without_secrets, text)))


def redacted_reference(text: str) -> str:
    """Return what a person gave as an image's name, without what stands before a host as in an address.

    A name holds no user; where somebody wrote one, with or without a password, it is as secret as an address's.
    """
    found = list(_AT.finditer(text))
    # The text has no form yet: a @ in it that starts no digest may well end a token, and no name has a question mark.
    shown = f"{_MARK}{text[found[-1].start() :]}" if found and "://" not in text else redacted(text)
    name, mark, query = shown.partition("?")
    return f"{name}?{_MARK}" if mark and query else shown


def _without_secrets(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    closing = _CLOSING.search(rest)
    tail = closing[0] if closing else ""
    rest = rest[: len(rest) - len(tail)]
    before, mark, query = rest.partition("?")
    if mark and _AT.search(query):
        # Either the password has a question mark or the query has an @: neither part may be shown.
        return f"{scheme}://{_MARK}{tail}"
    found = list(_AT.finditer(before))
    if found:
        before = f"{_MARK}@{before[found[-1].end() :]}"
    return f"{scheme}://{before}{f'?{_MARK}' if query else mark}{tail}"


def _without_query(match: re.Match[str]) -> str:
    query, path = match["query"] or match["fields"], match["path"] if match["query"] else match["target"]
    closing = _CLOSING.search(query)
    tail = closing[0] if closing else ""
    return match[0] if tail == query else f"{path}?{_MARK}{tail}"
