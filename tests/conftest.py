"""Settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

AARCH64 = Path(__file__).parent / "integration" / "aarch64"


def leaves_out_aarch64(config: pytest.Config) -> bool:
    """Whether the tests of aarch64, which are emulated and take long, are neither named by their path nor by -m."""
    given = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    return "aarch64" not in str(config.getoption("markexpr")) and not any(
        path == AARCH64 or AARCH64 in path.parents for path in given
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of aarch64 unless they are named."""
    if leaves_out_aarch64(config):
        out = [item for item in items if item.get_closest_marker("aarch64")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that tests were left out: with several workers, pytest's last line does not count those deselected."""
    given = [Path(argument).resolve() for argument in config.args]
    if leaves_out_aarch64(config) and any(path in AARCH64.parents for path in given):
        terminalreporter.write_line("aarch64: deselected; `nox -s tests -- --arch aarch64` runs these tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return one worker more than there are cores: workers wait for guests, builds, registries and child processes.

    None leaves it to pytest-xdist, which has a variable for it (xdist/plugin.py).
    """
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else len(os.sched_getaffinity(0)) + 1


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


@pytest.fixture(scope="session", autouse=True)
def elsewhere() -> Iterator[None]:
    """Run as if no runner of GitHub Actions did, which would get commands and a summary of the sessions under test."""
    names = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    yield
    os.environ.update(taken)
