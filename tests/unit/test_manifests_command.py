"""Which folders `manifests` writes when only a part of a bundle is there, and what it says and ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.kept_results import keep_published
from kmatrix.effects.disk.bundles import write_bundles
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import Finding
from kmatrix.values.errors import CredentialError, Exit, KmatrixError, ProtocolError, UnreachableError
from kmatrix.values.lock import KernelPin, Lock, ProfileLock, ReleasePin, inputs_digest, write_lock
from kmatrix.values.names import ClientVersion, ImageRef, ReleaseVersion
from tests.unit.support.manifest_maker import REPOSITORY, ROOT
from tests.unit.test_render import FINGERPRINT, client_pin, digest

CLIENT, KERNEL = "8.2.2", "5.14.0-427.50.1.el9_4.x86_64"
MATRIX = f"""
schema: 1
default_profile: here
profiles:
  here:
    about: a profile for tests
    graph: https://graph.example/graph
    channels: [{{name: stable-4.16}}]
    arches: [x86_64]
    flavours: [standard]
    packages: https://packages.example/release
    key_fingerprint: {FINGERPRINT}
    base: registry.example/base/minimal:latest
    base_line: el9
    clients: [{CLIENT}]
    target: {REPOSITORY.rpartition("/")[0]}
"""
PUBLISHED = BundleResult(
    client=CLIENT,
    image=f"{REPOSITORY}:{CLIENT}",
    verdict="passed",
    reason="loaded in 1 kernel",
    digest=digest("b"),
    kernels=(KERNEL,),
    arches=("x86_64",),
    images=(BundleImage("x86_64", digest("b"), 1, {KERNEL: 1}, 1),),
    modules={KERNEL: f"{REPOSITORY}@{digest('c')}"},
)
FAULT = Finding("module-images", "module-image-unknown", "a tag cannot be read")
WITHOUT_MODULES = replace(
    PUBLISHED, verdict="errored", reason=f"loaded in 1 kernel, but {FAULT.message}", findings=(FAULT,), modules={}
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a matrix and a lock, whose bundle command has not run yet."""
    for name in ("GRAPH", "PACKAGES", "TARGET", "LOCK", "MIRRORS", "PROFILE", "ROOT", "BASE", "KEY_FINGERPRINT"):
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    base = ImageRef.parse(f"registry.example/base/minimal@{digest('a')}")
    release = ReleasePin(
        version=ReleaseVersion.parse("4.16.5"),
        arch="x86_64",
        channels=("stable-4.16",),
        payload=ImageRef.parse(f"registry.example/release@{digest('c')}"),
        toolkit=ImageRef.parse(f"registry.example/toolkit@{digest('d')}"),
        rhel="9.4",
        kernels=(KernelPin(release=KERNEL, flavour="standard"),),
    )
    inputs = inputs_digest(read_matrix(MATRIX).profile("here"))
    pins = ProfileLock(
        inputs=inputs, base=base, releases=(release,), clients=(client_pin(ClientVersion.parse(CLIENT), "el9"),)
    )
    (tmp_path / "matrix.lock").write_text(write_lock(Lock().with_profile("here", pins)), encoding="utf-8")
    return tmp_path


def run(project: Path, result: BundleResult, *ways: str) -> int:
    """Render what `bundle` came to, for the ways that need a bundle."""
    write_bundles(project / "build" / "bundles.json", "here", [result])
    chosen = [argument for way in ways or ("prebuilt", "kmm") for argument in ("--way", way)]
    return main(["manifests", "--root", str(project), *chosen])


def folders(project: Path) -> set[str]:
    deploy = project / "build" / "deploy" / "here"
    found = deploy.glob("*/*/kustomization.yaml")
    return {f"{path.parts[-3]}/{path.parts[-2]}" for path in found if path.parts[-3] != "components"}


def image(project: Path) -> Any:
    daemonset = project / "build" / "deploy" / "here" / "prebuilt" / CLIENT / "daemonset.yaml"
    return yaml.safe_load(daemonset.read_text())["spec"]["template"]["spec"]["containers"][0]["image"]


def test_a_bundle_without_module_images_is_rendered_for_all_but_kmm_whose_earlier_folder_stays(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, WITHOUT_MODULES) == Exit.FAILED
    assert folders(project) == {f"prebuilt/{CLIENT}"}
    assert image(project) == f"{REPOSITORY}@{digest('b')}"
    said = capsys.readouterr().err
    assert f"not written: kmm/{CLIENT}: build/bundles.json says of client {CLIENT}: errored: " in said
    assert FAULT.message in said
    assert "not written: prebuilt" not in said
    assert run(project, PUBLISHED) == Exit.OK
    module = project / "build" / "deploy" / "here" / "kmm" / CLIENT / "module.yaml"
    before = module.read_bytes()
    assert run(project, replace(WITHOUT_MODULES, digest=digest("d"))) == Exit.FAILED
    assert image(project) == f"{REPOSITORY}@{digest('d')}"
    assert module.read_bytes() == before
    assert "what an earlier run wrote is kept" in capsys.readouterr().err


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
    assert f"{CLIENT}: {result.verdict}: {result.reason}" in said
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
    assert f"warning: build/bundles.json says of client {CLIENT}: errored: {new.reason}; " in said
    assert "last seen there at 2026-01-01T00:00:00Z" in said


def test_a_client_whose_packages_cannot_be_asked_for_is_told_with_a_next_step(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "images").symlink_to(ROOT / "images")
    ended = main(
        ["manifests", "--root", str(project), "--way", "in-cluster-build", "--packages", str(project / "nowhere")]
    )
    assert ended != Exit.OK
    said = capsys.readouterr().err
    (reason,) = [line for line in said.splitlines() if line.strip().startswith(f"in-cluster-build/{CLIENT}: ")]
    assert reason.endswith("."), reason


def without_root(project: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    (project / "images").symlink_to(ROOT / "images")

    def fetch(*_: object) -> None:
        raise error

    monkeypatch.setattr(PackageRoot, "fetch", fetch)


OUTAGE = UnreachableError("package root", "https://packages.example/release", "503")
REFUSED = CredentialError("the package root refuses the credential", "Renew it.")


@pytest.mark.parametrize("error", [OUTAGE, REFUSED])
def test_an_outage_of_the_package_root_is_told_as_an_outage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: KmatrixError
) -> None:
    without_root(project, monkeypatch, error)
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
    without_root(project, monkeypatch, OUTAGE)
    failed = replace(PUBLISHED, verdict="failed", reason="kernel panic", digest="", modules={})
    assert run(project, failed, "in-cluster-build", "prebuilt") == Exit.USAGE
    assert run(project, WITHOUT_MODULES, "in-cluster-build", "prebuilt", "kmm") == Exit.FAILED
    assert folders(project) == {f"prebuilt/{CLIENT}"}
    said = capsys.readouterr().err
    assert OUTAGE.message in said
    assert "In this order: " in said


def test_a_package_that_is_not_what_was_pinned_is_no_outage(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_root(project, monkeypatch, ProtocolError("the key is not what was pinned", "Look at it."))
    assert run(project, PUBLISHED, "in-cluster-build", "prebuilt") == Exit.FAILED
