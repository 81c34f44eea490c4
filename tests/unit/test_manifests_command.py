"""Which folders `manifests` writes when only a part of a bundle is there, and what it says and ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.kept_results import keep_published
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import Finding
from kmatrix.values.errors import CredentialError, Exit, KmatrixError, ProtocolError, UnreachableError
from tests.unit.support.made_up_profile import digest
from tests.unit.support.manifest_maker import REPOSITORY
from tests.unit.support.manifests_project import (
    SETTINGS,
    bundle,
    deploy_folder,
    manifests,
    names,
    write_file,
    write_project,
)

CLIENT = "8.2.2"
PUBLISHED = bundle(CLIENT)
FAULT = Finding("module-images", "module-image-unknown", "a tag cannot be read")
WITHOUT_MODULES = replace(
    PUBLISHED, verdict="errored", reason=f"loaded in 1 kernel, but {FAULT.message}", findings=(FAULT,), modules={}
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one client, whose bundle command has not run yet."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    return write_project(tmp_path / "project", (CLIENT,))


def run(project: Path, result: BundleResult, *ways: str) -> int:
    """Render the manifests of a bundle, for the deployment methods that need one."""
    write_file(project, [result])
    return manifests(project, *(argument for way in ways or ("prebuilt", "kmm") for argument in ("--method", way)))


def folders(project: Path) -> set[str]:
    return names(deploy_folder(project))


def image(project: Path) -> Any:
    daemonset = deploy_folder(project) / "prebuilt" / CLIENT / "daemonset.yaml"
    return yaml.safe_load(daemonset.read_text())["spec"]["template"]["spec"]["containers"][0]["image"]


def test_a_bundle_without_module_images_is_rendered_for_all_but_kmm_whose_earlier_folder_stays(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, WITHOUT_MODULES) == Exit.FAILED
    assert folders(project) == {f"prebuilt/{CLIENT}"}
    assert image(project) == f"{REPOSITORY}@{digest('b')}"
    said = capsys.readouterr().err
    assert f"not written: kmm/{CLIENT}: build/bundles.json has client {CLIENT} as errored: " in said
    assert FAULT.message in said
    assert "not written: prebuilt" not in said
    assert run(project, PUBLISHED) == Exit.OK
    module = deploy_folder(project) / "kmm" / CLIENT / "module.yaml"
    before = module.read_bytes()
    assert run(project, replace(WITHOUT_MODULES, digest=digest("d"))) == Exit.FAILED
    assert image(project) == f"{REPOSITORY}@{digest('d')}"
    assert module.read_bytes() == before
    assert "the files of an earlier run are kept" in capsys.readouterr().err


def test_who_does_not_want_kmm_gets_all_that_was_asked_for(project: Path) -> None:
    assert run(project, WITHOUT_MODULES, "prebuilt") == Exit.OK
    assert folders(project) == {f"prebuilt/{CLIENT}"}


@pytest.mark.parametrize(
    "result",
    [
        replace(PUBLISHED, verdict="errored", reason="no boot", digest="", modules={}),
        replace(PUBLISHED, verdict="failed", reason="kernel panic", digest="", modules={}),
        replace(PUBLISHED, verdict="failed", reason="kernel panic"),
    ],
)
def test_a_bundle_that_is_not_published_is_rendered_for_nobody(
    project: Path, capsys: pytest.CaptureFixture[str], result: BundleResult
) -> None:
    assert run(project, result) == Exit.USAGE
    assert folders(project) == set()
    said = capsys.readouterr().err
    assert f"client {CLIENT} as {result.verdict}: {result.reason}" in said
    assert run(project, PUBLISHED) == Exit.OK


def test_a_bundle_whose_last_run_reached_no_verdict_is_rendered_as_it_was_published(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = BundleResult(CLIENT, PUBLISHED.image, "errored", "the image registry could not be queried")
    known = replace(PUBLISHED, seen="2026-01-01T00:00:00Z")
    assert run(project, keep_published(new, known, "2026-02-02T00:00:00Z")) == Exit.OK
    assert folders(project) == {f"prebuilt/{CLIENT}", f"kmm/{CLIENT}"}
    assert image(project) == f"{REPOSITORY}@{digest('b')}"
    said = capsys.readouterr().err
    assert f"warning: build/bundles.json has client {CLIENT} as errored: {new.reason}; " in said
    assert "last seen there at 2026-01-01T00:00:00Z" in said


def test_a_client_whose_packages_cannot_be_asked_for_is_told_with_a_next_step(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = manifests(project, "--method", "in-cluster-build", "--packages", str(project / "nowhere"))
    assert ended != Exit.OK
    said = capsys.readouterr().err
    (reason,) = [line for line in said.splitlines() if line.strip().startswith(f"in-cluster-build/{CLIENT}: ")]
    assert reason.endswith("."), reason


def without_root(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fetch(*_: object) -> None:
        raise error

    monkeypatch.setattr(PackageRoot, "fetch", fetch)


OUTAGE = UnreachableError("package root", "https://packages.example/release", "503")
REFUSED = CredentialError("the package root refuses the credential", "Renew it.")


@pytest.mark.parametrize("error", [OUTAGE, REFUSED])
def test_an_outage_of_the_package_root_is_told_as_an_outage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: KmatrixError
) -> None:
    without_root(monkeypatch, error)
    assert run(project, PUBLISHED, "in-cluster-build") == Exit.UNREACHABLE
    assert error.message in capsys.readouterr().err
    assert run(project, PUBLISHED, "in-cluster-build", "prebuilt") == Exit.UNREACHABLE
    assert folders(project) == {f"prebuilt/{CLIENT}"}
    said = capsys.readouterr().err
    assert f"not written: in-cluster-build/{CLIENT}: {error.message}. {error.hint}" in said
    assert "In this order: " not in said, "no earlier step of these is missing"


def test_an_outage_hides_nothing_that_is_missing_for_another_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_root(monkeypatch, OUTAGE)
    failed = replace(PUBLISHED, verdict="failed", reason="kernel panic", digest="", modules={})
    assert run(project, failed, "in-cluster-build", "prebuilt") == Exit.USAGE
    assert run(project, WITHOUT_MODULES, "in-cluster-build", "prebuilt", "kmm") == Exit.FAILED
    assert folders(project) == {f"prebuilt/{CLIENT}"}
    said = capsys.readouterr().err
    assert OUTAGE.message in said
    assert "In this order: " in said


def test_a_package_that_is_not_what_was_pinned_is_no_outage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_root(monkeypatch, ProtocolError("the key is not what was pinned", "Look at it."))
    assert run(project, PUBLISHED, "in-cluster-build", "prebuilt") == Exit.FAILED
