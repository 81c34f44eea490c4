"""Intermediate images: cells that are built side by side share them, so they outlive a cell that is done."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.stages.patience import patiently
from tests.integration.support.session import Session

pytestmark = pytest.mark.engine


def test_a_finished_cell_leaves_the_intermediate_images_that_another_may_stand_on(
    session: Session, tmp_path: Path
) -> None:
    context = pack_context(f"FROM scratch\nCOPY a /a\nLABEL of={session.name}\n", {"a": secrets.token_bytes(8)})
    with DockerEngine(session.name, tmp_path) as engine:
        name = engine.own_name("cell")
        image = patiently(lambda: engine.build(context, on_line=lambda _: None, tag=name), engine)
        first, *_ = engine.intermediate_images
        engine.remove_image(name)
        assert engine.image(image) is None
        assert engine.image(first) is not None
        engine.remove_leftovers()
        assert engine.image(first) is None
        assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_the_intermediate_images_of_a_killed_one(session: Session, tmp_path: Path) -> None:
    context = pack_context(f"FROM scratch\nCOPY a /a\nLABEL of={session.name}\n", {"a": secrets.token_bytes(8)})
    with DockerEngine(f"{session.name}-killed", tmp_path) as killed:
        # As a run builds: other tests remove images that the builder's cache has just listed.
        patiently(lambda: killed.build(context, on_line=lambda _: None, tag=killed.own_name("cell")), killed)
        made = killed.intermediate_images
    with DockerEngine(session.name, tmp_path) as engine:
        engine.remove_leftovers(killed.run_id)
        assert [image for image in made if engine.image(image)] == []
    assert list(tmp_path.iterdir()) == []
