"""The firmware of Secure Boot: how it is found, and its variables, made by the real virt-fw-vars."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.vm import firmware
from kmatrix.effects.vm.firmware import Firmware, enrolled_variables, find_firmware, load_option
from kmatrix.values.errors import ToolError
from tests.unit.support.module_keys import module_key

ARGUMENTS = "initrd=\\initramfs console=ttyS0"


def description(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return what Debian's package says of its firmware, whose files are in `folder`."""
    code, variables = folder / "code.fd", folder / "vars.fd"
    for path in (code, variables):
        path.touch()
    mapping = {
        "device": "flash",
        "executable": {"filename": str(code), "format": "raw"},
        "nvram-template": {"filename": str(variables), "format": "raw"},
    }
    targets = [{"architecture": "x86_64", "machines": ["pc-q35-*"]}]
    features = ["acpi-s3", "requires-smm", "secure-boot", "verbose-dynamic"]
    return {"mapping": mapping, "targets": targets, "features": features, **changes}


def put(folder: Path, name: str, content: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def test_the_first_firmware_that_enforces_secure_boot_and_has_no_keys_is_taken(tmp_path: Path) -> None:
    site, package = tmp_path / "etc", tmp_path / "usr"
    good = description(tmp_path)
    put(package, "10-broken.json", "{")
    put(package, "20-list.json", [])
    put(package, "30-enrolled.json", {**good, "features": [*good["features"], "enrolled-keys"]})
    put(package, "31-no-smm.json", {**good, "features": ["secure-boot"]})
    put(package, "32-arm.json", {**good, "targets": [{"architecture": "aarch64", "machines": ["virt-*"]}]})
    put(package, "33-pc.json", {**good, "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*"]}]})
    qcow = {**good["mapping"], "executable": {"filename": "x", "format": "qcow2"}}
    put(package, "34-qcow2.json", {**good, "mapping": qcow})
    gone = {**good["mapping"], "executable": {"filename": str(tmp_path / "gone"), "format": "raw"}}
    put(package, "35-gone.json", {**good, "mapping": gone})
    put(package, "50-secure.json", good)
    found = find_firmware((site, package))
    assert found == Firmware(tmp_path / "code.fd", tmp_path / "vars.fd")
    put(site, "50-secure.json", "")
    with pytest.raises(ToolError):
        find_firmware((site, package))


def test_without_firmware_the_packages_are_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as raised:
        find_firmware((tmp_path,))
    assert "no UEFI firmware that enforces Secure Boot" in raised.value.message
    assert "ovmf (Debian, Ubuntu)" in raised.value.hint


def test_this_machine_has_firmware_as_its_package_describes_it() -> None:
    if not Path("/usr/share/OVMF").is_dir():
        pytest.skip("no ovmf here: ./scripts/bootstrap installs it")
    found = find_firmware()
    assert "secboot" in found.code.name


def test_a_load_option_has_the_form_of_the_specification() -> None:
    option = load_option("\\k", "a")
    assert option[:6] == b"\x01\x00\x00\x00\x0e\x00"
    assert option[6:22] == "kmatrix\0".encode("utf-16-le")
    assert option[22:] == b"\x04\x04\x0a\x00\\\0k\0\0\0" + b"\x7f\xff\x04\x00" + b"a\0\0\0"


@pytest.fixture
def real() -> Firmware:
    if not Path("/usr/share/OVMF").is_dir():
        pytest.skip("no ovmf here: ./scripts/bootstrap installs it")
    return find_firmware()


def test_the_certificate_is_enrolled_beside_the_distributions_and_the_file_is_made_once(
    real: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = module_key("enrolled").der
    made = enrolled_variables(real, certificate, "\\vmlinuz.efi", ARGUMENTS, tmp_path, "id")
    assert made.stat().st_size == real.variables.stat().st_size
    assert made.read_bytes().count(certificate) == 3, "PK, KEK and db"
    for words in (ARGUMENTS, "\\vmlinuz.efi"):
        assert words.encode("utf-16-le") in made.read_bytes()
    program = Path(sys.executable).with_name("virt-fw-vars")
    shown = subprocess.run(
        [program, "--input", made, "--print", "--verbose"], capture_output=True, text=True, check=True
    ).stdout
    for name in ("name=SecureBootEnable", "enrolled", "Debian Secure Boot CA", "Red Hat Secure Boot CA 8"):
        assert name in shown
    assert list(tmp_path.iterdir()) == [made]

    monkeypatch.setattr(firmware, "_run", lambda *_: pytest.fail("made again"))
    assert enrolled_variables(real, certificate, "\\vmlinuz.efi", ARGUMENTS, tmp_path, "id") == made


def test_another_certificate_command_line_or_program_has_a_file_of_its_own(
    real: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "_enrol", lambda _firmware, _certificate, _start, folder: touched(folder / "made"))

    def name(certificate: bytes = b"one", arguments: str = ARGUMENTS) -> str:
        return enrolled_variables(real, certificate, "\\vmlinuz.efi", arguments, tmp_path, "id").name

    names = {name(), name(b"two"), name(arguments="other")}
    monkeypatch.setattr(firmware, "_version", lambda: "another")
    assert len({*names, name()}) == 4


def touched(path: Path) -> Path:
    path.touch()
    return path


def test_a_missing_program_is_an_error_with_a_next_step_and_leaves_nothing(
    real: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firmware, "_PROGRAM", "virt-fw-none")
    with pytest.raises(ToolError) as raised:
        enrolled_variables(real, module_key().der, "\\vmlinuz.efi", ARGUMENTS, tmp_path, "id")
    assert "virt-fw-none is not installed" in raised.value.message
    assert "scripts/bootstrap" in raised.value.hint
    assert not list(tmp_path.iterdir())


def test_a_certificate_that_the_program_refuses_is_quoted(real: Firmware, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as raised:
        enrolled_variables(real, b"no certificate", "\\vmlinuz.efi", ARGUMENTS, tmp_path, "id")
    assert "virt-fw-vars failed (1): " in raised.value.message
    assert not list(tmp_path.iterdir())
