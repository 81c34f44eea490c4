"""The rights that a registry's token service granted, as far as its token states them.

Clients are not meant to look into tokens. But registries answer alike for a repository that does not exist and for one
that the login may not read, and some also for a wrong password: only the granted rights distinguish these.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, repr=False)
class Grant:
    """An Authorization header's value, and the rights it is known to grant for one repository.

    `actions` is None for a token that does not list them, and for Basic; `anonymous`: the token was issued to nobody,
    although it may have been requested with a password; `push`: it is a token that was requested with the right to
    push.
    """

    authorization: str
    token: bool = False
    actions: frozenset[str] | None = None
    anonymous: bool = False
    push: bool = False

    def may(self, action: str) -> bool:
        """Return whether an action is granted, or may be: nothing is known."""
        return self.actions is None or action in self.actions or "*" in self.actions


def headers_of(grant: Grant | None) -> dict[str, str]:
    """Return the headers of a request that shows a grant; empty for none."""
    return {"Authorization": grant.authorization} if grant else {}


def grant_of(token: str, path: str, push: bool = False) -> Grant:
    """Read the rights of a token for a repository, if it is a JWT with the claims of registries; never fail.

    Args:
        token: as the token service sent it.
        path: the repository's name in its registry.
        push: whether the right to push was requested.

    The claims are those of distribution/distribution, docs/content/spec/auth/jwt.md. Harbor's subject for nobody is ""
    (goharbor/harbor, src/core/service/token/creator.go: a wrong password gets such a token), Quay's is "(anonymous)"
    (quay/quay, util/security/registry_jwt.py), where the token of an application has no subject at all.
    """
    claims = _claims(token)
    access = claims.get("access")
    if not isinstance(access, list):
        return Grant(f"Bearer {token}", token=True, push=push)
    actions = frozenset(
        action
        for entry in access
        if isinstance(entry, dict) and entry.get("name") == path and isinstance(entry.get("actions"), list)
        for action in entry["actions"]
        if isinstance(action, str)
    )
    return Grant(f"Bearer {token}", True, actions, claims.get("sub") in ("", "(anonymous)"), push)


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
