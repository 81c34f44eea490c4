"""Registries with a token service, as products answer for a repository that is not there yet.

Each product's answers are from its own source, or, where that is closed, from its users' reports:

- Quay: quay/quay, endpoints/v2/v2auth.py (the token service grants the user's own rights, and creates a repository for
  a user who may create it and asks to push), endpoints/v2/__init__.py (_require_repo_permission: 401 also for absent
  repositories), endpoints/v2/errors.py (Unauthorized, InvalidLogin), endpoints/v2/test/test_v2auth.py (the grants);
  seen by helm/helm#31567, helm/helm#32144 and shipwright-io/build#788.
- Harbor: goharbor/harbor, src/server/middleware/v2auth/auth.go (401, with a Basic challenge after a token),
  src/core/service/token/creator.go (a project that is not there: no actions; a wrong password: a token of nobody).
- GitLab: gitlabhq/gitlabhq, app/services/auth/container_registry_authentication_service.rb (a path without a project:
  no access at all, 403 DENIED from the token service for whoever is nobody); its registry is distribution's: 401 for
  rights that the token lacks, 404 NAME_UNKNOWN for absent repositories.
- GitHub: tokens that are no JWT (radius-project/radius#12623), 403 DENIED from the token service for a wrong password
  (sigstore/scaffolding#127), 404 MANIFEST_UNKNOWN for absent images (GoogleContainerTools/skaffold#7254).
- Amazon: Basic, 404 NAME_UNKNOWN; a push makes no repository (aws-actions/amazon-ecr-login#4).
- Artifactory: 403 for a tag that is not there in a virtual repository (google/go-containerregistry#1691).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.unit.support.fake_registry import basic, problem
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

Product = Literal["quay", "harbor", "gitlab", "github", "amazon", "artifactory"]
ROBOT = basic("robot", "right")


def jwt(subject: object, access: object) -> str:
    """Return an unsigned token with the claims of distribution/distribution, docs/content/spec/auth/jwt.md."""
    parts = ({"typ": "JWT", "alg": "RS256"}, {"sub": subject, "access": access})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, "c2lnbmVk"))


@dataclass
class TokenRegistry:
    """A registry that holds one manifest at most, in `team/image`; `creates`: the robot may make repositories."""

    product: Product
    creates: bool = True
    readable: bool = True
    there: bool = False
    manifest: bytes = b""
    web: WebServer = field(init=False)

    @property
    def scopes(self) -> list[list[str]]:
        """Return the scopes of the requested tokens."""
        return [request.query.get("scope", []) for request in self.web.requests if request.path == "/token"]

    def answer(self, request: Request) -> Reply:
        if request.path == "/token":
            return self._token(request)
        shown = request.header("authorization") or ""
        if self.product in ("amazon", "artifactory"):
            if shown != ROBOT:
                return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="r"'})
            actions = {"pull"} | ({"push"} if self.creates else set())
        else:
            actions = self.granted(shown)
        wanted = "pull" if request.method in ("GET", "HEAD") else "push"
        if wanted not in actions or (self.product == "artifactory" and wanted == "pull" and not self.there):
            return self.refusal(shown, wanted)
        if wanted == "push":
            return self._upload(request)
        return Reply(200, self.manifest) if self.there and self.manifest else problem(404, self._unknown)

    @property
    def _unknown(self) -> str:
        return "NAME_UNKNOWN" if self.product in ("amazon", "gitlab") else "MANIFEST_UNKNOWN"

    def _upload(self, request: Request) -> Reply:
        if self.product == "amazon" and not self.there:
            return problem(404, "NAME_UNKNOWN")
        return (
            Reply(202, headers={"Location": "/v2/team/image/blobs/uploads/1"})
            if request.method == "POST"
            else Reply(204)
        )

    def refusal(self, shown: str, wanted: str) -> Reply:
        """Return the answer to a request whose credential does not permit it."""
        if self.product == "artifactory":
            return problem(403, "DENIED")
        scope = "pull" if wanted == "pull" else "pull,push"
        challenge = f'Bearer realm="{self.web.url}/token",service="service",scope="repository:team/image:{scope}"'
        if self.product == "harbor" and shown:
            challenge = 'Basic realm="harbor"'
        return problem(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})

    def _token(self, request: Request) -> Reply:
        shown = request.header("authorization")
        if shown not in (None, ROBOT) and self.product != "harbor":
            return problem(403 if self.product == "github" else 401, "DENIED")
        if self.product == "gitlab" and shown is None:
            return problem(403, "DENIED")
        named = shown == ROBOT
        wanted = {action for scope in request.query["scope"] for action in scope.rpartition(":")[2].split(",")}
        granted = wanted & self._rights(named, wanted)
        if self.product == "github":
            return _reply("gho-" + "-".join(sorted(granted)))
        access = [{"type": "repository", "name": "team/image", "actions": sorted(granted)}]
        if self.product == "gitlab" and not granted:
            access = []
        return _reply(jwt("robot" if named else "(anonymous)" if self.product == "quay" else "", access))

    def _rights(self, named: bool, wanted: set[str]) -> set[str]:
        if not named:
            return set()
        if self.product == "quay" and not self.there:
            if "push" not in wanted or not self.creates:
                return set()
            # So does Quay: a token to push makes the repository.
            self.there = True
        return ({"pull"} if self.readable else set()) | ({"push"} if self.creates else set())

    def granted(self, shown: str) -> set[str]:
        """Return the rights that a token grants."""
        token = shown.removeprefix("Bearer ")
        if token.startswith("gho-"):
            return set(token.split("-")[1:])
        if token.count(".") != 2:
            return set()
        access = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["access"]
        return {action for entry in access for action in entry["actions"]}


def _reply(token: str) -> Reply:
    return Reply(200, json.dumps({"token": token}).encode())


@contextmanager
def token_registry(product: Product) -> Iterator[TokenRegistry]:
    """Run a registry with a token service on a free port; stop it at the end."""
    registry = TokenRegistry(product)
    with web_server(registry.answer) as registry.web:
        yield registry
