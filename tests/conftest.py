"""Settings of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Handle Ctrl-C and a lost terminal as a program in the foreground does.

    A shell's background jobs ignore the one and programs under nohup the other; the programs that tests start would
    inherit that.
    """
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    taken: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    for number, before in found.items():
        if before == signal.SIG_IGN:
            signal.signal(number, taken[number])
    yield
    for number, before in found.items():
        signal.signal(number, before)
