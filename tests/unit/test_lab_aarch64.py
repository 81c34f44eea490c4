"""The lab's parts of aarch64: their kernels and releases, what they leave alone, and a machine that cannot emulate."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from kmatrix.cli import main
from kmatrix.commands import run
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import LAB_AARCH64, select_profile
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.lab.emulation import NoEmulationError, require_emulation
from kmatrix.lab import aarch64, releases
from kmatrix.lab.aarch64_kernels import choose_aarch64_kernels
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.lab.node_images import node_image
from kmatrix.lab.publishing import write_graph
from kmatrix.lab.releases import PublishedRelease
from kmatrix.lab.state import write_state
from kmatrix.stages.columns import wide_console
from kmatrix.values.errors import Exit, InputError, ToolError
from kmatrix.values.names import Arch
from kmatrix.values.overrides import Overrides
from tests.unit.support.lab_profile import lab_profile
from tests.unit.support.made_up_profile import ROOT, digest
from tests.unit.support.stand_in_engine import StandInEngine

OTHER: Arch = "x86_64" if platform.machine() == "aarch64" else "aarch64"
# As Debian's qemu-user-static registers it (/usr/lib/binfmt.d/qemu-aarch64.conf).
MAGIC = {"aarch64": "7f454c460201010000000000000000000200b700", "x86_64": "7f454c4602010100000000000000000002003e00"}
FORM = "{state}\ninterpreter /usr/libexec/qemu-binfmt/x-P\nflags: {flags}\noffset 0\nmagic {magic}\nmask ff\n"


def packages(*kernels: str) -> list[str]:
    return [f"linux-{part}-{release}" for release in kernels for part in ("headers", "image")]


ENOUGH = packages("6.1.0-10-arm64", "6.12.9+deb12-arm64", "6.12.12+deb12-arm64", "6.12.12+deb12-arm64-16k")
NO_KERNELS = ["6.1.0-99-rt-arm64", "6.1.0-99-cloud-arm64", "6.1.0-99-amd64", "6.12.99+deb12-cloud-arm64-16k"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_kernel_of_each_role_is_chosen(order: int) -> None:
    more = [*ENOUGH, *packages("6.1.0-9-arm64", *NO_KERNELS), "linux-image-arm64", "linux-image-6.1.0-11-arm64"]
    more += ["linux-image-6.1.0-11-arm64-unsigned", "linux-headers-6.12.99+deb12-arm64-16k"]
    assert choose_aarch64_kernels(sorted(more)[::order]).as_dict() == {
        "standard": "6.1.0-10-arm64",
        "next_line": "6.12.12+deb12-arm64",
        "large_pages": "6.12.12+deb12-arm64-16k",
    }


@pytest.mark.parametrize("lacking", ["6.1.0-10-arm64", "6.12.12+deb12-arm64-16k"])
def test_an_archive_that_lacks_a_kernel_is_refused_with_those_it_has(lacking: str) -> None:
    with pytest.raises(ToolError, match="lacks arm64 kernels") as caught:
        choose_aarch64_kernels([name for name in ENOUGH if not name.endswith(f"-{lacking}")])
    assert "6.12.9+deb12-arm64" in caught.value.message
    assert lacking not in caught.value.message


def test_releases_of_aarch64_are_some_of_those_of_the_lab() -> None:
    known = {each.version: each.channels for each in releases.RELEASES}
    assert {each.version: known.get(each.version) for each in aarch64.RELEASES} == {
        each.version: each.channels for each in aarch64.RELEASES
    }
    roles = {role for role, _ in aarch64.TOOLKITS.values()}
    assert roles == choose_aarch64_kernels(ENOUGH).as_dict().keys()


def test_the_profile_of_both_architectures_is_of_the_same_lab_and_shares_no_name_with_the_default_one() -> None:
    matrix = read_matrix((ROOT / "matrix.yaml").read_text(encoding="utf-8"))
    own, both = matrix.profile("lab"), matrix.profile(LAB_AARCH64)
    assert layout_of(own, ROOT) == layout_of(both, ROOT)
    assert (own.arches, both.arches) == (("x86_64",), ("x86_64", "aarch64"))
    assert (own.packages, own.key_fingerprint, own.clients) == (both.packages, both.key_fingerprint, both.clients)
    # A list of two architectures under the default profile's tag would be another base, and build its cells again.
    assert own.base.path == both.base.path
    assert own.base.tag != both.base.tag
    assert own.target != both.target
    assert own.lock != both.lock


def test_the_graph_of_aarch64_is_a_file_of_its_own_for_each_channel(tmp_path: Path) -> None:
    layout = layout_of(lab_profile(), tmp_path)
    write_graph(layout, [PublishedRelease("4.97.0", "r/p@sha256:1", ("stable-4.97",))])
    before = {path: path.read_bytes() for path in layout.www.rglob("*.json")}
    write_graph(layout, [PublishedRelease("4.96.2", "r/p@sha256:2", ("stable-4.96",))], "aarch64")
    after = {path: path.read_bytes() for path in layout.www.rglob("*.json")}
    own = layout.www / "graph" / "arm64" / "stable-4.96.json"
    assert after == {**before, own: own.read_bytes()}


def test_an_os_image_of_aarch64_is_built_on_an_image_of_that_architecture() -> None:
    made = node_image("6.1.0-10-arm64", "meta-layer", "rhel-9", "aarch64", "kmatrix-lab/empty:aarch64")
    assert made.dockerfile.startswith("FROM kmatrix-lab/empty:aarch64\n")
    (meta,) = (json.loads(text) for path, text in made.files.items() if path.endswith("meta.json"))
    assert {package[4] for package in meta["rpmdb.pkglist"]} == {"aarch64"}


@pytest.fixture(name="binfmt")
def _binfmt(tmp_path: Path) -> Path:
    folder = tmp_path / "binfmt"
    folder.mkdir()
    (folder / "status").write_text("enabled\n", encoding="ascii")
    # Only root reads and writes it.
    (folder / "register").write_bytes(b"\xff")
    return folder


def register(binfmt: Path, arch: str, state: str = "enabled", flags: str = "POF") -> None:
    text = FORM.format(state=state, flags=flags, magic=MAGIC[arch])
    (binfmt / f"qemu-{arch}").write_text(text, encoding="ascii")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")


@pytest.mark.usefixtures("programs")
def test_a_machine_that_runs_programs_of_the_architecture_in_containers_can_emulate(binfmt: Path) -> None:
    register(binfmt, OTHER)
    require_emulation(OTHER, binfmt)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({}, "no form in .* is for its programs"),
        ({"state": "disabled"}, "no form in .* is for its programs"),
        ({"flags": "PO"}, "lacks the flag F"),
    ],
)
def test_a_machine_that_does_not_is_refused_with_the_next_step(binfmt: Path, form: dict[str, str], why: str) -> None:
    register(binfmt, platform.machine() if platform.machine() in MAGIC else "x86_64")
    if form:
        register(binfmt, OTHER, **form)
    with pytest.raises(NoEmulationError, match=f"cannot run programs of {OTHER}: .*{why}") as caught:
        require_emulation(OTHER, binfmt)
    assert f"./scripts/bootstrap --arch {OTHER}" in caught.value.hint
    assert caught.value.exit_code == Exit.UNREACHABLE


def test_a_kernel_without_registered_forms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoEmulationError, match="is not mounted"):
        require_emulation(OTHER, tmp_path)


def test_a_machine_without_the_programs_that_bootstrap_debian_is_refused(
    binfmt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(binfmt, OTHER)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "arch-test" else f"/usr/bin/{name}")
    with pytest.raises(NoEmulationError, match="arch-test not installed"):
        require_emulation(OTHER, binfmt)


def test_this_machines_own_architecture_needs_no_emulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    require_emulation("aarch64", tmp_path)


def call(root: Path, **given: Any) -> Invocation:
    return Invocation(root, wide_console(stderr=True), command="lab", action="up", **given)


def refuse(*_: object) -> None:
    raise NoEmulationError("this machine cannot run programs of aarch64", "Run something.")


def test_without_emulation_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "matrix.yaml", tmp_path)
    begun: list[object] = []
    monkeypatch.setattr(run, "require_emulation", refuse)
    monkeypatch.setattr("kmatrix.lab.up.up", lambda *_: begun.append("the lab"))
    monkeypatch.setattr("kmatrix.lab.aarch64.up", lambda *_: begun.append("aarch64"))
    chosen = select_profile(call(tmp_path), LAB_AARCH64)
    with pytest.raises(NoEmulationError):
        run.ensure_lab(call(tmp_path), chosen, StandInEngine())
    assert begun == []


def test_an_override_that_gives_both_profiles_one_base_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "matrix.yaml", tmp_path)
    monkeypatch.setattr("kmatrix.lab.up.up", refuse)
    web = "http://127.0.0.1:5998"
    given = Overrides(base="127.0.0.1:5999/lab/runtime:12", graph=f"{web}/graph", packages=f"{web}/release")
    moved = call(tmp_path, overrides=given)
    with pytest.raises(InputError, match=r"has 127\.0\.0\.1:5999/lab/runtime:12 as its base") as caught:
        run.ensure_lab(moved, select_profile(moved, LAB_AARCH64), StandInEngine())
    assert "KMATRIX_BASE" in caught.value.hint


@pytest.mark.parametrize("arch", ["ppc64le", "s390x"])
def test_an_architecture_that_the_lab_does_not_have_is_refused(capsys: pytest.CaptureFixture[str], arch: str) -> None:
    assert main(["lab", "up", "--arch", arch]) == Exit.USAGE
    assert f"'{arch}' is none of x86_64, aarch64" in capsys.readouterr().err


def test_the_help_text_of_the_lab_names_its_own_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["lab", "--help"])
    shown = capsys.readouterr().out
    assert "--arch x86_64|aarch64 " in shown
    assert "s390x" not in shown
    assert "arches of the profile" not in shown


@pytest.fixture(name="layout")
def _layout(tmp_path: Path) -> Layout:
    layout = layout_of(lab_profile(), tmp_path)
    write_state(layout, {"inputs": "of the lab"})
    return layout


@pytest.fixture(name="completed")
def _completed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state, the graph and the packages of a lab that was brought up for aarch64."""
    payloads = {each.version: f"127.0.0.1:5080/lab/release@{digest('1')}" for each in aarch64.RELEASES}
    state = {
        "schema": aarch64.SCHEMA,
        "inputs": aarch64.inputs(layout, lab_profile()),
        "kernels": choose_aarch64_kernels(ENOUGH).as_dict(),
        "payloads": payloads,
    }
    layout.state_of("aarch64").write_text(json.dumps(state), encoding="utf-8")
    write_graph(layout, aarch64.published(state), "aarch64")
    for client in lab_profile().clients:
        for line in ("rhel9", "rhel10"):
            folder = layout.www / "release" / client.repository_directory / "dists" / line / "aarch64"
            folder.mkdir(parents=True)
            (folder / "beegfs-utils.rpm").touch()
    monkeypatch.setattr(aarch64, "running", lambda *_: True)
    monkeypatch.setattr(aarch64, "serves", lambda *_: True)
    return state


@pytest.mark.usefixtures("completed")
def test_a_lab_that_has_aarch64_is_not_changed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aarch64, "require_emulation", refuse)
    ((_, ready, words),) = aarch64.status(StandInEngine(), layout, lab_profile())
    assert (ready, words) == (True, "kernels 6.1.0-10-arm64, 6.12.12+deb12-arm64, 6.12.12+deb12-arm64-16k")
    assert not aarch64.up(StandInEngine(), layout, lab_profile().base, lab_profile(), lambda _: None)


@pytest.mark.usefixtures("completed")
@pytest.mark.parametrize("lost", ["graph", "release/beegfs_8.2/dists/rhel10", "base", "inputs"])
def test_a_part_that_is_gone_is_built_again(layout: Layout, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    if lost == "base":
        monkeypatch.setattr(aarch64, "serves", lambda *_: False)
    elif lost == "inputs":
        write_state(layout, {"inputs": "of another lab"})
    else:
        shutil.rmtree(layout.www / lost)
    assert [ready for _, ready, _ in aarch64.status(StandInEngine(), layout, lab_profile())] == [False]
    monkeypatch.setattr(aarch64, "require_emulation", refuse)
    with pytest.raises(NoEmulationError):
        aarch64.up(StandInEngine(), layout, lab_profile().base, lab_profile(), lambda _: None)
