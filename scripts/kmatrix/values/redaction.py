"""Remove user information and queries from the addresses in a text: both may hold passwords, tokens and signatures.

Users and other programs do not always write them as RFC 3986 demands: a password may contain a bare `/`, `?` or `@`.
Where the parts of an address cannot be told apart, more is removed than necessary, never less.
"""

from __future__ import annotations

import re

_MARK = "***"
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>\S+)")
# In an address without a scheme, as registries are written: user:password@host, up to the last @ before no digest.
_PAIR = re.compile(r"(?<![\w*])[^\s'\"=@:/]+:[^\s'\"]*(?<!\*{3})@(?!sha256:)(?=[\w\[])")
# The request target of an HTTP request, as urllib3 shows it without its server: after `url: ` or in quotes any query,
# which may be a bare token; elsewhere, where a question mark may be plain text, only a query that has fields.
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
    """Return an image's name as a user wrote it, without user information before the host.

    A name has no user; one that was written all the same, with or without a password, is as secret as an address's.
    """
    found = list(_AT.finditer(text))
    # The text is not validated yet: an @ that starts no digest may end a token, and no name has a question mark.
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
