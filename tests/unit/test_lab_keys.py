"""The lab's keys: created once by `lab up`, kept over the next, and part of the lab's state."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.signing import key_files, new_keys
from kmatrix.effects.signing.new_keys import new_module_key
from kmatrix.lab import up as lab_up
from kmatrix.lab.keys import ensure_keys, keys_are_there
from kmatrix.lab.layout import Layout, layout_of
from tests.unit.support.lab_profile import lab_profile

FILES = ["images.key", "images.pub", "modules.der", "modules.key", "modules.pem"]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A lab without keys, whose module keys are quickly found."""
    monkeypatch.setattr(new_keys, "new_module_key", lambda name, now: new_module_key(name, now, bits=2048))
    return layout_of(lab_profile(), tmp_path)


def contents(layout: Layout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(layout.keys.iterdir())}


def test_keys_are_created_once(layout: Layout) -> None:
    assert not keys_are_there(layout)
    assert ensure_keys(layout)
    made = contents(layout)
    assert list(made) == FILES
    assert keys_are_there(layout)
    assert not ensure_keys(layout)
    assert contents(layout) == made


def test_the_half_of_a_pair_is_replaced_and_the_other_pair_stays(layout: Layout) -> None:
    ensure_keys(layout)
    made = contents(layout)
    (layout.keys / key_files.IMAGE_PUBLIC_KEY).unlink()
    assert not keys_are_there(layout)
    assert ensure_keys(layout)
    now = contents(layout)
    assert [name for name in FILES if now[name] != made[name]] == ["images.key", "images.pub"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"-----BEGIN "], ids=["empty", "begun"])
def test_a_file_that_an_interrupted_run_left_unfinished_is_replaced(layout: Layout, name: str, content: bytes) -> None:
    ensure_keys(layout)
    other = contents(layout)
    (layout.keys / name).write_bytes(content)
    assert not keys_are_there(layout)
    assert ensure_keys(layout)
    assert keys_are_there(layout)
    pair = name.partition(".")[0]
    assert {each for each, now in contents(layout).items() if now != other[each]} == {
        each for each in FILES if each.startswith(pair)
    }


def test_up_creates_them_and_status_names_them(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(lab_up, "running", lambda *_: True)
    monkeypatch.setattr(lab_up, "_made", lambda *_: False)

    def part() -> tuple[str, bool, str]:
        parts = lab_up.status(cast(Engine, None), layout, lab_profile()).parts
        return next(each for each in parts if each[0] == "keys")

    def stop(*_: object) -> str:
        raise InterruptedError

    assert part() == ("keys", False, "not created yet")
    monkeypatch.setattr(lab_up, "ensure_base", stop)
    with pytest.raises(InterruptedError):
        lab_up.up(cast(Engine, None), layout, lab_profile(), messages.append)
    assert messages[0] == "keys: created in build/lab/keys"
    assert part() == ("keys", True, "build/lab/keys")
