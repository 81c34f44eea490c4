"""Fixtures of the tests that use the real engine: the lab, a throw-away registry, projects of their own.

README.md describes them. Everything they create carries the session's name, and is removed after the last test of the
last worker.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab.up import older_base as make_older_base
from kmatrix.values.errors import ToolError
from tests.integration.support.lab import Lab, find_lab
from tests.integration.support.node.client_node import ClientNode
from tests.integration.support.project.kept_layers import layers_compressed_once
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Site, SiteMaker, warm_up
from tests.integration.support.registries import ThrowAwayRegistry, throw_away_registry
from tests.integration.support.running_order import group_of, in_running_order
from tests.integration.support.session import Session

FOLDER = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test below this folder: it needs the container engine."""
    item.add_marker(pytest.mark.engine)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that are left after all selections into the order in which several workers finish first."""

    def group(item: pytest.Item) -> str:
        return group_of(item.path.relative_to(FOLDER).as_posix()) if item.path.is_relative_to(FOLDER) else ""

    # pytest-xdist sets it in its workers, each of which collects all tests.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = in_running_order(items, workers, group)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of this checkout; tests fail without it, they never skip."""
    saved = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("KMATRIX_")}
    try:
        yield find_lab(Path(__file__).parents[2], saved)
    finally:
        os.environ.update(saved)


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The state that the workers of one test session share; the last to leave checks that nothing is left behind."""
    base = tmp_path_factory.getbasetemp()
    name = os.environ.get("PYTEST_XDIST_TESTRUNUID", secrets.token_hex(6))[:12]
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kmatrix-session"
    folder.mkdir(exist_ok=True)
    made = Session(name, folder)
    with made.locked():
        made.enter()
    yield made
    with made.locked():
        left = made.leave()
    assert not left, f"the tests left behind: {left}"


@pytest.fixture(scope="session", autouse=True)
def kept_layers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compress each layer once, whichever project publishes it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with layers_compressed_once(shared / "kmatrix-layers"):
        yield


@pytest.fixture(scope="session")
def registry(lab: Lab, session: Session) -> Iterator[ThrowAwayRegistry]:
    """A registry that is this worker's own; a test uses a repository path of its own in it."""
    with throw_away_registry(lab, session) as started:
        yield started


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A module's own engine, whose leftovers are removed at the end."""
    with DockerEngine(f"tests-{secrets.token_hex(4)}") as made:
        yield made
        made.remove_leftovers()


@pytest.fixture(scope="session")
def older_base(lab: Lab, session: Session) -> str:
    """The reference by digest of a base whose bash, kmod and coreutils are as old as production's."""
    known = session.folder / "older-base"
    with session.locked("older-base"), DockerEngine("tests") as engine:
        if not known.exists():
            try:
                made = make_older_base(engine, lab.layout, lab.profile, lambda _: None)
            except ToolError as error:
                pytest.skip(f"the older suite cannot be had from the package archive: {error}")
            known.write_text(made, encoding="utf-8")
        return known.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def module_sites(
    tmp_path_factory: pytest.TempPathFactory, lab: Lab, session: Session, registry: ThrowAwayRegistry
) -> Iterator[SiteMaker]:
    """A function that makes a `Site` for several tests of a module."""
    with ExitStack() as stack:
        yield lambda **wishes: stack.enter_context(
            Site.made(tmp_path_factory.mktemp("site"), lab, session, registry, **wishes)
        )


@pytest.fixture
def new_site(tmp_path: Path, lab: Lab, session: Session, registry: ThrowAwayRegistry) -> Iterator[SiteMaker]:
    """A function that makes a `Site` for one test."""
    with ExitStack() as stack:

        def make(**wishes: Any) -> Site:
            root = tmp_path / f"site-{secrets.token_hex(4)}"
            return stack.enter_context(Site.made(root, lab, session, registry, **wishes))

        yield make


@pytest.fixture(scope="session")
def client_node(
    tmp_path_factory: pytest.TempPathFactory, lab: Lab, session: Session, registry: ThrowAwayRegistry
) -> Iterator[ClientNode]:
    """The worker's own node, with images of this checkout to run on it."""
    kernels = (lab.kernels.newer, lab.kernels.older)
    # Of the older client one kernel is enough.
    warm_up(lab, session, registry, (NEWER_CLIENT,), kernels)
    warm_up(lab, session, registry, (OLDER_CLIENT,), kernels[:1])
    warm_up(lab, session, registry, (NEWER_CLIENT,), kernels[:1], rdma=False)
    clients = (OLDER_CLIENT, NEWER_CLIENT)
    with ExitStack() as stack:

        def site(clients: Sequence[str], kernels: Sequence[str], **profile: Any) -> Site:
            wishes: dict[str, Any] = {"clients": clients, "kernels": kernels, "warm": False, **profile}
            return stack.enter_context(Site.made(tmp_path_factory.mktemp("site"), lab, session, registry, **wishes))

        product = site(clients, kernels)
        plain = site(clients[1:], kernels[:1], rdma=False)
        engine = stack.enter_context(DockerEngine(f"tests-{secrets.token_hex(4)}"))
        # Nobody else removes the stages that no image was made from.
        stack.callback(engine.remove_leftovers)
        yield ClientNode(lab, product, plain, engine, tmp_path_factory.mktemp("node"))
