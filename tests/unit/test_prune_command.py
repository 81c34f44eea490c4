"""The command: a dry run by default, results that name no removed image, other profiles with the same target."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.bundles import write_bundles
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import Lock, inputs_digest, write_lock
from kmatrix.values.names import ClientVersion, ImageRef, ReleaseVersion
from kmatrix.values.pins import KernelPin, ReleasePin, RetiredPin
from tests.unit.support.fake_registry import digest, problem
from tests.unit.support.image_registry import image_registry
from tests.unit.support.made_up_profile import client_pin, lock, profile
from tests.unit.support.prune_bench import CLIENT, MAIN, NEW, OLD, Target

MATRIX = """
schema: 1
default_profile: one
profiles:
  one:
    about: words
    graph: https://graph.example/graph
    packages: https://packages.example/release
    key_fingerprint: 0123456789ABCDEF0123456789ABCDEF01234567
    base: registry.example/base/minimal:latest
    base_stream: el9
    target: TARGET
    channels: [{name: stable-4.96}]
    arches: [x86_64]
    flavours: [standard]
    clients: [8.98.1]
    retention_days: 30
"""


def release(kernel: str) -> ReleasePin:
    named = ImageRef.parse(f"registry.example/x@{digest(b'x')}")
    return ReleasePin(
        version=ReleaseVersion.parse("4.96.2"),
        arch="x86_64",
        channels=("stable-4.96",),
        payload=named,
        toolkit=named,
        rhel="9.4",
        kernels=(KernelPin(release=kernel, flavour="standard"),),
    )


class Site:
    """A project whose target has a cell of a retired kernel and one of a kernel that is needed."""

    def __init__(self, root: Path, target: Target) -> None:
        self.root = root
        self.target = target
        self.address = f"{target.server.web.address}/team"
        self.old, self.new = target.cell(OLD), target.cell(NEW)
        self.write()

    def write(self, more: str = "", kernels: dict[str, str] | None = None, retention: str = "30") -> None:
        """Write matrix.yaml and a lock that has one kernel for each profile named."""
        text = MATRIX.replace("TARGET", self.address).replace("retention_days: 30", f"retention_days: {retention}")
        text = (text if retention else text.replace("    retention_days: \n", "")) + more
        (self.root / "matrix.yaml").write_text(text, encoding="utf-8")
        matrix, found = read_matrix(text), Lock()
        for name, kernel in (kernels or {"one": NEW}).items():
            pins = lock(profile()).model_copy(
                update={
                    "inputs": inputs_digest(matrix.profiles[name]),
                    "releases": (release(kernel),),
                    "clients": (client_pin(ClientVersion.parse(CLIENT), "el9"),),
                    "retired": (RetiredPin(kernel=OLD, arch="x86_64", reason="gone", since="2026-01-01"),)
                    if name == "one"
                    else (),
                }
            )
            found = found.with_profile(name, pins)
        (self.root / "matrix.lock").write_text(write_lock(found), encoding="utf-8")

    def run(self, *arguments: str) -> int:
        return main(["prune", *arguments, "--root", str(self.root)])

    @property
    def tags(self) -> set[str]:
        return self.target.tags()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    auth = tmp_path / "auth.json"
    auth.write_text('{"auths": {}}', encoding="utf-8")
    monkeypatch.setenv("KMATRIX_AUTHFILE", str(auth))
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_LOCK", "KMATRIX_ROOT"):
        monkeypatch.delenv(name, raising=False)
    with image_registry() as server:
        yield Site(tmp_path, Target(server))


def test_a_dry_run_removes_nothing_and_says_how_to(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run() == Exit.OK
    said = capsys.readouterr()
    assert f"beegfs-client:{CLIENT}-{OLD}" in said.out
    assert f"{CLIENT}-{NEW}" not in said.out
    assert "nothing was removed: `nox -s prune" in said.err
    assert "--apply` removes 1 image and 1 record" in said.err
    assert site.tags == {f"{CLIENT}-{OLD}", f"{CLIENT}-{NEW}"}


def test_what_was_removed_is_in_no_result(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    path = site.root / "build" / "results.json"
    path.parent.mkdir()
    cells = [CellResult(f"{CLIENT}-{kernel}", CLIENT, kernel, (), "passed", "well") for kernel in (OLD, NEW)]
    order = [each.cell for each in cells]
    facts = {"name": "Docker"}
    for name in ("two", "one"):
        write_results(path, name, {each.cell: each for each in cells}, order, facts)
    assert site.run("--apply") == Exit.OK
    assert site.tags == {f"{CLIENT}-{NEW}"}
    assert "removed 1 image and 1 record from" in capsys.readouterr().err
    assert list(read_results(path, "one")) == [f"{CLIENT}-{NEW}"]
    assert list(read_results(path, "two")) == order, "another profile's results are its own"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["profile"], content["engine"]) == ("one", facts), "the last run is the same"
    assert OLD not in path.with_suffix(".xml").read_text(encoding="utf-8")
    assert site.run("--apply") == Exit.OK


def test_a_fault_in_the_middle_leaves_results_that_are_true(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    path = site.root / "build" / "results.json"
    path.parent.mkdir()
    cell = CellResult(f"{CLIENT}-{OLD}", CLIENT, OLD, (), "passed", "well")
    write_results(path, "one", {cell.cell: cell}, [cell.cell])
    left = [None, problem(400, "BROKEN")]
    site.target.server.instead = lambda request: left.pop(0) if request.method == "DELETE" else None
    assert site.run("--apply") == Exit.ERRORED
    assert "removed 1 image and 0 records" in capsys.readouterr().err
    assert read_results(path, "one") == {}


def test_the_decision_goes_to_standard_output_as_json(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("--json") == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["profile"], found["retention_days"], found["applied"]) == ("one", 30, False)
    assert [(each["kernel"], each["removed"]) for each in found["removals"]] == [(OLD, False), ("", False)]
    assert site.run("--json", "--apply") == Exit.OK
    assert {each["removed"] for each in json.loads(capsys.readouterr().out)["removals"]} == {True}


def test_a_profile_without_the_key_keeps_everything(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(retention="")
    site.target.server.web.requests.clear()
    assert site.run("--apply") == Exit.OK
    assert "profile one keeps every image: set profiles.one.retention_days" in capsys.readouterr().err
    assert not site.target.server.web.requests


def test_manifests_of_this_checkout_keep_their_images(site: Site) -> None:
    (site.root / "build").mkdir()
    named = BundleResult(CLIENT, "x", "passed", "well", modules={OLD: f"{site.address}/beegfs-client@{site.old}"})
    write_bundles(site.root / "build" / "bundles.json", "one", [named])
    assert site.run("--apply") == Exit.OK
    assert len(site.tags) == 2


def test_a_kernel_of_another_profile_with_the_same_target_stays(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    keys = MATRIX.partition("  one:\n")[2]
    other = f"  two:\n{keys.replace('TARGET', site.address)}"
    site.write(other)
    assert site.run("--apply") == Exit.USAGE, "its pins are needed"
    said = capsys.readouterr().err
    assert f"profile two publishes to {site.address} too" in said
    assert "nox -s discover -- --profile two" in said
    site.write(other, {"one": NEW, "two": OLD})
    assert site.run("--apply") == Exit.OK
    assert len(site.tags) == 2
    # Its target is given at run time, and may be this one.
    site.write(f"  two:\n{keys.replace('TARGET', 'null')}", {"one": NEW, "two": OLD})
    assert site.run("--apply") == Exit.OK
    assert len(site.tags) == 2
    site.write(f"  two:\n{keys.replace('TARGET', 'elsewhere.example/team')}", {"one": NEW, "two": OLD})
    assert site.run("--apply") == Exit.OK
    assert site.tags == {f"{CLIENT}-{NEW}"}


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(("status", "code"), [(500, Exit.UNREACHABLE), (403, Exit.UNREACHABLE), (418, Exit.ERRORED)])
def test_what_could_not_be_read_removes_nothing(site: Site, status: int, code: Exit) -> None:
    server: Any = site.target.server
    server.instead = lambda request: problem(status, "NO") if "/tags/" in request.path else None
    assert site.run("--apply") == code
    assert not server.sent("DELETE")
    assert len(site.tags) == 2
    assert MAIN in server.repositories
