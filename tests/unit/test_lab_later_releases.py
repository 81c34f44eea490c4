"""`lab release` and `lab retract`: what they publish, what stays after a fault, and what later commands see."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kmatrix.commands import pins as pins_command
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.lab import lab
from kmatrix.commands.profile import SelectedProfile
from kmatrix.effects.engine.archives import regular_files
from kmatrix.lab import later_releases, publishing
from kmatrix.lab import up as lab_up
from kmatrix.lab.later_releases import publish_release, retract_release
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.lab.publishing import graph_is_current, write_graph
from kmatrix.lab.releases import RELEASES, TOOLKITS, PublishedRelease
from kmatrix.lab.state import added, lab_state, releases_of, with_added, write_state
from kmatrix.stages.columns import wide_console
from kmatrix.values.errors import InputError, InterruptedRunError, ToolError
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest
from kmatrix.values.names import Arch, digest_of
from tests.unit.support.lab_profile import lab_profile
from tests.unit.support.stand_in_engine import StandInEngine

KERNELS = {
    "older": "6.1.0-9-amd64",
    "newer": "6.1.0-10-amd64",
    "real_time": "6.1.0-10-rt-amd64",
    "next_line": "6.12.12+deb12-amd64",
}
ARCHIVE = ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.12.9+deb12-amd64", "6.12.11+deb12-amd64", "6.12.12+deb12-amd64")


def pinned(path: str, word: str) -> str:
    return f"127.0.0.1:5080/{path}@{digest_of(word.encode())}"


class Publishing(StandInEngine):
    """Builds nothing, and notes what it was to build."""

    def __init__(self) -> None:
        super().__init__()
        self.built: list[tuple[dict[str, bytes], Mapping[str, str]]] = []
        self.pulled: list[str] = []
        self.removed: list[str] = []
        self.before_build: Callable[[Mapping[str, str]], None] = lambda _: None

    def build(self, context: bytes, *, labels: Mapping[str, str] | None = None, **_: Any) -> str:
        self.before_build(labels or {})
        self.built.append((regular_files(context), labels or {}))
        return f"sha256:{len(self.built)}"

    def pull(self, pinned: str, _: object) -> None:
        self.pulled.append(pinned)

    def remove_image(self, name: str) -> None:
        self.removed.append(name)

    def references(self) -> dict[str, str]:
        """Return the images that the newest payload names, by tag."""
        text = next(
            files["release-manifests/image-references"]
            for files, _ in reversed(self.built)
            if "release-manifests/image-references" in files
        )
        return {tag["name"]: tag["from"]["name"] for tag in json.loads(text)["spec"]["tags"]}

    @property
    def node_kernel(self) -> str:
        """The kernel that the newest OS image states: that of the second stream."""
        return [labels["ostree.linux"] for _, labels in self.built if "ostree.linux" in labels][-1]


@pytest.fixture(name="layout")
def _layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A completed lab, whose registry takes everything and whose archive offers a few kernels."""
    layout = layout_of(lab_profile(), tmp_path)
    monkeypatch.setattr(publishing, "publish_image", lambda _e, _l, path, tag, _i: pinned(path, tag))
    monkeypatch.setattr(later_releases, "ensure_base", lambda *_: "base")
    monkeypatch.setattr(later_releases, "ensure_image", lambda _e, _l, name, *_: f"kmatrix-lab/{name}:1")
    offered = tuple(f"linux-{part}-{kernel}" for part in ("image", "headers") for kernel in ARCHIVE)
    monkeypatch.setattr(later_releases, "archive_packages", lambda *_: offered)
    state = {
        "kernels": KERNELS,
        "toolkits": {name: pinned("lab/driver-toolkit", name) for name in TOOLKITS},
        "payloads": {each.version: pinned("lab/release", each.version) for each in RELEASES},
        "taken": [],
    }
    write_graph(layout, releases_of(state))
    write_state(layout, state)
    return layout


def served(layout: Layout, channel: str) -> list[str]:
    path = layout.www / "graph" / "amd64" / f"{channel}.json"
    return [node["version"] for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]]


def silent(_: str) -> None:
    return


def test_a_release_has_a_further_kernel_in_one_stream_and_the_other_stream_as_before(layout: Layout) -> None:
    engine = Publishing()
    made = publish_release(engine, layout, silent)
    assert (made.version, made.channels, made.broken) == ("4.97.1", ("stable-4.97",), False)
    assert made.kernel == made.node_kernel == "6.12.11+deb12-amd64"
    found = engine.references()
    assert found["driver-toolkit"] == pinned("lab/driver-toolkit", "newer-again")
    assert found["driver-toolkit-10"] == pinned("lab/driver-toolkit", "4.97.1")
    assert engine.node_kernel == made.kernel
    assert [labels for _, labels in engine.built if labels.get("kernel-version") == made.kernel]
    assert served(layout, "stable-4.97") == ["4.96.2", "4.97.0", "4.97.1"]
    assert added(lab_state(layout)) == (made,)


def test_each_release_has_a_version_and_a_kernel_of_its_own_until_the_archive_has_no_more(layout: Layout) -> None:
    made = [publish_release(Publishing(), layout, silent) for _ in range(2)]
    assert [(each.version, each.kernel) for each in made] == [
        ("4.97.1", "6.12.11+deb12-amd64"),
        ("4.97.2", "6.12.9+deb12-amd64"),
    ]
    with pytest.raises(ToolError, match="the package archive has no further kernel") as caught:
        publish_release(Publishing(), layout, silent)
    assert ", ".join(ARCHIVE) in caught.value.message
    assert "Retract a release" in caught.value.hint
    assert served(layout, "stable-4.97")[-1] == "4.97.2"


def test_without_a_further_kernel_of_6_12_the_other_stream_gets_one_of_6_1(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = ("6.1.0-8-amd64", KERNELS["next_line"])
    offered = tuple(f"linux-{part}-{kernel}" for part in ("image", "headers") for kernel in kernels)
    monkeypatch.setattr(later_releases, "archive_packages", lambda *_: offered)
    engine = Publishing()
    assert publish_release(engine, layout, silent).kernel == "6.1.0-8-amd64"
    assert engine.references()["driver-toolkit"] == pinned("lab/driver-toolkit", "4.97.1")
    assert engine.references()["driver-toolkit-10"] == pinned("lab/driver-toolkit", "next-line")


def test_a_broken_release_states_a_kernel_for_its_nodes_that_no_toolkit_has(layout: Layout) -> None:
    engine = Publishing()
    made = publish_release(engine, layout, silent, broken=True)
    assert made.broken
    assert made.kernel == KERNELS["next_line"], "its toolkit is a known one under another digest"
    assert made.node_kernel not in {*KERNELS.values(), *ARCHIVE}
    assert engine.node_kernel == made.node_kernel
    assert engine.pulled == [pinned("lab/driver-toolkit", "next-line")]
    assert engine.references()["driver-toolkit-10"] == pinned("lab/driver-toolkit", "4.97.1")
    again = publish_release(Publishing(), layout, silent, broken=True)
    assert again.node_kernel != made.node_kernel


@pytest.mark.parametrize("at", ["kernel-version", "ostree.linux", "io.openshift.release"])
def test_an_interrupted_release_leaves_nothing_published(layout: Layout, at: str) -> None:
    def interrupt(labels: Mapping[str, str]) -> None:
        if at in labels:
            raise InterruptedRunError

    before = {path: path.read_bytes() for path in layout.folder.rglob("*") if path.is_file()}
    engine = Publishing()
    engine.before_build = interrupt
    with pytest.raises(InterruptedRunError):
        publish_release(engine, layout, silent)
    assert {path: path.read_bytes() for path in layout.folder.rglob("*") if path.is_file()} == before
    assert publish_release(Publishing(), layout, silent).version == "4.97.1"


def test_a_release_interrupted_before_the_graph_is_written_is_shown_as_behind(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(later_releases, "write_graph", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish_release(Publishing(), layout, silent)
    assert not graph_is_current(layout, releases_of(lab_state(layout)))


def test_a_retracted_release_leaves_the_graph_and_its_version_is_not_given_again(layout: Layout) -> None:
    first = publish_release(Publishing(), layout, silent, channel="candidate-4.97")
    assert served(layout, "candidate-4.97") == [first.version]
    assert served(layout, "stable-4.97") == ["4.96.2", "4.97.0"]
    engine = Publishing()
    assert retract_release(engine, layout, first.version) == first
    assert engine.removed == [pinned("lab/driver-toolkit", first.version)], "builds may have left it in the engine"
    assert not (layout.www / "graph" / "amd64" / "candidate-4.97.json").exists()
    second = publish_release(Publishing(), layout, silent)
    assert (second.version, second.kernel) == ("4.97.2", first.kernel)


@pytest.mark.parametrize("version", ["4.97.0", "4.97.7", ""])
def test_only_a_release_that_was_published_later_can_be_retracted(layout: Layout, version: str) -> None:
    publish_release(Publishing(), layout, silent)
    with pytest.raises(InputError, match=r"`lab release` published 4\.97\.1") as caught:
        retract_release(Publishing(), layout, version)
    assert "--release VERSION" in caught.value.hint
    assert served(layout, "stable-4.97")[-1] == "4.97.1"


@pytest.mark.parametrize("channel", ["stable-4.96", "4.97", "a1-4.97", "stable-4.97x", "../x-4.97"])
def test_a_channel_of_another_minor_is_refused(layout: Layout, channel: str) -> None:
    engine = Publishing()
    with pytest.raises(InputError, match=r"the release is one of 4\.97"):
        publish_release(engine, layout, silent, channel=channel)
    assert engine.built == []


def test_a_lab_that_is_built_again_keeps_later_releases_whose_payload_the_registry_has(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(version: str, payload: str) -> PublishedRelease:
        return PublishedRelease(version, payload, ("stable-4.97",), "6.12.9-amd64", "6.12.9-amd64")

    class Has:
        def __init__(self, _: object) -> None:
            return

        def manifest(self, ref: object, _: str) -> object:
            return None if str(ref) == pinned("lab/release", "lost") else "a manifest"

    kept, lost = later("4.97.1", pinned("lab/release", "kept")), later("4.97.2", pinned("lab/release", "lost"))
    moved = later("4.97.3", kept.payload.replace("5080", "5090"))
    state = with_added(lab_state(layout), (kept, lost, moved))
    monkeypatch.setattr(lab_up, "Registry", Has)
    said: list[str] = []
    left = lab_up._kept(layout, added(state), said.append)
    assert left == (kept,)
    assert [text.split(":")[0] for text in said] == ["release 4.97.2", "release 4.97.3"]
    assert with_added(state, left)["taken"] == ["4.97.1", "4.97.2", "4.97.3"]


def test_a_release_makes_the_lock_of_the_lab_out_of_date(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """`build` resolves the pins again, with the earlier ones at hand, as `discover` does."""
    chosen = SelectedProfile("lab", lab_profile(), lab_profile())
    pins = ProfileLock.model_construct(inputs=inputs_digest(chosen.as_written))
    monkeypatch.setattr(pins_command, "_lock", lambda *_: Lock.model_construct(profiles={"lab": pins}))
    resolved: list[str] = []
    monkeypatch.setattr(pins_command, "resolve_pins", lambda *_: resolved.append("again"))
    call = Invocation(layout.root, wide_console(stderr=True))
    lock = layout.root / chosen.effective.lock
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    newer = layout.state.stat().st_mtime_ns
    os.utime(lock, ns=(newer, newer))
    pins_command.fresh_lab_pins(call, chosen)
    assert resolved == []
    os.utime(layout.state, ns=(newer - 10**9, newer - 10**9))
    os.utime(lock, ns=(newer - 10**9, newer - 10**9))
    publish_release(Publishing(), layout, silent)
    pins_command.fresh_lab_pins(call, chosen)
    assert resolved == ["again"]


@pytest.mark.parametrize(("arches", "again"), [(("x86_64",), []), (("x86_64", "aarch64"), ["again"])])
def test_parts_of_aarch64_make_the_lock_of_their_own_profile_out_of_date(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, arches: tuple[Arch, ...], again: list[str]
) -> None:
    profile = lab_profile().model_copy(update={"arches": arches})
    chosen = SelectedProfile("lab", profile, profile)
    pins = ProfileLock.model_construct(inputs=inputs_digest(profile))
    monkeypatch.setattr(pins_command, "_lock", lambda *_: Lock.model_construct(profiles={"lab": pins}))
    resolved: list[str] = []
    monkeypatch.setattr(pins_command, "resolve_pins", lambda *_: resolved.append("again"))
    lock = layout.root / profile.lock
    for path in (lock, layout.state_of("aarch64")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    at = layout.state.stat().st_mtime_ns
    os.utime(lock, ns=(at, at))
    os.utime(layout.state_of("aarch64"), ns=(at + 10**9, at + 10**9))
    pins_command.fresh_lab_pins(Invocation(layout.root, wide_console(stderr=True)), chosen)
    assert resolved == again


@pytest.mark.parametrize(
    ("given", "action"),
    [({"broken": True}, "release"), ({"channel": "stable-4.97"}, "release"), ({"release": "4.97.1"}, "retract")],
)
def test_an_option_of_another_action_is_refused(tmp_path: Path, given: dict[str, Any], action: str) -> None:
    call = Invocation(tmp_path, wide_console(stderr=True), action="up", **given)
    with pytest.raises(InputError, match=r"lab up: --[a-z]+ has no effect") as caught:
        lab(call)
    assert f"`nox -s lab -- {action}`" in caught.value.hint
