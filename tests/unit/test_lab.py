"""The lab: where it is, what it is built from, when it counts as up."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.signing.key_files import IMAGE_FILES, MODULE_CERTIFICATE_DER, MODULE_FILES
from kmatrix.lab import services
from kmatrix.lab import up as lab_up
from kmatrix.lab.images import image_context
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.lab.publishing import write_graph
from kmatrix.lab.releases import RELEASES, PublishedRelease
from kmatrix.lab.state import releases_of, with_added, write_state
from kmatrix.lab.up import lab_inputs
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import InputError
from kmatrix.values.names import ImageRef
from tests.unit.support.lab_profile import lab_profile
from tests.unit.support.made_up_profile import ROOT, digest
from tests.unit.support.stand_in_engine import StandInEngine

PAYLOADS = [f"127.0.0.1:5080/lab/release@{digest(str(index))}" for index in range(len(RELEASES))]


def test_labs_of_two_checkouts_have_names_of_their_own() -> None:
    first, second = layout_of(lab_profile(), Path("/one")), layout_of(lab_profile(), Path("/two"))
    assert {first.registry_container, first.web_container}.isdisjoint({second.registry_container, second.web_container})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("graph", "http://192.0.2.1:5081/graph"),
        ("graph", "http://127.0.0.1/graph"),
        ("base", ImageRef.parse("0.0.0.0:5080/lab/runtime:12")),
        ("base", ImageRef.parse("quay.io/lab/runtime:12")),
    ],
)
def test_the_lab_listens_on_this_machine_alone(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"the lab's {key} is at"):
        layout_of(lab_profile(**{key: value}), Path("/one"))


def test_graph_and_packages_come_from_one_server() -> None:
    with pytest.raises(InputError, match="one server serves both"):
        layout_of(lab_profile(packages="http://127.0.0.1:5099/release"), Path("/one"))


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "images", tmp_path / "images")
    return tmp_path


def test_an_editors_files_and_notes_do_not_make_the_lab_anew(checkout: Path) -> None:
    def made_of() -> tuple[str, dict[str, bytes]]:
        layout = layout_of(lab_profile(), checkout)
        names = ("toolkit-base", "toolkit", "services", "workshop", "runtime")
        return lab_inputs(layout, lab_profile()), {name: image_context(layout.images(name)) for name in names}

    before = made_of()
    for folder in (checkout / "images").glob("lab-*"):
        for stray in (".Dockerfile.swp", "Dockerfile~", "README.md"):
            (folder / stray).write_bytes(b"a stray")
    (checkout / "images" / "lab-toolkit" / "notes.txt").write_bytes(b"a note")
    assert made_of() == before
    (checkout / "images" / "lab-toolkit" / "add-kernel").write_bytes(b"#!/bin/sh\n")
    assert made_of()[0] != before[0]
    assert made_of()[1]["toolkit"] != before[1]["toolkit"]


def test_every_file_of_the_stand_in_client_decides_what_the_lab_is(checkout: Path) -> None:
    layout = layout_of(lab_profile(), checkout)
    files = [path for path in layout.images("client").rglob("*") if path.is_file() and path.name != "README.md"]
    seen = {lab_inputs(layout, lab_profile())}
    for path in files:
        path.write_bytes(path.read_bytes() + b"#")
        seen.add(lab_inputs(layout, lab_profile()))
    assert len(seen) == len(files) + 1


def made_state(layout: Layout) -> dict[str, Any]:
    """Write the state file and the update graph of a completed lab."""
    state: dict[str, Any] = {
        "inputs": lab_inputs(layout, lab_profile()),
        "kernels": {"newer": "6.1.0-9-amd64"},
        "workshop": "kmatrix-lab/workshop:1",
        "payloads": {
            each.version: f"127.0.0.1:5080/lab/release@{digest(str(index))}" for index, each in enumerate(RELEASES)
        },
    }
    write_graph(layout, releases_of(state))
    write_state(layout, state)
    layout.keys.mkdir(exist_ok=True)
    for name in (*IMAGE_FILES, *MODULE_FILES):
        whole = b"\0\0\0" if name == MODULE_CERTIFICATE_DER else b"-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"
        (layout.keys / name).write_bytes(whole)
    return state


def test_a_lab_whose_image_another_checkout_removed_is_not_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the lab's images are the same in every checkout, so a reset of one removes those of all."""
    layout, engine = layout_of(lab_profile(), checkout), StandInEngine()
    monkeypatch.setattr(lab_up, "running", lambda *_: True)
    monkeypatch.setattr(lab_up, "serves", lambda *_: True)
    made_state(layout)
    engine.images["kmatrix-lab/workshop:1"] = EngineImage("sha256:1")
    assert lab_up.status(engine, layout, lab_profile()).up
    engine.images.clear()
    content = lab_up.status(engine, layout, lab_profile()).parts[0]
    assert content == ("content", False, "kmatrix-lab/workshop:1: this image was removed")


def test_a_graph_that_is_behind_the_state_is_no_lab_that_is_up_and_up_repairs_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, engine = layout_of(lab_profile(), checkout), StandInEngine()
    for name, value in (("running", True), ("serves", True), ("ensure_base", "base"), ("ensure_image", "image")):
        monkeypatch.setattr(lab_up, name, lambda *_, value=value: value)
    monkeypatch.setattr(services, "start_registry", lambda *_: False)
    monkeypatch.setattr(services, "start_web", lambda *_: False)
    engine.images["kmatrix-lab/workshop:1"] = EngineImage("sha256:1")
    state = made_state(layout)
    later = PublishedRelease("4.97.1", PAYLOADS[0], ("candidate-4.97",), "6.12.1-amd64", "6.12.1-amd64")
    write_state(layout, with_added(state, (later,)))
    graph = lab_up.status(engine, layout, lab_profile()).parts[-1]
    assert graph[:2] == ("update graph", False)
    assert "4.97.1 (6.12.1-amd64; candidate-4.97)" in graph[2]
    assert lab_up.up(engine, layout, lab_profile(), lambda _: None)
    assert lab_up.status(engine, layout, lab_profile()).up
    served = layout.www / "graph" / "amd64" / "candidate-4.97.json"
    assert PAYLOADS[0] in served.read_text(encoding="utf-8")
    write_state(layout, with_added(state, ()))
    assert lab_up.up(engine, layout, lab_profile(), lambda _: None)
    assert not served.exists(), "a channel without releases is one that the graph does not know"


class StoppedError(Exception):
    """Ends `up` at its first step."""


@pytest.mark.parametrize(("created", "said"), [(False, ["creating it takes about four minutes, once"]), (True, [])])
def test_the_duration_is_printed_before_the_lab_is_created_and_not_before_it_is_only_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, created: bool, said: list[str]
) -> None:
    def first_step(*_: object) -> str:
        raise StoppedError

    monkeypatch.setattr(lab_up, "status", lambda *_: lab_up.LabStatus((("image registry", False, ""),)))
    monkeypatch.setattr(lab_up, "_made", lambda *_: created)
    monkeypatch.setattr(lab_up, "ensure_keys", lambda _: False)
    monkeypatch.setattr(lab_up, "ensure_base", first_step)
    messages: list[str] = []
    layout = layout_of(lab_profile(), tmp_path)
    with pytest.raises(StoppedError):
        lab_up.up(cast(Engine, None), layout, lab_profile(), messages.append)
    assert messages == said
