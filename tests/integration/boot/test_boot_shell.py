"""The prompt in the guest, on a terminal of its own: the image's own programs run the commands that a person types."""

from __future__ import annotations

import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.manual_boot import ManualBoot
from tests.integration.support.project.site import SiteMaker

_LIMIT_SECONDS = 240.0


class Terminal:
    """A program on a terminal, with its output and a way to type."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.said = ""

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, mark: str) -> str:
        """Return the output from here on up to `mark`."""
        limit = time.monotonic() + _LIMIT_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._ours, selectors.EVENT_READ)
            while mark not in self.said:
                assert selector.select(limit - time.monotonic()), f"{mark!r} never came: {self.said}"
                try:
                    self.said += os.read(self._ours, 4096).decode("utf-8", "replace")
                except OSError:
                    pytest.fail(f"it ended without {mark!r}: {self.said}")
        before, _, self.said = self.said.partition(mark)
        return before

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(lab: Lab, module_sites: SiteMaker) -> Iterator[Terminal]:
    """The command `boot --shell` on a terminal of its own."""
    manual = ManualBoot(module_sites(kernels=[lab.kernels.next_line]), lab.kernels.next_line)
    command = [sys.executable, "-m", "kmatrix", "boot", manual.image, "--shell", "--accel", "tcg"]
    made = Terminal([*command, "--root", str(manual.site.root)])
    try:
        yield made
    finally:
        made.close()


def test_a_person_can_load_the_module_mount_with_it_and_look_at_it(terminal: Terminal) -> None:
    hints = terminal.until("Leave with: exit")
    load, mount = (hints.rpartition(f"{word} with: ")[2].splitlines()[0].strip() for word in ("Load", "Mount"))
    # The shell's echo of the typed line must not count as its answer.
    terminal.type(f"{load}; echo status''=$?\n")
    terminal.until("status=0")
    terminal.type("read name rest </proc/modules; echo first''=$name\n")
    terminal.until("first=beegfs")
    terminal.type(f"{mount}; echo mount''=$?\n")
    terminal.until("mount=0")
    terminal.type("while read s point kind r; do [ $kind != beegfs ] || echo mounted''=$point; done </proc/mounts\n")
    terminal.until("mounted=/mnt/beegfs")
    terminal.type("umount /mnt/beegfs; echo umount''=$?\n")
    terminal.until("umount=0")
    # Ctrl-C is the guest's, not ours.
    terminal.type("cat\n")
    # Once by the terminal and once by cat, which is to be there before it is interrupted.
    terminal.type("to cat\n")
    terminal.until("to cat")
    terminal.until("to cat")
    terminal.type("\x03")
    # The interrupt drops the line that was typed before it.
    terminal.until("# ")
    terminal.type("echo still''=here\n")
    terminal.until("still=here")
    terminal.type("exit\n")
    assert terminal.process.wait(_LIMIT_SECONDS) == 0, terminal.said
