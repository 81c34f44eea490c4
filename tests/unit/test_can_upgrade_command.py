"""The command can-upgrade: what it prints and ends with, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.bundles import write_bundles
from kmatrix.effects.disk.results import write_results
from kmatrix.values.bundle import BundleResult
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.errors import Exit
from kmatrix.values.lock import Lock, inputs_digest, write_lock
from kmatrix.values.pins import KernelPin, UpdatesPin
from tests.unit.support.made_up_profile import KERNELS, digest, lock, profile
from tests.unit.support.projects import MATRIX, write_project

CLIENT = "8.2.2"
NEW = KERNELS["el10"]
OLD = (*KERNELS["el9"][:2], KERNELS["el9"][2].removesuffix("+rt"))
RT = f"{OLD[2]}+rt"
ASKED = ("--from", OLD[0], "--to", NEW[0], "--client", CLIENT)
SEEN = "2026-03-31T03:17:05Z"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which everything is published; 4.22.1 is a conditional update of 4.16.3."""
    for name in ("KMATRIX_PROFILE", "KMATRIX_ROOT", "KMATRIX_LOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    write_project(tmp_path)
    pin(tmp_path, OLD[2])
    publish(tmp_path, OLD[2], NEW[2])
    return tmp_path


def pin(root: Path, *kernels: str) -> None:
    """Write a lock whose 4.16.3 has these kernels."""
    update = UpdatesPin.model_validate({"to": NEW[0], "arch": "x86_64", "from": f"{OLD[0]}?"})
    inputs = inputs_digest(read_matrix(MATRIX).profile("site"))
    made = lock(profile())
    named = tuple(KernelPin(release=each, flavour="rt" if each.endswith("+rt") else "standard") for each in kernels)
    releases = tuple(
        each.model_copy(update={"kernels": named}) if str(each.version) == OLD[0] else each for each in made.releases
    )
    pins = made.model_copy(update={"inputs": inputs, "updates": (update,), "releases": releases})
    (root / "matrix.lock").write_text(write_lock(Lock().with_profile("site", pins)), encoding="utf-8")


def publish(root: Path, *kernels: str) -> None:
    """Leave the results of cells that passed, and a bundle of them."""
    cells = {}
    for kernel in kernels:
        name = f"{CLIENT}-{kernel}"
        gates: dict[str, Verdict] = {"static": "passed", "boot": "passed", "mount": "passed"}
        cells[name] = CellResult(
            name, CLIENT, kernel, ("4.16.3",), "passed", "loaded", digest=digest("a"), gates=gates, seen=SEEN
        )
    write_results(root / "build" / "results.json", "site", cells, cells)
    made = BundleResult(
        CLIENT, "registry.example/c:1", "passed", "loaded", digest("b"), kernels, ("x86_64",), seen=SEEN
    )
    write_bundles(root / "build" / "bundles.json", "site", [made])


def ask(root: Path, *arguments: str) -> int:
    return main(["can-upgrade", "--root", str(root), *(arguments or ASKED)])


def test_a_safe_update_prints_its_route_and_one_line_per_kernel(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(site) == Exit.OK
    shown = capsys.readouterr()
    route, first, second = shown.out.splitlines()
    assert route == "route x86_64: 4.16.3 → 4.22.1 (conditional)"
    assert first.startswith(f"yes {OLD[2]} (el9, 4.16.3): in the bundle, gates static, boot, mount passed")
    assert second.startswith(f"yes {NEW[2]} (el10, 4.22.1): ")
    assert "safe: from 4.16.3 to 4.22.1 with client 8.2.2, for standard and rt kernels on x86_64\n" in shown.err
    assert f"as the registry had it at {SEEN}" in shown.err
    assert "is a conditional update" in shown.err


def test_an_unsafe_one_ends_with_1_and_the_reason(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(site, OLD[2])
    assert ask(site) == Exit.FAILED
    shown = capsys.readouterr()
    assert f"no  {NEW[2]} (el10, 4.22.1): there is no result of {CLIENT}-{NEW[2]} here" in shown.out
    assert (
        "not safe: from 4.16.3 to 4.22.1 with client 8.2.2, for standard and rt kernels on x86_64: 1 reason above"
        in shown.err
    )


def test_the_json_is_on_standard_output_alone(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(site, *ASKED, "--json") == Exit.OK
    data = json.loads(capsys.readouterr().out)
    assert data["safe"] is True
    assert data["profile"] == "site"
    publish(site, NEW[2])
    assert ask(site, *ASKED, "--json") == Exit.FAILED
    assert json.loads(capsys.readouterr().out)["safe"] is False


def test_a_flavour_leaves_other_kernels_out(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pin(site, OLD[2], RT)
    assert ask(site) == Exit.FAILED
    capsys.readouterr()
    assert ask(site, *ASKED, "--flavour", "standard") == Exit.OK
    shown = capsys.readouterr()
    assert RT not in shown.out
    assert "for standard kernels on x86_64\n" in shown.err
    pin(site, OLD[2])
    assert ask(site, *ASKED, "--flavour", "rt") == Exit.FAILED
    assert "no kernel of these flavours is on the route" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "4.22.1"), "can-upgrade needs --from, --client"),
        ((*ASKED, "--client", "7.4.6"), "can-upgrade answers for one --client at a time"),
        ((*ASKED[:4], "--client", "9.9.9"), "profile site has no client 9.9.9"),
        (("--from", "four", *ASKED[2:]), "--from: 'four' is not an OpenShift release such as 4.16.3"),
        (("--from", "4.16.4", *ASKED[2:]), "the lock of profile site has no such release for x86_64"),
        # 64k kernels are only searched where the profile wants them, so the lock has none.
        ((*ASKED, "--flavour", "standard", "--flavour", "64k"), "profile site does not build for the flavour 64k"),
        ((*ASKED, "--arch", "aarch64"), "the lock of profile site has no such release for aarch64"),
    ],
)
def test_usage_errors_end_with_2(
    site: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert ask(site, *arguments) == Exit.USAGE
    assert says in capsys.readouterr().err


def test_nothing_is_asked_of_the_registry(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The profile of these tests has no target that it could ask."""
    (site / "build" / "bundles.json").unlink()
    assert ask(site) == Exit.FAILED
    assert "it has no published bundle; run `nox -s bundle -- --profile site`" in capsys.readouterr().out
