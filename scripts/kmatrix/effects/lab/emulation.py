"""Whether this machine runs programs of another architecture, and has what the lab needs for that."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from kmatrix.values.errors import Exit, KmatrixError
from kmatrix.values.names import Arch

# Documentation/admin-guide/binfmt-misc.rst: one file for each registered form, beside `register` and `status`.
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# The beginning of an ELF file of 64 bits, least byte first, and its machine (e_machine, at byte 18;
# include/uapi/linux/elf-em.h).
_ELF, _MACHINE_AT = "7f454c460201", 36
_MACHINES: dict[Arch, str] = {"x86_64": "3e00", "aarch64": "b700"}
# mmdebstrap asks the one whether programs of the architecture run; the other bootstraps.
_PROGRAMS = ("mmdebstrap", "arch-test")


class NoEmulationError(KmatrixError):
    """This machine cannot run programs of an architecture (exit code 4)."""

    exit_code = Exit.UNREACHABLE


def require_emulation(arch: Arch, binfmt: Path = BINFMT) -> None:
    """Refuse to go on where programs of an architecture do not run, also in containers.

    Args:
        arch: of the programs.
        binfmt: the folder of the kernel's registered forms.

    Raises:
        NoEmulationError: they do not, or a program that the lab needs for them is missing.
    """
    if arch == platform.machine():
        return
    hint = f"Run `./scripts/bootstrap --arch {arch}`, as root or with sudo; then run the same command again."
    if lacking := _lacking(arch, binfmt):
        raise NoEmulationError(f"this machine cannot run programs of {arch}: {lacking}", hint)
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        raise NoEmulationError(f"the lab cannot bootstrap Debian for {arch}: {', '.join(missing)} not installed", hint)


def _lacking(arch: Arch, binfmt: Path) -> str:
    """Return why programs of an architecture do not run; empty where they do."""
    if not (binfmt / "status").is_file():
        return f"{binfmt} is not mounted"
    without_f = ""
    for path in sorted(binfmt.iterdir()):
        if path.name in ("register", "status"):
            continue
        words = dict(line.partition(" ")[::2] for line in path.read_text(encoding="ascii").splitlines())
        magic = words.get("magic", "")
        if "enabled" not in words or not magic.startswith(_ELF) or magic[_MACHINE_AT:] != _MACHINES.get(arch, ""):
            continue
        # With the flag F the kernel opens the interpreter when it is registered, so no container needs to have it.
        if "F" in words.get("flags:", ""):
            return ""
        without_f = f"{path} lacks the flag F, so containers do not find its interpreter"
    return without_f or f"no form in {binfmt} is for its programs"
