"""The base of a cell is of the cell's architecture, also where the machine that builds it has another one."""

from __future__ import annotations

import platform
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.effects.engine.archives import regular_files
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.stages import base
from kmatrix.stages.base import pull_base
from kmatrix.stages.concurrency import Once
from kmatrix.stages.run_context import RunContext
from kmatrix.values.errors import ToolError
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.recipe import Recipe
from tests.unit.support.made_up_profile import digest, profile, recipes

PINNED, OF_ARCH = digest("e"), digest("d")
INSTRUCTIONS = "RUN microdnf install\n\nFROM base AS packages\n"


class Registry:
    """A registry whose base is a manifest list, or one image of every architecture."""

    def __init__(self, found: str | None) -> None:
        self.found = found
        self.asked: list[tuple[ImageRef, Arch]] = []

    def manifest(self, ref: ImageRef, arch: Arch) -> Any:
        self.asked.append((ref, arch))
        return self.found and SimpleNamespace(digest=self.found)


@pytest.fixture(name="pulled")
def _pulled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pulled: list[str] = []
    monkeypatch.setattr(base, "pull", lambda _, image: pulled.append(image.pinned))
    return pulled


def run_with(registry: Registry) -> RunContext:
    options = SimpleNamespace(next=lambda name: f"`nox -s {name}`")
    return cast("RunContext", SimpleNamespace(registry=registry, options=options, foreign_bases=Once()))


def recipe(arch: Arch) -> Recipe:
    made = next(iter(recipes(profile()).values()))
    return replace(made, cell=replace(made.cell, arch=arch))


def context(of: Recipe) -> bytes:
    return pack_context(f"FROM {of.base.pinned} AS base\n{INSTRUCTIONS}", {})


def dockerfile(archive: bytes) -> str:
    return regular_files(archive)["Dockerfile"].decode()


def test_another_architecture_gets_its_own_image_of_the_list(
    monkeypatch: pytest.MonkeyPatch, pulled: list[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    wanted, registry = recipe("aarch64"), Registry(OF_ARCH)
    run = run_with(registry)
    own = f"{wanted.base.repository}@{OF_ARCH}"
    for _ in range(2):
        assert dockerfile(pull_base(run, wanted, context(wanted))) == f"FROM {own} AS base\n{INSTRUCTIONS}"
    assert pulled == [own, own]
    assert registry.asked == [(wanted.base, "aarch64")], "the registry is asked once"


@pytest.mark.parametrize(("machine", "found"), [("aarch64", OF_ARCH), ("x86_64", PINNED)])
def test_a_base_that_is_of_the_architecture_stays_as_the_dockerfile_names_it(
    monkeypatch: pytest.MonkeyPatch, pulled: list[str], machine: str, found: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    wanted = recipe("aarch64")
    given = context(wanted)
    assert pull_base(run_with(Registry(found)), wanted, given) == given
    assert pulled == [wanted.base.pinned]


def test_a_base_that_is_gone_is_an_error_with_the_next_step(monkeypatch: pytest.MonkeyPatch, pulled: list[str]) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    wanted = recipe("aarch64")
    with pytest.raises(ToolError, match=r"the registry has no registry\.example/base") as caught:
        pull_base(run_with(Registry(None)), wanted, context(wanted))
    assert "`nox -s discover`" in caught.value.hint
    assert pulled == []
