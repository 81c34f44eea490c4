"""Images whose module is sound but misplaced: stale, doubled, apart from its dependencies, or mislabelled."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine import saved_image as saving
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.stages import publish
from kmatrix.values import labels
from tests.integration.support.faulty.trigger import at_stage
from tests.integration.support.lab import Lab
from tests.integration.support.project.assertions import assert_refused
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.project.spoilt_modules import Fault, SpoiltRuns, the
from tests.integration.support.session import Session

FAULTS = (
    Fault(
        "a second module",
        ("layout-duplicate",),
        "mkdir /module/srv; cp $ko /module/srv/beegfs.ko",
        words="/srv/beegfs.ko",
    ),
    Fault("no module", ("layout-no-module",), "rm $ko"),
    Fault(
        "a module outside of its kernel's folder",
        ("layout-directory", "modinfo-failed", "modversions-failed"),
        "mkdir -p $tree.old/extra; mv $ko $tree.old/extra/",
    ),
    Fault("a host link to another kernel", ("host-link",), "ln -sfn /lib/modules/6.1.0-1-amd64 $tree/host"),
    Fault(
        "a modules.dep without the in-tree dependencies",
        ("layout-modules-dep",),
        "rm $tree/host; depmod -b /module/opt $1; ln -s /lib/modules/$1 $tree/host",
    ),
)


@pytest.fixture(scope="module")
def spoilt(lab: Lab, session: Session, module_sites: SiteMaker) -> SpoiltRuns:
    """The builds of all faults."""
    return SpoiltRuns(FAULTS, lab, session, module_sites)


@pytest.mark.parametrize("fault", FAULTS, ids=the)
def test_a_misplaced_module_is_refused_for_its_place(spoilt: SpoiltRuns, fault: Fault) -> None:
    spoilt.assert_refused(fault)


def test_labels_of_another_cell_are_refused(lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    build = DockerEngine.build
    bad, good = lab.kernels.newer, lab.kernels.older
    site = new_site(kernels=[good, bad])

    def mixing_up(engine: DockerEngine, context: bytes, **options: Any) -> str:
        found = dict(options.get("labels") or {})
        if found.get(labels.KERNEL) == bad:
            found[labels.KERNEL] = good
        return build(engine, context, **{**options, "labels": found})

    monkeypatch.setattr(DockerEngine, "build", mixing_up)
    assert_refused(site, site.run("build"), f"{NEWER_CLIENT}-{bad}", "label-mismatch")


def test_another_image_than_the_tested_one_is_never_published_as_passed(
    lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine returns another image than the tested one: its base, or the image of another cell."""
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    saved = saving.saved_image

    def mixed_up(engine: Engine, image: str, folder: Path) -> Any:
        # All of its parts fit each other.
        other = engine.image(site.pins.base.pinned)
        assert other
        instead = SimpleNamespace(save=lambda _: engine.save(other.id), raise_if_stopping=lambda: None)
        return saved(cast("Engine", instead), image, folder)

    monkeypatch.setattr(publish, "saved_image", mixed_up)
    run = site.run("build", "--only", f"{NEWER_CLIENT}-{lab.kernels.newer}")
    cell = run.cell(f"{NEWER_CLIENT}-{lab.kernels.newer}")
    assert (run.code, cell["verdict"]) == (3, "errored")
    assert "the engine was asked for the image" in cell["reason"]
    assert site.tags == set()


def test_a_name_that_is_moved_to_another_image_before_the_push_is_of_no_use(
    lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves the image's name in the engine to an untested image between the check and the push."""
    site = new_site(kernels=[lab.kernels.newer])
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"

    def move() -> None:
        with DockerEngine("tests") as engine:
            engine.tag(site.pins.base.pinned, f"{site.target}/beegfs-client", site.tag_of(cell))

    at_stage(monkeypatch, "push", cell, move)
    run = site.run("build")
    assert run.verdicts == {cell: "passed"}, run.stderr
    assert run.cell(cell)["image_id"] == site.registry.manifest(site.repository, cell)["config"]["digest"]
