"""Many cells in one repository, requested at once: one thread's grant decides nothing for another.

The registries are those of tokenservice.py, which names the sources of their responses. A response is delayed until the
other threads have reached the point that a test needs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import docker.auth
import pytest

from kmatrix.effects.registry.credentials import Credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.concurrency import map_threads
from kmatrix.values.errors import KmatrixError, NotReadableError
from kmatrix.values.names import ImageRef
from tests.unit.support.http_server import Reply, Request
from tests.unit.support.token_service import Product, TokenRegistry, token_registry

ALL: tuple[Product, ...] = ("quay", "harbor", "gitlab", "github", "amazon", "artifactory")
PULL, PUSH = ["repository:team/image:pull"], ["repository:team/image:pull,push"]
CELLS = 8
# Nothing waits as long as this unless a test is broken.
_HANGS_SECONDS = 60


@pytest.fixture
def server(product: Product) -> Iterator[TokenRegistry]:
    with token_registry(product) as running:
        yield running


def registry(server: TokenRegistry) -> RegistryWriter:
    known = Credentials({server.web.address: ("robot", "right")}, "the-file", docker.auth.AuthConfig({}))
    return RegistryWriter(known, pushes_to=f"{server.web.address}/team")


def ref(server: TokenRegistry, tag: int) -> ImageRef:
    return ImageRef.parse(f"{server.web.address}/team/image:{tag}")


class Held:
    """A registry that gets requests for CELLS tags at once and answers one of them, the leader, before the others.

    The first request for each tag is answered when all of them have arrived.
    """

    def __init__(self, server: TokenRegistry) -> None:
        self.server = server
        self.asked = threading.Barrier(CELLS)
        self.lock = threading.Lock()
        self.leader = ""
        self.far = threading.Event()
        self.followed = threading.Event()
        self.followers: set[str] = set()
        self.pulls = 0
        self.begun: set[str] = set()

    def first(self, request: Request) -> bool:
        """Return whether this is the first request for a tag; if so, wait for the others."""
        with self.lock:
            is_first = "/manifests/" in request.path and request.path not in self.begun
            self.begun.add(request.path)
        if is_first:
            self.asked.wait(_HANGS_SECONDS)
        return is_first

    def pull_token(self, request: Request) -> int:
        """Return the number of a request for a token that may only pull, from 1; 0 for any other."""
        with self.lock:
            if request.path != "/token" or request.query["scope"] != PULL:
                return 0
            self.pulls += 1
            return self.pulls

    def leads(self, request: Request) -> bool:
        """Return whether a request for a tag is the leader's: the first one."""
        with self.lock:
            self.leader = self.leader or request.path
            return self.leader == request.path

    def shows_push(self, request: Request) -> bool:
        return "push" in self.server.granted(request.header("authorization") or "")


class PushFirst(Held):
    """The leader has the right to push before the others are refused with tokens that may only pull.

    Each thread's first token is issued when all of them have requested one.
    """

    def answer(self, request: Request) -> Reply:
        reply = self.server.answer(request)
        if self.first(request):
            return reply
        if 1 <= self.pull_token(request) <= CELLS:
            self.asked.wait(_HANGS_SECONDS)
        elif self.shows_push(request) or request.method == "POST":
            self.far.set()
        elif "/manifests/" in request.path and reply.status in (401, 403) and not self.leads(request):
            assert self.far.wait(_HANGS_SECONDS)
        return reply


class PullFirst(Held):
    """The others have tokens that may only pull before the leader is refused with one that may push."""

    def answer(self, request: Request) -> Reply:
        reply = self.server.answer(request)
        if self.first(request):
            return reply
        if self.pull_token(request) > 1:
            assert self.far.wait(_HANGS_SECONDS)
        elif "/manifests/" in request.path:
            self._manifest(request, reply.status in (401, 403))
        return reply

    def _manifest(self, request: Request, refused: bool) -> None:
        if not self.leads(request):
            with self.lock:
                self.followers.add(request.path)
                if len(self.followers) == CELLS - 1:
                    self.followed.set()
        elif self.shows_push(request):
            self.far.set()
            assert self.followed.wait(_HANGS_SECONDS)
        elif not refused:
            self.far.set()


def outcomes(server: TokenRegistry) -> list[object]:
    asked = registry(server)

    def ask(tag: int) -> object:
        try:
            return asked.manifest(ref(server, tag), "x86_64")
        except KmatrixError as error:
            return error

    return map_threads(ask, range(CELLS), CELLS)


@pytest.mark.parametrize("order", [PushFirst, PullFirst])
@pytest.mark.parametrize("product", ALL)
def test_before_the_first_push_no_cell_is_there(
    server: TokenRegistry, order: type[PushFirst] | type[PullFirst]
) -> None:
    server.web.answer = order(server).answer
    assert outcomes(server) == [None] * CELLS


@pytest.mark.parametrize("order", [PushFirst, PullFirst])
@pytest.mark.parametrize("product", ["github", "artifactory"])
def test_where_only_a_push_can_tell_each_cell_tries_with_its_own_token(
    server: TokenRegistry, order: type[PushFirst] | type[PullFirst]
) -> None:
    server.readable = False
    server.web.answer = order(server).answer
    assert outcomes(server) == [None] * CELLS


@pytest.mark.parametrize("order", [PushFirst, PullFirst])
@pytest.mark.parametrize("product", ["quay", "harbor", "gitlab"])
def test_who_may_push_and_not_read_is_told_so_for_each_cell(
    server: TokenRegistry, order: type[PushFirst] | type[PullFirst]
) -> None:
    server.readable = False
    server.web.answer = order(server).answer
    found = outcomes(server)
    assert all(isinstance(each, NotReadableError) for each in found)
    assert {"may push to" in str(each) for each in found} == {True}


@pytest.mark.parametrize("product", ["quay"])
def test_a_token_that_may_push_is_renewed_as_one_that_may_push(server: TokenRegistry) -> None:
    asked, expired = registry(server), [True]

    def expiring(request: Request) -> Reply:
        return server.refusal("", "pull") if expired and expired.pop() else server.answer(request)

    assert asked.manifest(ref(server, 1), "x86_64") is None
    server.web.answer = expiring
    assert asked.manifest(ref(server, 1), "x86_64") is None
    assert server.scopes == [PULL, PUSH, PUSH]


@pytest.mark.parametrize("product", ["harbor", "gitlab", "github"])
def test_a_token_that_may_only_pull_replaces_none_that_may_push(server: TokenRegistry) -> None:
    asked, plain, left = registry(server), server.answer, [b"pushed meanwhile"]

    def answer(request: Request) -> Reply:
        reply = plain(request)
        if left and request.path == "/token":
            asked.put_blob(ref(server, 1), left.pop())
        return Reply(201) if request.method == "PUT" and reply.status == 204 else reply

    server.web.answer = answer
    assert asked.manifest(ref(server, 2), "x86_64") is None
    asked.put_blob(ref(server, 1), b"pushed later")
    assert server.scopes == [PULL, PUSH]
