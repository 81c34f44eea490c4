"""A registry login: a user with a password, or an identity token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, repr=False)
class Login:
    """A user's password, or an identity token for the registry's token service, which is preferred.

    Never printed. Bytes that are not UTF-8 are kept as Python keeps them in file names (surrogateescape).
    """

    user: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return "Login(***)"

    @property
    def pair(self) -> tuple[str, str] | None:
        """User and password, or None: a user without a password is a placeholder, as beside an identity token."""
        return (self.user, self.password) if self.user and self.password else None


def text_field(value: Any) -> str:
    """Return a field of a credential file's or a helper's JSON as text; empty if it is missing.

    Raises:
        TypeError: it is not text.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError("no text")
    return value or ""
