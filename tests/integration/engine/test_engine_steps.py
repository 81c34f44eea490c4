"""Intermediate images: cells that are built side by side share them, so they outlive a cell that is done."""

from __future__ import annotations

import secrets

from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.docker import Engine
from tests.integration.support.session import Session


def test_a_finished_cell_leaves_the_steps_that_another_may_stand_on(session: Session) -> None:
    content = {"a": secrets.token_bytes(8)}
    context = pack_context(f"FROM scratch\nCOPY a /a\nLABEL of={session.name}\n", content)
    steps: list[str] = []
    with Engine(session.name) as engine:
        image = engine.build(context, on_line=lambda _: None, steps=steps)
        engine.tag(image, "kmatrix-test-steps", session.name)
        engine.remove_image(f"kmatrix-test-steps:{session.name}", with_steps=False)
        left = engine.image(steps[0])
        engine.remove_step(steps[0])
        assert engine.image(image) is None
        assert left is not None
        assert engine.image(steps[0]) is None
