"""What the initramfs of a guest that mounts has for it, in the form that the guest's init reads."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from kmatrix.effects.vm.initramfs import _add_mount
from kmatrix.values.errors import ProtocolError
from kmatrix.values.mount import MountSetup
from tests.unit.test_cpio import written

SETUP = MountSetup("sysMgmtdHost = 192.0.2.2\n", 30)
ELF = b"\x7fELF of dummy"
LIST = b"dummy dummy.ko.xz\nbridge llc.ko bridge.ko\n"


@pytest.fixture
def interfaces(tmp_path: Path) -> Path:
    folder = tmp_path / "interfaces"
    folder.mkdir()
    (folder / "list").write_bytes(LIST)
    (folder / "dummy.ko.xz").write_bytes(lzma.compress(ELF, check=lzma.CHECK_CRC32))
    return folder


def test_the_guest_gets_the_configuration_the_limit_and_unpacked_modules_under_their_listed_names(
    interfaces: Path,
) -> None:
    found = {entry.name: entry.content for entry in written(lambda writer: _add_mount(writer, SETUP, interfaces))}
    assert found[".kmatrix/mount/client.conf"] == SETUP.config.encode()
    assert found[".kmatrix/mount/limit"] == b"30\n"
    assert found[".kmatrix/mount/interfaces"] == LIST
    assert found[".kmatrix/mount/modules/dummy.ko.xz"] == ELF
    assert ".kmatrix/mount/modules/list" not in found


def test_a_toolkit_without_an_interface_leaves_an_empty_list(tmp_path: Path) -> None:
    found = {entry.name: entry.content for entry in written(lambda writer: _add_mount(writer, SETUP, tmp_path / "no"))}
    assert found[".kmatrix/mount/interfaces"] == b""


def test_a_damaged_module_is_told(interfaces: Path) -> None:
    (interfaces / "dummy.ko.xz").write_bytes(b"cut off")
    with pytest.raises(ProtocolError, match=r"dummy\.ko\.xz"):
        written(lambda writer: _add_mount(writer, SETUP, interfaces))
