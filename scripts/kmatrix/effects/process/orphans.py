"""Starts programs so that they end with this process, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence

# The kernel sends the signal when the *thread* that started the program ends (kernel/exit.c, forget_original_parent):
# that thread has to wait for the program. A separate program, setpriv (util-linux), sets the signal, as Python code
# between fork and exec is unsafe beside other threads; it stays set across an exec (fs/exec.c, begin_new_exec). This
# process may end before the signal is set: so the shell checks its parent before it becomes the program.
_IF_NOT_ORPHANED = 'test "$PPID" = "$1" || exit 1; shift; exec "$@"'


def ending_with_us(command: Sequence[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return a command that runs `command`, under the same process id, and ends it when this process ends.

    The thread that starts it has to wait for it. On a system without setpriv, the command is returned unchanged.

    Args:
        command: program and arguments.
        number: the signal that it gets when this process ends.
    """
    setpriv, shell = shutil.which("setpriv"), shutil.which("sh")
    if setpriv is None or shell is None:
        return list(command)
    name = number.name.removeprefix("SIG")
    return [setpriv, "--pdeathsig", name, shell, "-c", _IF_NOT_ORPHANED, shell, str(os.getpid()), *command]
