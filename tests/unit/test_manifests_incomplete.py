"""`manifests` where something is missing: every folder that can be complete is written, the others are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.values.bundle import BundleResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import read_lock, write_lock
from kmatrix.values.names import ClientVersion
from tests.unit.support.made_up_profile import digest
from tests.unit.support.manifest_maker import REPOSITORY
from tests.unit.support.manifests_project import (
    CLIENTS,
    KERNEL,
    SETTINGS,
    bundle,
    content,
    deploy_folder,
    manifests,
    names,
    rendered,
    write_file,
    write_project,
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which `bundle` has published a bundle of each client."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = write_project(tmp_path / "project")
    write_file(root, [bundle(client) for client in CLIENTS])
    return root


@pytest.mark.parametrize(
    ("bundles", "profile", "says"),
    [
        ([], "here", "has no bundle of client 8.2.2"),
        ([bundle(client) for client in CLIENTS], "elsewhere", "has no bundle of client 7.4.6"),
        ([bundle("8.2.2", verdict="failed", reason="kernel panic", digest="")], "here", "8.2.2: failed: kernel panic"),
        ([bundle("8.2.2", digest="")], "here", "client 8.2.2"),
    ],
)
def test_without_any_bundle_it_writes_nothing_and_says_how_to_get_one(
    project: Path, capsys: pytest.CaptureFixture[str], bundles: list[BundleResult], profile: str, says: str
) -> None:
    # Recorded bundles of the profile would stay.
    (project / "build" / "bundles.json").unlink(missing_ok=True)
    write_file(project, bundles, profile)
    assert manifests(project, "--way", "prebuilt", "--way", "kmm") == Exit.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert "nox -s bundle -- --profile here" in said
    assert "--way in-cluster-build" in said
    assert not (project / "build" / "deploy").exists()


def test_a_client_without_a_bundle_keeps_no_other_back_and_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(project, [bundle("7.4.6"), bundle("8.2.2", verdict="errored", reason="no boot", digest="")])
    assert manifests(project) == Exit.FAILED
    written = rendered(deploy_folder(project))
    complete = {f"{path.parent.name}/{path.name}" for path in written}
    ways = ("in-cluster-build", "in-cluster-build-rhel-workers")
    assert complete == {"prebuilt/7.4.6", "kmm/7.4.6", *(f"{way}/{client}" for way in ways for client in CLIENTS)}
    told = capsys.readouterr()
    for way in ("prebuilt", "kmm"):
        assert f"not written: {way}/8.2.2: build/bundles.json says of client 8.2.2: errored: no boot\n" in told.err
    assert "nox -s bundle -- --profile here" in told.err
    assert "8.2.2" not in "".join(line for line in told.out.splitlines() if "in-cluster" not in line)


def test_a_client_without_packages_keeps_no_other_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = read_lock((project / "matrix.lock").read_text(), "matrix.lock")
    pins = lock.profiles["here"]
    fewer = pins.model_copy(update={"clients": pins.clients[:1]})
    (project / "matrix.lock").write_text(write_lock(lock.with_profile("here", fewer)))
    assert manifests(project, "--way", "in-cluster-build") == Exit.FAILED
    written = rendered(deploy_folder(project))
    assert {path.name for path in written} == {CLIENTS[0]}
    said = capsys.readouterr().err
    for way in ("in-cluster-build", "in-cluster-build-rhel-workers"):
        assert f"not written: {way}/8.2.2: matrix.lock has no packages of client 8.2.2\n" in said
    assert "nox -s discover -- --profile here" in said


def test_a_key_that_is_not_the_pinned_one_keeps_only_its_builds_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in (path for path in (project / "packages").rglob("*") if path.is_file()):
        key.write_text("another key")
    assert manifests(project) == Exit.FAILED
    written = names(deploy_folder(project))
    assert written == {f"{way}/{client}" for way in ("prebuilt", "kmm") for client in CLIENTS}
    assert "not written: in-cluster-build/8.2.2: " in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_again_stays_as_it_was(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deploy = deploy_folder(project)
    assert manifests(project) == Exit.OK
    before = content(deploy / "prebuilt" / "8.2.2")
    write_file(project, [bundle("7.4.6", digest=digest("e"))])
    assert manifests(project) == Exit.FAILED
    assert content(deploy / "prebuilt" / "8.2.2") == before
    assert digest("e") in (deploy / "prebuilt" / "7.4.6" / "daemonset.yaml").read_text()
    said = capsys.readouterr().err
    assert "not written: prebuilt/8.2.2" in said
    assert "what an earlier run wrote is kept" in said


def test_an_in_cluster_build_needs_no_bundle(project: Path) -> None:
    (project / "build" / "bundles.json").unlink()
    assert manifests(project, "--way", "in-cluster-build") == Exit.OK


@pytest.mark.parametrize("modules", [{}, {"5.14.0-another.el9.x86_64": f"{REPOSITORY}@{digest('8')}"}])
def test_kmm_is_told_an_image_for_every_kernel_or_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], modules: dict[str, str]
) -> None:
    write_file(project, [bundle("7.4.6"), bundle("8.2.2", modules=modules)])
    assert manifests(project) == Exit.FAILED
    said = capsys.readouterr().err
    why = f"build/bundles.json names no image for Kernel Module Management of 8.2.2-{KERNEL}; run `nox -s bundle` again"
    assert f"not written: kmm/8.2.2: {why}\n" in said
    assert "prebuilt" not in said
    deploy = deploy_folder(project)
    assert (deploy / "kmm" / "7.4.6").is_dir()
    assert not (deploy / "kmm" / "8.2.2").exists()
    assert (deploy / "prebuilt" / "8.2.2").is_dir()


def test_a_client_the_matrix_does_not_have_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manifests(project, "--client", str(ClientVersion(9, 9, 9))) == Exit.USAGE
    assert "has no client 9.9.9" in capsys.readouterr().err
