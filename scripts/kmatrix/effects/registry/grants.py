"""What a registry's token service granted, as far as its token says.

A client is not meant to look into a token. But registries answer alike for a repository that is not there and for one
that the login may not read, and some also for a wrong password: what was granted is the only thing that tells.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, repr=False)
class Grant:
    """An Authorization header's value, and what is known of what it grants for one repository.

    `actions` is None for a token that does not say, and for Basic; `anonymous`: the token is nobody's, though it may
    have been asked for with a password; `push`: it is a token, and the right to push was asked for with it.
    """

    authorization: str
    token: bool = False
    actions: frozenset[str] | None = None
    anonymous: bool = False
    push: bool = False

    def may(self, action: str) -> bool:
        """Whether an action is granted, as far as is known."""
        return self.actions is None or action in self.actions or "*" in self.actions


def headers_of(grant: Grant | None) -> dict[str, str]:
    """What is sent with a request that shows a grant, or none."""
    return {"Authorization": grant.authorization} if grant else {}


def grant_of(token: str, path: str, push: bool = False) -> Grant:
    """Read what a token grants for a repository, if it is a JWT with the claims of registries; never fails.

    Args:
        token: as the token service sent it.
        path: the repository's name in its registry.
        push: whether the right to push was asked for.

    The claims are those of distribution/distribution, docs/content/spec/auth/jwt.md. Nobody is the subject "" of Harbor
    (goharbor/harbor, src/core/service/token/creator.go: a wrong password gets such a token) and "(anonymous)" of Quay
    (quay/quay, util/security/registry_jwt.py), where a token of an application has none at all.
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
