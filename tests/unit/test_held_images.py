"""Images that several boots need are in the engine until the last of these boots ends, and no longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from kmatrix.stages.concurrency import Once
from kmatrix.stages.held_images import SharedImages, pull
from kmatrix.stages.run_context import RunContext
from kmatrix.values.errors import ToolError
from kmatrix.values.names import ImageRef

ONE, OTHER = (ImageRef.parse(f"registry.example/toolkit@sha256:{letter * 64}") for letter in "ab")


@dataclass
class StandInEngine:
    """Notes when it holds and lets go images."""

    events: list[str] = field(default_factory=list)
    refuses: str = ""
    stopping: bool = False

    def hold(self, pinned: str, _: object) -> None:
        if pinned == self.refuses:
            raise ToolError("no such image", "Look at it.")
        self.events.append(f"hold {pinned[-1]}")

    def let_go(self, pinned: str) -> None:
        self.events.append(f"let go {pinned[-1]}")


@pytest.fixture
def engine() -> StandInEngine:
    return StandInEngine()


@pytest.fixture
def run(engine: StandInEngine) -> RunContext:
    credentials = SimpleNamespace(for_engine=lambda _: None)
    return cast("RunContext", SimpleNamespace(engine=engine, credentials=credentials, pulls=Once()))


def test_an_image_for_two_boots_is_let_go_after_the_second(engine: StandInEngine, run: RunContext) -> None:
    with SharedImages(run, [ONE, OTHER, ONE]) as images:
        with images.held(ONE) as pinned:
            assert pinned == ONE.pinned
        with images.held(OTHER):
            pass
        assert engine.events == ["hold a", "hold b", "let go b"]
        with images.held(ONE):
            pass
    assert engine.events == ["hold a", "hold b", "let go b", "hold a", "let go a", "let go a"]


def test_images_of_boots_that_never_began_are_let_go_at_the_end(engine: StandInEngine, run: RunContext) -> None:
    with SharedImages(run, [ONE, OTHER, ONE]) as images, images.held(ONE):
        pass
    assert engine.events == ["hold a", "let go a"]


def test_a_boot_whose_image_cannot_be_held_lets_go_of_no_other_hold(engine: StandInEngine, run: RunContext) -> None:
    with SharedImages(run, [ONE, ONE]) as images:
        with images.held(ONE):
            engine.refuses = ONE.pinned
        with pytest.raises(ToolError), images.held(ONE):
            pytest.fail("it was not held")
        assert engine.events == ["hold a", "let go a"]


def test_images_to_keep_stay_in_the_engine(engine: StandInEngine, run: RunContext) -> None:
    with SharedImages(run, [ONE, OTHER], keep=True) as images, images.held(ONE):
        pass
    assert engine.events == ["hold a"]


def test_an_image_that_all_cells_need_is_held_once(engine: StandInEngine, run: RunContext) -> None:
    pull(run, ONE)
    pull(run, ONE)
    assert engine.events == ["hold a"]
