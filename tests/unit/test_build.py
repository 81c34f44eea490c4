"""The stages of a cell's image: which need a network, and which the cells of an architecture share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.errors import StepFailedError
from kmatrix.stages import build as build_stage
from kmatrix.stages.concurrency import Once
from kmatrix.values.engine import FailedStep
from kmatrix.values.errors import BuildError, ToolError
from kmatrix.values.names import ImageRef
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.stand_in_engine import StandInEngine

PUBLISHED = ImageRef.parse("registry.example/team/beegfs-client@sha256:" + "a" * 64)
OUT = "error: Failed to download metadata for repo 'ubi-9-baseos': Cannot prepare internal mirrorlist"
INSTALL = FailedStep("/bin/sh -c microdnf install -y kmod", 1, (OUT,))
CONTEXT = pack_context("FROM scratch\n", {})


class BuildingEngine(StandInEngine):
    """Ends its builds with the errors of a test, and notes which images were there for each."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)
        self.options: list[dict[str, Any]] = []
        self.there: list[bool] = []

    def build(self, context: bytes, *, on_line: Callable[[str], None], **options: Any) -> str:
        self.options.append(options)
        self.there.append(PUBLISHED.pinned in self.images)
        on_line(OUT)
        if self.errors:
            raise self.errors.pop(0)
        return "sha256:built"


def failed(step: FailedStep) -> StepFailedError:
    return StepFailedError(f"The command '{step.command}' returned a non-zero code: {step.status}", step)


def work(engine: BuildingEngine, published: bool = False) -> Any:
    """A cell under way in a run with this engine."""
    recipe = next(iter(recipes(profile(base_packages=["kmod"])).values()))
    known = {recipe.cell.arch: PUBLISHED} if published else {}
    run_context = SimpleNamespace(
        engine=engine,
        published=known,
        options=SimpleNamespace(rebuild="", profile_name="site"),
        credentials=SimpleNamespace(for_engine=lambda _: None),
        pulls=Once(),
    )
    return SimpleNamespace(run=run_context, recipe=recipe, line=lambda _: None)


def test_packages_that_cannot_be_installed_say_nothing_about_the_product() -> None:
    """A package manager without a network ends with the exit code of one that finds no such package."""
    engine = BuildingEngine(failed(INSTALL))
    with pytest.raises(ToolError, match="base's packages could not be installed") as caught:
        build_stage.build_base(work(engine), CONTEXT)
    assert not isinstance(caught.value, BuildError)
    assert OUT in caught.value.message
    assert "base_packages" in caught.value.hint


def test_the_base_alone_is_built_with_a_network() -> None:
    engine = BuildingEngine()
    build_stage.build_base(work(engine), CONTEXT)
    build_stage.build_group(work(engine), CONTEXT)
    base, group = engine.options
    assert (base["target"], base["network"]) == ("base", "default")
    assert (group["target"], group["network"]) == ("userland", "none")
    assert base["tag"] != group["tag"]


def test_who_tries_again_to_build_the_base_has_the_published_one_again() -> None:
    """Else it would install its packages anew, and nodes would pull them again."""
    engine = BuildingEngine(ToolError("a container did not end", "Is the machine busy?"))
    cell = work(engine, published=True)
    with pytest.raises(ToolError):
        build_stage.build_base(cell, CONTEXT)
    build_stage.build_base(cell, CONTEXT)
    assert engine.there == [True, True]
    assert engine.images == {}
    assert [options["cache_from"] for options in engine.options] == [[PUBLISHED.pinned]] * 2


@pytest.mark.parametrize(
    ("said", "kind"),
    [("a.c:1: error: no such member", BuildError), ("cc1: out of memory allocating 9 bytes", ToolError)],
)
def test_a_compile_s_own_words_fail_a_cell_and_the_machine_s_do_not(said: str, kind: type[Exception]) -> None:
    engine = BuildingEngine(failed(FailedStep("/kmatrix/build-module 5.14.0 8 yes /module", 2, (said,))))
    with pytest.raises(kind, match=r"non-zero code|no fault of the product") as caught:
        build_stage._judged(work(engine), CONTEXT, name="cell")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "said",
    [
        "standard_init_linux.go:228: exec user process caused: exec format error",
        'standard_init_linux.go:207: exec user process caused "exec format error"',
        "exec /kmatrix/build-module: exec format error",
        '{"msg":"exec container process `/kmatrix/build-module`: Exec format error","level":"error"}',
    ],
)
@pytest.mark.parametrize(
    ("command", "build"),
    [
        (INSTALL.command, build_stage.build_base),
        ("/kmatrix/build-module 6.1.0 8 yes /module", partial(build_stage._judged, name="cell")),
    ],
)
def test_a_machine_that_does_not_run_the_architecture_fails_no_cell(
    said: str, command: str, build: Callable[..., str]
) -> None:
    """The stages below the compile may be in the engine's cache, from a time when the machine had an emulator."""
    engine = BuildingEngine(failed(FailedStep(command, 1, (said,))))
    with pytest.raises(ToolError, match="runs no programs of x86_64") as caught:
        build(work(engine), CONTEXT)
    assert type(caught.value) is ToolError
    assert "`./scripts/bootstrap --arch x86_64`" in caught.value.hint


def test_a_program_of_the_toolkit_that_a_compile_cannot_start_fails_the_cell() -> None:
    said = "/bin/sh: line 1: scripts/basic/fixdep: cannot execute binary file: Exec format error"
    engine = BuildingEngine(failed(FailedStep("/kmatrix/build-module 5.14.0 8 yes /module", 2, (said,))))
    with pytest.raises(BuildError):
        build_stage._judged(work(engine), CONTEXT, name="cell")
