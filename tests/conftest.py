"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let tests of Ctrl-C work in a job that a shell started in the background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
