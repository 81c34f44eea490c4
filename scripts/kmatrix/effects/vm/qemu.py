"""Virtual machines: boots a kernel with an initramfs, reads its serial console, and ends it at a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kmatrix.decide.secure_boot import refused_start
from kmatrix.effects.process.environment import child_environment
from kmatrix.effects.process.orphans import ending_with_us
from kmatrix.values.boot import Accel, End
from kmatrix.values.errors import InterruptedRunError, ToolError
from kmatrix.values.names import Arch
from kmatrix.values.text import plain

_PROBE_SECONDS = 8.0
_INIT_MARK = "@kmatrix init"


@dataclass(frozen=True)
class Kind:
    """The virtual machine for an architecture: emulator, machine type, serial console, processor under emulation."""

    emulator: str
    machine: str
    console: str
    processor: str


KINDS: dict[Arch, Kind] = {
    "x86_64": Kind("qemu-system-x86_64", "q35", "ttyS0", "max"),
    # Pointer authentication, which `max` has, triples the time of a start, and the Cortex processors of QEMU 7.2 lack
    # pages of 16 KiB (hw/arm/virt.c lists those that the machine accepts).
    "aarch64": Kind("qemu-system-aarch64", "virt", "ttyAMA0", "neoverse-n1"),
}


@dataclass(frozen=True)
class SecureBoot:
    """What a machine with Secure Boot starts from: its firmware, the UEFI variables of this guest, and a folder.

    The firmware sees the folder as a disk; the variables say what it starts from there.
    """

    code: Path
    variables: Path
    disk: Path


@dataclass(frozen=True)
class Guest:
    """One boot: architecture, kernel, initramfs, memory in MB, and whether a person sits at the console.

    `unpacked`, if given, is the uncompressed kernel inside `vmlinuz`, which starts sooner. With `secure_boot` the
    firmware starts what is on its disk, and the machine is given neither kernel nor initramfs.
    """

    arch: Arch
    vmlinuz: Path
    initramfs: Path | None
    memory_mb: int
    interactive: bool = False
    unpacked: Path | None = None
    secure_boot: SecureBoot | None = None


@dataclass(frozen=True)
class GuestEnd:
    """How a machine ended, and QEMU's own error output."""

    end: End
    stderr: str


class Machines:
    """The virtual machines of a run; safe to share between threads. `stop` ends all of them."""

    def __init__(self, accel: Accel) -> None:
        self._accel = accel
        self._found: dict[Arch, str] = {}
        self._probing = threading.Lock()
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._stopping = False

    def accelerator(self, guest: Guest) -> str:
        """Return `kvm` or `tcg`; `auto` tries to boot the kernel under KVM once per run, with a short limit."""
        if self._accel != "auto":
            return self._accel
        with self._probing:
            if guest.arch not in self._found:
                self._found[guest.arch] = "kvm" if self._kvm_works(guest) else "tcg"
            return self._found[guest.arch]

    def boot(self, guest: Guest, boot_seconds: float, seconds: float, on_line: Callable[[str], None]) -> GuestEnd:
        """Boot a guest and read its serial console to its end.

        Args:
            guest: the guest to boot.
            boot_seconds: limit until its init runs.
            seconds: limit for init from then on.
            on_line: called with every line, without its line end.

        Raises:
            ToolError: QEMU is not installed, or does not start.
            InterruptedRunError: the run is being stopped.
        """
        return self._run(guest, self.accelerator(guest), boot_seconds, seconds, on_line)

    def attach(self, guest: Guest) -> int:
        """Boot a guest on the caller's own terminal; return QEMU's exit status."""
        command = self._command(guest, self.accelerator(guest))
        return subprocess.run(ending_with_us(command), env=child_environment(), check=False).returncode

    def stop(self) -> None:
        """End every running machine, and every one that starts later."""
        with self._lock:
            self._stopping = True
            running = tuple(self._running)
        for group in running:
            _kill(group)

    def _command(self, guest: Guest, accel: str) -> list[str]:
        kind = KINDS.get(guest.arch)
        if kind is None:
            raise ToolError(
                f"there is no virtual machine for {guest.arch}",
                "Virtual machines are supported for x86_64 and aarch64; `build` and `verify` accept --no-boot.",
            )
        if shutil.which(kind.emulator) is None:
            raise ToolError(
                f"{kind.emulator} is not installed",
                f"`./scripts/bootstrap --arch {guest.arch}` installs it; `build` and `verify` accept --no-boot.",
            )
        processor = kind.processor if accel == "tcg" else "max"
        serial = "mon:stdio" if guest.interactive else "stdio"
        machine = f"{kind.machine},accel={accel}"
        if guest.secure_boot:
            machine += ",smm=on,pflash0=code,pflash1=variables"
            start = _secure_start(guest.secure_boot)
        else:
            initrd = ["-initrd", str(guest.initramfs)] if guest.initramfs else []
            start = ["-kernel", str(guest.unpacked or guest.vmlinuz), *initrd, "-append", kernel_arguments(guest.arch)]
        return [
            kind.emulator,
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"),
            *("-machine", machine, "-cpu", processor, "-smp", "1", "-m", str(guest.memory_mb)),
            *("-serial", serial, *start),
        ]

    def _kvm_works(self, guest: Guest) -> bool:
        """Return whether this kernel runs under KVM: a /dev/kvm may exist and still hang every guest."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return False
        lines: list[str] = []
        bare = Guest(guest.arch, guest.vmlinuz, None, guest.memory_mb)
        with contextlib.suppress(ToolError):
            # Without an initramfs the kernel ends in a panic; its message shows that the kernel ran.
            self._run(bare, "kvm", _PROBE_SECONDS, _PROBE_SECONDS, lines.append)
        return any("Kernel panic" in line for line in lines)

    def _run(
        self, guest: Guest, accel: str, boot_seconds: float, seconds: float, on_line: Callable[[str], None]
    ) -> GuestEnd:
        # Standard error is a file: a pipe that is read only at the end can fill up and block the machine.
        with tempfile.TemporaryFile() as errors:
            command = self._command(guest, accel)
            ended, status = self._serial(guest, command, errors, (boot_seconds, seconds), on_line)
            errors.seek(0)
            stderr = errors.read().decode("utf-8", "replace").strip()
        if ended is not None:
            return GuestEnd(ended, stderr)
        if status == 0:
            return GuestEnd("powered-off", stderr)
        if status == -signal.SIGABRT or status > 0:
            raise ToolError(
                f"QEMU failed ({status}): {stderr or 'without a message'}", "If memory is short, use fewer --jobs."
            )
        return GuestEnd("killed", stderr)

    def _serial(
        self,
        guest: Guest,
        command: Sequence[str],
        stderr: IO[bytes],
        seconds: tuple[float, float],
        on_line: Callable[[str], None],
    ) -> tuple[End | None, int]:
        """Run an emulator; return why it was ended, None if it ended by itself, and its exit status."""
        process = subprocess.Popen(
            ending_with_us(command),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
        with self._lock:
            self._running.add(process.pid)
            stopping = self._stopping
        ended: End | None = None
        init_ran = False
        try:
            if stopping:
                raise InterruptedRunError
            assert process.stdout is not None
            limit = [time.monotonic() + seconds[0]]
            for line in _lines(process.stdout, limit):
                if line is None:
                    ended = "deadline" if init_ran else "no-boot"
                    break
                if not init_ran and _INIT_MARK in line:
                    init_ran, limit[0] = True, time.monotonic() + seconds[1]
                on_line(line)
                # The firmware would go on to its menu, and wait there.
                if guest.secure_boot and not init_ran and refused_start(line):
                    ended = "refused"
                    break
            if ended is not None:
                _kill(process.pid)
            status = process.wait()
        finally:
            _kill(process.pid)
            process.wait()
            if process.stdout:
                process.stdout.close()
            with self._lock:
                self._running.discard(process.pid)
                stopping = self._stopping
        if stopping:
            raise InterruptedRunError
        return ended, status


def kernel_arguments(arch: Arch) -> str:
    """Return the kernel's command line in a guest.

    A panic ends the machine (-no-reboot), and so does an oops: output after an oops proves nothing. The kernel's
    self-tests of its ciphers do not concern the gates, and take a second. With slab merging, a leaked slab cache would
    go unnoticed.
    """
    quick = "panic=-1 oops=panic quiet log_buf_len=1M cryptomgr.notests"
    return f"console={KINDS[arch].console} {quick} slab_nomerge"


def _secure_start(secure: SecureBoot) -> list[str]:
    """Return the arguments of a machine that only its firmware starts.

    QEMU's option -kernel would not do: QEMU writes into the kernel's header, which breaks the signature, and the
    firmware then starts the kernel unverified (hw/i386/x86.c, x86_load_linux; edk2, OvmfPkg/Library/
    X86QemuLoadImageLib).
    """
    flash = {"driver": "raw", "node-name": "code", "read-only": True}
    nodes: tuple[dict[str, object], ...] = (
        {**flash, "file": {"driver": "file", "filename": str(secure.code)}},
        {"driver": "raw", "node-name": "variables", "file": {"driver": "file", "filename": str(secure.variables)}},
        {"driver": "vvfat", "node-name": "disk", "dir": str(secure.disk), "read-only": True},
    )
    return [
        # The firmware alone may write variables, and this machine never sleeps.
        *("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"),
        *(word for node in nodes for word in ("-blockdev", json.dumps(node))),
        *("-device", "virtio-blk-pci,drive=disk"),
    ]


def _lines(stream: IO[bytes], limit: Sequence[float]) -> Iterator[str | None]:
    """Yield a stream's lines until its end; None if the limit (a monotonic time, may be changed) passes first."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = limit[0] - time.monotonic()
            if left <= 0:
                yield None
                return
            if not selector.select(timeout=left):
                continue
            data = os.read(stream.fileno(), 65536)
            if not data:
                break
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                yield from _plain_lines(line)
    if rest:
        yield from _plain_lines(rest)


def _plain_lines(data: bytes) -> list[str]:
    """Return a guest's output without control characters, which could steer a terminal or break a report."""
    return plain(data.decode("utf-8", "replace")).split("\n")


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
