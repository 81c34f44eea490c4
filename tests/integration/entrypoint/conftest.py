"""Fixtures of the entry point's tests: images on both bases, and containers of them that play nodes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kmatrix.values.names import image_tag
from tests.integration.support.lab import Lab
from tests.integration.support.node.cell_node import (
    FILES,
    CellNode,
    cell_node,
)
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Site
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import Session


@pytest.fixture(scope="session", params=["current", "older"])
def images(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    lab: Lab,
    session: Session,
    registry: ThrowAwayRegistry,
) -> Iterator[dict[str, str]]:
    """A cell's image of each client, by client version; on the lab's base, and on one as old as production's.

    They are built once for all modules of this folder: pytest runs all tests of one parameter before those of the next.
    """
    base = {"base": request.getfixturevalue("older_base")} if request.param == "older" else {}
    wishes: dict[str, Any] = {"clients": (OLDER_CLIENT, NEWER_CLIENT), "kernels": (lab.kernels.newer,), **base}
    with Site.made(tmp_path_factory.mktemp("site"), lab, session, registry, **wishes) as site:
        built = site.run("build", "--no-push")
        assert built.code == 0, built.stderr
        names = {version: image_tag(f"{version}-{lab.kernels.newer}") for version in FILES}
        yield {version: f"{site.target}/beegfs-client:{name}" for version, name in names.items()}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Holds the containers that a test starts; they are removed at its end."""
    with ExitStack() as made:
        yield made


@pytest.fixture
def node(request: pytest.FixtureRequest, stack: ExitStack, images: dict[str, str], session: Session) -> CellNode:
    """A node with the client of the test's parameter `version`, by default the newer."""
    return stack.enter_context(cell_node(images[version_of(request)], session))


def version_of(request: pytest.FixtureRequest) -> str:
    """Return the client version that a test is parametrized with, by default the newer."""
    version = request.node.callspec.params.get("version") if hasattr(request.node, "callspec") else None
    return str(version or NEWER_CLIENT)


@pytest.fixture
def older_node(stack: ExitStack, images: dict[str, str], session: Session) -> CellNode:
    """A node with the older client, which has a helper daemon."""
    return stack.enter_context(cell_node(images[OLDER_CLIENT], session))


@pytest.fixture
def rebuilt_node(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stack: ExitStack,
    images: dict[str, str],
    session: Session,
    lab: Lab,
) -> tuple[CellNode, str]:
    """A RHEL node on which a script plays rebuild-module, and the srcversion of the module that it leaves."""
    ko = f"/opt/lib/modules/{lab.kernels.newer}/extra/beegfs.ko"
    program = tmp_path / "rebuild-module"
    program.write_text(
        f'#!/bin/bash\necho "rebuild-module $*" >>/test/calls\n'
        "folder=/opt/lib/modules/$1/extra; mkdir -p $folder\n"
        f"echo 'making it' >&2; cp {ko} $folder; echo /opt\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    files = {program: "/usr/local/sbin/rebuild-module"}
    # The container of a RHEL worker may write in the image.
    writable = {f"/opt/lib/modules/{platform.release()}": ""}
    node = stack.enter_context(cell_node(images[version_of(request)], session, files=files, tmpfs=writable))
    node.write("/host/etc/os-release", 'NAME="Red Hat"\nID="rhel"\nVERSION_ID="9.4"\n')
    node.loader()
    return node, node.say(f"modinfo -F srcversion {ko}")
