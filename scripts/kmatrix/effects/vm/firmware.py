"""UEFI firmware with Secure Boot: where this machine has it, and its variables with a certificate enrolled."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kmatrix.effects.disk.files import cannot_write
from kmatrix.effects.process.environment import child_environment
from kmatrix.effects.vm.boot_files import run_prefix
from kmatrix.values.errors import ToolError

# QEMU's docs/interop/firmware.json: packages describe their firmware here; a file of the first folder hides its
# namesake in the second.
_DESCRIPTIONS = (Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware"))
_WANTED, _UNWANTED = {"secure-boot", "requires-smm"}, "enrolled-keys"
_MACHINE = {"x86_64": "pc-q35-"}
_PROGRAM = "virt-fw-vars"
_BOOTSTRAP = "Run ./scripts/bootstrap, which installs it"
# Whose kernels may be started: on a node each distribution's shim says so. The program knows not all in every version.
_DISTRIBUTIONS = ("rhel", "rhel-2014", "centos", "centos-2018", "fedora", "debian", "ubuntu")
# The owner of the entries in the signature lists, which nothing reads.
_OWNER = "6f9e0d42-6a6c-4f0b-9d0e-3b1f6d7f2c55"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PERSISTENT = 0x7
_PROGRAM_SECONDS = 60
_enrolling = threading.Lock()


@dataclass(frozen=True)
class Firmware:
    """A firmware that enforces Secure Boot: its code, and the template of its variables, without any key."""

    code: Path
    variables: Path


def find_firmware(folders: Sequence[Path] = _DESCRIPTIONS) -> Firmware:
    """Return the firmware of this machine that enforces Secure Boot on x86_64.

    Args:
        folders: with descriptions of firmware, in their order.

    Raises:
        ToolError: there is none.
    """
    for description in _descriptions(folders):
        found = _firmware(description)
        if found and found.code.is_file() and found.variables.is_file():
            return found
    raise ToolError(
        "this machine has no UEFI firmware that enforces Secure Boot",
        f"{_BOOTSTRAP}, or install ovmf (Debian, Ubuntu) or edk2-ovmf (Fedora, RHEL); to publish without this gate, "
        "leave secure-boot out of the profile's `gates` in matrix.yaml.",
    )


def _descriptions(folders: Iterable[Path]) -> Iterator[Mapping[str, Any]]:
    """Yield the descriptions that can be read, in the order of their names."""
    files: dict[str, Path] = {}
    for folder in folders:
        for path in folder.glob("*.json"):
            files.setdefault(path.name, path)
    for name in sorted(files):
        try:
            content = json.loads(files[name].read_bytes())
        except (OSError, ValueError):
            # An empty one hides its namesake.
            continue
        if isinstance(content, dict):
            yield content


def _firmware(description: Mapping[str, Any]) -> Firmware | None:
    """Return what a description describes; None if that is another kind of firmware."""
    try:
        machines = [
            name
            for target in description["targets"]
            if target["architecture"] in _MACHINE
            for name in target["machines"]
            if name.startswith(_MACHINE[target["architecture"]])
        ]
        features = set(description["features"])
        mapping = description["mapping"]
        code, variables = mapping["executable"], mapping["nvram-template"]
        if not machines or not features >= _WANTED or _UNWANTED in features:
            return None
        if mapping["device"] != "flash" or {code["format"], variables["format"]} != {"raw"}:
            return None
        return Firmware(Path(code["filename"]), Path(variables["filename"]))
    except (KeyError, TypeError, AttributeError):
        return None


def enrolled_variables(
    firmware: Firmware, certificate: bytes, loader: str, arguments: str, folder: Path, run_id: str
) -> Path:
    """Return the file of the variables with which a firmware starts a kernel under Secure Boot; made once.

    Args:
        firmware: whose variables they are.
        certificate: the certificate (DER) that is enrolled in `db`, beside those of the distributions' kernels.
        loader: the path of the kernel on the disk, as UEFI writes it.
        arguments: the kernel's command line.
        folder: keeps the file for all runs.
        run_id: of this run, for temporary files.

    Raises:
        ToolError: the program that enrols certificates is missing, or failed.
        InputError: the folder cannot be written.
    """
    start = load_option(loader, arguments)
    try:
        template = firmware.variables.read_bytes()
    except OSError as error:
        raise ToolError(f"{firmware.variables} cannot be read: {error.strerror}", f"{_BOOTSTRAP}.") from error
    parts = (certificate, template, start, " ".join(_DISTRIBUTIONS).encode(), _version().encode())
    name = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    target = folder / f"{name[:32]}.fd"
    with _enrolling:
        try:
            if not target.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=folder, prefix=run_prefix(run_id)) as temporary:
                    os.replace(_enrol(firmware, certificate, start, Path(temporary)), target)
        except OSError as error:
            raise cannot_write(target, error) from error
    return target


def load_option(loader: str, arguments: str) -> bytes:
    """Return the value of a variable Boot#### that starts a file of any disk (EFI_LOAD_OPTION).

    Its form is that of the UEFI specification 2.10, sections 3.1.3, 3.1.2 (short-form path) and 10.3.5.4 (file path).
    """
    path = _text(loader)
    places = struct.pack("<BBH", 4, 4, 4 + len(path)) + path + b"\x7f\xff\x04\x00"
    return struct.pack("<IH", 1, len(places)) + _text("kmatrix") + places + _text(arguments)


def _text(words: str) -> bytes:
    return words.encode("utf-16-le") + b"\0\0"


def _enrol(firmware: Firmware, certificate: bytes, start: bytes, folder: Path) -> Path:
    program = _program()
    made, der, variables = folder / "variables.fd", folder / "certificate.der", folder / "variables.json"
    der.write_bytes(certificate)
    values = {"Boot0000": start, "BootOrder": b"\0\0", "Timeout": b"\0\0"}
    entries = [{"name": k, "guid": _GLOBAL, "attr": _PERSISTENT, "data": v.hex()} for k, v in values.items()]
    variables.write_text(json.dumps({"version": 2, "variables": entries}), encoding="utf-8")
    known = {line.split()[0] for line in _run(program, "--distro-list").splitlines() if " - " in line}
    names = [word for name in _DISTRIBUTIONS if name in known for word in ("--distro-keys", name)]
    keys = [word for option in ("--set-pk", "--add-kek", "--add-db") for word in (option, _OWNER, str(der))]
    files = ["--input", str(firmware.variables), "--output", str(made), "--set-json", str(variables)]
    _run(program, *files, *keys, *names, "--secure-boot")
    if not made.is_file():
        raise ToolError(f"{_PROGRAM} wrote no variables", f"Check {program}: {_PROGRAM} --help.")
    return made


def _program() -> str:
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(_PROGRAM)
    if not found:
        raise ToolError(
            f"{_PROGRAM} is not installed, which enrols the module's certificate in the guest's firmware",
            f"{_BOOTSTRAP}, or install the Python package virt-firmware beside kmatrix.",
        )
    return found


def _run(program: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [program, *arguments],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=_PROGRAM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{_PROGRAM} did not end in {_PROGRAM_SECONDS} s", "Run the command again.") from error
    except OSError as error:
        raise ToolError(f"{program} cannot be run: {error.strerror}", f"{_BOOTSTRAP}.") from error
    if done.returncode != 0:
        words = done.stderr.strip()[-300:] or "without a message"
        raise ToolError(f"{_PROGRAM} failed ({done.returncode}): {words}", f"{_BOOTSTRAP} in a tested version.")
    return done.stdout


def _version() -> str:
    """Return the version of the program, whose certificates of distributions change with it."""
    try:
        return metadata.version("virt-firmware")
    except metadata.PackageNotFoundError:
        return ""
