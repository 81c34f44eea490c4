"""Virtual machines and measured programs end with the process that started them, even if that is killed.

The rules are the kernel's (kernel/exit.c: forget_original_parent; fs/exec.c: begin_new_exec) and util-linux'
(sys-utils/setpriv.c); QEMU is a real one, without a kernel.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmatrix.effects.process.orphans import ending_with_us
from tests.unit.support.programs import needs

SOON_MILLISECONDS = 20_000
QEMU = shutil.which("qemu-system-x86_64")
BOOT = """
import sys, threading
from pathlib import Path
from kmatrix.effects.vm.qemu import Guest, Machines
guest = Guest("x86_64", Path("vmlinuz"), None, 64)
def boot():
    Machines("tcg").boot(guest, 1000, 1000, lambda line: print(line, flush=True))
thread = threading.Thread(target=boot, daemon=True)
thread.start()
thread.join()
"""
MEASURE = """
import os, sys
from pathlib import Path
from kmatrix.effects.process.measured import run_program
run_program(["sh", "-c", sys.argv[1]], Path.cwd(), dict(os.environ), Path("log"))
"""


def ends_soon(process: int) -> bool:
    """Return whether a process ends; one that does not is killed."""
    handle = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if poll.poll(SOON_MILLISECONDS):
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return False
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    "emulator",
    [
        pytest.param("echo running; exec sleep 1000", id="stand-in"),
        pytest.param(
            f"exec {QEMU} -S -display none -nodefaults -machine none -qmp stdio",
            id="qemu",
            marks=needs("qemu-system-x86_64"),
        ),
    ],
)
def test_a_machine_ends_with_the_process_that_booted_it(tmp_path: Path, emulator: str) -> None:
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(f"#!/bin/sh\necho $$\n{emulator}\n", encoding="utf-8")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", BOOT], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as run:
        assert run.stdout
        machine = int(run.stdout.readline())
        # QEMU greets whoever is on its monitor, so by now it is QEMU.
        assert run.stdout.readline()
        assert Path(f"/proc/{machine}/comm").read_text().strip() in ("sleep", "qemu-system-x86")
        run.kill()
    assert ends_soon(machine)


def test_a_measured_program_is_told_to_end_with_the_process_that_measures_it(tmp_path: Path) -> None:
    for name in ("ready", "told", "never"):
        os.mkfifo(tmp_path / name)
    script = "trap 'echo told >told; exit' TERM; echo $$ >ready; while :; do read -r _ <never; done"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = os.open(tmp_path / "told", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with subprocess.Popen([sys.executable, "-c", MEASURE, script], cwd=tmp_path, env=environment) as run:
            program = int((tmp_path / "ready").read_text(encoding="utf-8"))
            run.kill()
        assert ends_soon(program)
        assert os.read(told, 10) == b"told\n"
    finally:
        os.close(told)


def test_a_program_does_not_start_after_its_parent_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = tmp_path / "begun"
    command = ["touch", str(begun)]
    # As if another process than the shell's parent had made the command.
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        orphaned = ending_with_us(command)
    assert subprocess.run(orphaned, check=False).returncode == 1
    assert not begun.exists()
    assert subprocess.run(ending_with_us(command), check=False).returncode == 0
    assert begun.exists()


def test_process_id_status_and_arguments_stay_the_program_s_own() -> None:
    script = 'echo "$$" "$@"; exit 7'
    command = ending_with_us(["sh", "-c", script, "sh", "a b", "", "$x"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        said = run.communicate()[0]
    assert (run.returncode, said) == (7, f"{run.pid} a b  $x\n")


def test_without_setpriv_a_program_starts_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ending_with_us(["program", "-x"]) == ["program", "-x"]
