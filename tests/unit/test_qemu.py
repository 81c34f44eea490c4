"""Virtual machines with a stand-in for the emulator: its command line, its output, its end, and the use of KVM."""

from __future__ import annotations

import os
import select
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.effects.vm import qemu
from kmatrix.effects.vm.qemu import Guest, GuestEnd, Machines, SecureBoot
from kmatrix.values.boot import Accel
from kmatrix.values.errors import InterruptedRunError, ToolError

# Seconds, longer than any test: a stand-in never ends by itself before a limit ends it.
LONG = 100.0
SHORT = 0.3
ENOUGH = 10.0
INIT = "echo '@kmatrix init'\n"
STUCK = "exec sleep 1000\n"
KINDS = [("x86_64", "qemu-system-x86_64", "q35", "ttyS0"), ("aarch64", "qemu-system-aarch64", "virt", "ttyAMA0")]


class Emulators:
    """Stand-ins on the PATH; each records its arguments, one line for each start, and then behaves as the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started = folder / "started"
        self.guest = Guest("x86_64", folder / "vmlinuz", folder / "cell.cpio", 700)

    def install(self, script: str, name: str = "qemu-system-x86_64") -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$*" >>{self._started}\n{script}', encoding="utf-8")
        path.chmod(0o755)

    @property
    def started(self) -> list[str]:
        return self._started.read_text(encoding="utf-8").splitlines() if self._started.exists() else []

    def boot(self, script: str, boot_seconds: float = LONG, seconds: float = LONG) -> tuple[GuestEnd, list[str]]:
        self.install(script)
        lines: list[str] = []
        return Machines("tcg").boot(self.guest, boot_seconds, seconds, lines.append), lines


@pytest.fixture
def emulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Emulators:
    made = tmp_path / "emulators"
    made.mkdir()
    monkeypatch.setenv("PATH", f"{made}:/usr/bin:/bin")
    return Emulators(made)


@pytest.fixture
def kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A /dev/kvm, and a short limit to try it."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **o: path == "/dev/kvm" or access(path, mode, **o))
    monkeypatch.setattr(qemu, "_PROBE_SECONDS", SHORT)


@pytest.mark.parametrize(("arch", "emulator", "machine", "console"), KINDS)
@pytest.mark.parametrize("accel", ["kvm", "tcg"])
def test_a_machine_is_made_for_the_kernel_s_arch(
    emulators: Emulators, arch: Any, emulator: str, machine: str, console: str, accel: Accel
) -> None:
    emulators.install(INIT, emulator)
    Machines(accel).boot(replace(emulators.guest, arch=arch), LONG, LONG, lambda _: None)
    (words,) = emulators.started
    guest = emulators.guest
    assert f"-machine {machine},accel={accel} " in words
    assert f"-serial stdio -kernel {guest.vmlinuz} -initrd {guest.initramfs} -append console={console} " in words
    assert " -m 700 " in words
    # Under KVM a guest has the processor of the machine.
    processor = "neoverse-n1" if (arch, accel) == ("aarch64", "tcg") else "max"
    assert f" -cpu {processor} " in words
    for word in ("-no-reboot", "-nic none", "-nodefaults", "-no-user-config", "oops=panic", "panic=-1"):
        assert word in words


def test_a_machine_with_secure_boot_is_started_by_its_firmware_alone(emulators: Emulators) -> None:
    folder = emulators.folder
    secure = SecureBoot(folder / "code.fd", folder / "variables,1.fd", folder / "disk:1")
    emulators.guest = replace(emulators.guest, initramfs=None, secure_boot=secure)
    end, _ = emulators.boot(INIT)
    assert end.end == "powered-off"
    (words,) = emulators.started
    assert "-machine q35,accel=tcg,smm=on,pflash0=code,pflash1=variables " in words
    assert "driver=cfi.pflash01,property=secure,value=on" in words
    assert "-kernel" not in words
    assert "-append" not in words
    for path in (secure.code, secure.variables, secure.disk):
        assert f'"{path}"' in words


@pytest.mark.parametrize("words", ['load Boot0000 "kmatrix" from k: Access Denied', 'start Boot0000 "": Unsupported'])
def test_a_kernel_that_the_firmware_refuses_ends_the_machine_at_once(emulators: Emulators, words: str) -> None:
    emulators.guest = replace(emulators.guest, secure_boot=SecureBoot(Path("c"), Path("v"), Path("d")))
    end, lines = emulators.boot(f"echo 'BdsDxe: failed to {words}'\n{STUCK}")
    assert (end.end, lines) == ("refused", [f"BdsDxe: failed to {words}"])


def test_words_of_the_firmware_from_init_on_end_nothing(emulators: Emulators) -> None:
    emulators.guest = replace(emulators.guest, secure_boot=SecureBoot(Path("c"), Path("v"), Path("d")))
    end, _ = emulators.boot(f"{INIT}echo 'BdsDxe: failed to load Boot0000 from k: Access Denied'\n")
    assert end.end == "powered-off"


def test_an_interactive_machine_has_the_terminal_with_a_way_out_and_its_status_is_told(emulators: Emulators) -> None:
    emulators.install("exit 7\n")
    assert Machines("tcg").attach(replace(emulators.guest, interactive=True)) == 7
    assert "-serial mon:stdio " in emulators.started[0]


def test_an_arch_without_a_machine_is_an_error_with_a_way_on(emulators: Emulators) -> None:
    with pytest.raises(ToolError) as caught:
        Machines("tcg").boot(replace(emulators.guest, arch=cast("Any", "s390x")), LONG, LONG, lambda _: None)
    assert "s390x" in caught.value.message
    assert "--no-boot" in caught.value.hint


def test_a_missing_emulator_is_an_error_with_a_way_on(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(emulators.folder))
    with pytest.raises(ToolError) as caught:
        Machines("tcg").boot(emulators.guest, LONG, LONG, lambda _: None)
    assert caught.value.message == "qemu-system-x86_64 is not installed"
    assert "scripts/bootstrap" in caught.value.hint


def test_lines_are_told_whole_however_they_come(emulators: Emulators) -> None:
    script = r"""printf 'one\r\ntw'; printf 'o\n\nthree \377'; printf '\nlast'"""
    end, lines = emulators.boot(script)
    assert lines == ["one", "two", "", "three \ufffd", "last"]
    assert end.end == "powered-off"


def test_a_line_that_comes_in_two_parts_is_told_once(emulators: Emulators) -> None:
    seen = emulators.folder / "seen"
    os.mkfifo(seen)
    emulators.install(f"printf 'one\\ntw'; read _ <{seen}; echo o\n")
    lines: list[str] = []

    def take(line: str) -> None:
        lines.append(line)
        if line == "one":
            # The first part has been read by now.
            seen.write_text("\n", encoding="utf-8")

    Machines("tcg").boot(emulators.guest, ENOUGH, ENOUGH, take)
    assert lines == ["one", "two"]


def test_a_machine_that_never_reaches_init_is_ended_by_the_first_limit(emulators: Emulators) -> None:
    end, lines = emulators.boot(f"echo booting\n{STUCK}", boot_seconds=SHORT)
    assert (end.end, lines) == ("no-boot", ["booting"])


def test_from_init_on_the_other_limit_counts(emulators: Emulators) -> None:
    end, lines = emulators.boot(INIT + STUCK, seconds=SHORT)
    assert (end.end, lines) == ("deadline", ["@kmatrix init"])


def test_a_line_without_an_end_does_not_hold_up_the_limit(emulators: Emulators) -> None:
    end, _ = emulators.boot(INIT + "yes | tr -d '\\n'\n", seconds=SHORT)
    assert end.end == "deadline"


def test_a_machine_that_is_killed_from_outside_is_told_apart(emulators: Emulators) -> None:
    end, _ = emulators.boot(INIT + "kill -KILL $$\n")
    assert end.end == "killed"


@pytest.mark.parametrize("script", ["exit 1\n", "kill -ABRT $$\n"])
def test_an_emulator_that_fails_is_quoted(emulators: Emulators, script: str) -> None:
    with pytest.raises(ToolError) as caught:
        emulators.boot("echo 'cannot set up guest memory' >&2\n" + script)
    assert "cannot set up guest memory" in caught.value.message


def test_much_on_standard_error_does_not_hold_up_the_machine(emulators: Emulators) -> None:
    end, lines = emulators.boot("head -c 1000000 /dev/zero >&2\necho through\n", boot_seconds=ENOUGH)
    assert (end.end, lines) == ("powered-off", ["through"])


def test_what_an_emulator_started_ends_with_it(emulators: Emulators) -> None:
    held = emulators.folder / "held"
    os.mkfifo(held)
    reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    try:
        end, _ = emulators.boot(f"sleep 1000 3>{held} >/dev/null &\n{INIT}{STUCK}", seconds=SHORT)
        assert end.end == "deadline"
        # It has an end only when nobody has it open for writing any more.
        assert select.select([reading], [], [], ENOUGH)[0]
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_stopping_ends_every_machine_and_lets_none_start(emulators: Emulators) -> None:
    emulators.install(INIT + STUCK)
    machines, up = Machines("tcg"), threading.Barrier(3, timeout=LONG)

    def wait(_: str) -> None:
        up.wait()

    with ThreadPoolExecutor(2) as pool:
        boots = [pool.submit(machines.boot, emulators.guest, LONG, LONG, wait) for _ in range(2)]
        up.wait()
        machines.stop()
        for boot in boots:
            with pytest.raises(InterruptedRunError):
                boot.result()
    with pytest.raises(InterruptedRunError):
        machines.boot(emulators.guest, LONG, LONG, lambda _: None)


@pytest.mark.usefixtures("kvm")
def test_a_kvm_that_hangs_is_given_up_after_its_limit_and_not_asked_again(emulators: Emulators) -> None:
    emulators.install(f'case "$*" in *accel=kvm*) {STUCK.strip()} ;; esac\n{INIT}')
    machines = Machines("auto")
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(lambda _: machines.boot(emulators.guest, LONG, LONG, lambda _: None), range(3)))
    assert [end.end for end in ends] == ["powered-off"] * 3
    assert sorted("accel=kvm" in words for words in emulators.started) == [False, False, False, True]


@pytest.mark.usefixtures("kvm")
@pytest.mark.parametrize(
    ("script", "accel"),
    [
        ("echo '[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs'\n", "kvm"),
        ("echo 'SeaBIOS (version 1.16.2)'\n", "tcg"),
        ("echo 'failed to initialize kvm: Permission denied' >&2\nexit 1\n", "tcg"),
    ],
)
def test_kvm_is_used_if_this_kernel_gets_somewhere_under_it(emulators: Emulators, script: str, accel: str) -> None:
    emulators.install(script)
    assert Machines("auto").accelerator(emulators.guest) == accel
    assert "-initrd" not in emulators.started[0]


def test_without_a_kvm_none_is_tried(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **o: path != "/dev/kvm" and access(path, mode, **o))
    emulators.install(INIT)
    assert Machines("auto").accelerator(emulators.guest) == "tcg"
    assert not emulators.started


def test_what_a_guest_writes_to_steer_a_terminal_enters_without_it(emulators: Emulators) -> None:
    _, lines = emulators.boot(r"""printf '\033[2J\033]0;title\007one\000\177\r\n 1%%\r 2%%\r\n\302\2332Jtwo'""")
    assert lines == ["one", " 1%", " 2%", "two"]
