"""Two runs on one engine: an image that both pulled is removed when the last of them is done with it, not before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.docker import DockerEngine
from tests.integration.support.registries import ThrowAwayRegistry
from tests.integration.support.session import LABEL, Session


@pytest.fixture
def runs() -> Iterator[tuple[Engine, Engine]]:
    """Two engines with run ids of their own, as two runs have them."""
    with ExitStack() as stack:
        made = [stack.enter_context(DockerEngine(f"tests-{secrets.token_hex(4)}")) for _ in range(2)]
        yield made[0], made[1]
        for engine in made:
            engine.remove_leftovers()


@pytest.fixture
def pinned(runs: tuple[Engine, Engine], registry: ThrowAwayRegistry, session: Session) -> str:
    """An image that a registry has, and the engine not."""
    engine, name = runs[0], secrets.token_hex(6)
    made = engine.build(
        pack_context("FROM scratch\nCOPY it /\n", {"it": name.encode()}),
        on_line=lambda _: None,
        labels={LABEL: session.name},
        tag=f"{registry.address}/{name}:1",
    )
    engine.push(f"{registry.address}/{name}", "1", None)
    engine.remove_image(f"{registry.address}/{name}:1")
    assert engine.image(made) is None
    return f"{registry.address}/{name}@{registry.digest(name, '1')}"


def test_an_image_that_another_run_holds_stays(runs: tuple[Engine, Engine], pinned: str) -> None:
    one, other = runs
    one.hold(pinned, None)
    other.hold(pinned, None)
    one.let_go(pinned)
    assert other.image(pinned) is not None
    other.let_go(pinned)
    assert other.image(pinned) is None


def test_an_image_that_was_there_before_stays(runs: tuple[Engine, Engine], pinned: str) -> None:
    one, other = runs
    other.pull(pinned, None)
    one.hold(pinned, None)
    one.let_go(pinned)
    assert one.image(pinned) is not None
    assert one.image_names("kmatrix-run/" + one.run_id) == ()
    one.remove_image(pinned)


def test_the_names_of_a_run_go_with_it(runs: tuple[Engine, Engine], pinned: str) -> None:
    one, other = runs
    one.hold(pinned, None)
    assert len(one.image_names("kmatrix-run/" + one.run_id)) == 1
    # As the next run does for one that was killed.
    other.remove_leftovers(one.run_id)
    assert one.image_names("kmatrix-run/" + one.run_id) == ()
    one.remove_image(pinned)
