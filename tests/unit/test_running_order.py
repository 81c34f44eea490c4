"""The order of tests among workers: long ones first in every share, judged by pytest-xdist's own scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.scheduler import WorkStealingScheduling

from tests.integration.support.running_order import SECONDS, group_of, in_running_order

INTEGRATION = Path(__file__).resolve().parents[1] / "integration"
TESTS = [
    *(f"boot/test_a.py::{number}" for number in range(4)),
    *(f"engine/test_newer_engine.py::{number}" for number in range(2)),
    *(f"entrypoint/test_entrypoint.py::{number}" for number in range(9)),
    *(f"entrypoint/test_entrypoint_serve.py::{number}" for number in range(9)),
    *(f"node/test_node_start.py::{number}" for number in range(6)),
    *(f"unit::{number}" for number in range(50)),
]


def group(test: str) -> str:
    module = test.partition("::")[0]
    return "" if module == "unit" else group_of(module)


@dataclass
class Worker:
    """A worker as the scheduler sees it, which notes the tests it is sent."""

    tests: list[int] = field(default_factory=list)
    shutting_down: bool = False
    gateway: Any = field(default_factory=lambda: SimpleNamespace(id="worker"))

    def __hash__(self) -> int:
        return id(self)

    def send_runtest_some(self, tests: list[int]) -> None:
        self.tests += tests

    def send_steal(self, _: list[int]) -> None:
        """Give nothing back: only the first shares are looked at."""

    def shutdown(self) -> None:
        self.shutting_down = True


def shares(tests: list[str], workers: int) -> list[list[str]]:
    """Return each worker's first share, as pytest-xdist gives it."""
    config = SimpleNamespace(getvalue=lambda _: ["popen"] * workers, rootpath=Path())
    scheduler = WorkStealingScheduling(cast("pytest.Config", config), cast("Any", SimpleNamespace(workstealsched=None)))
    nodes = [Worker() for _ in range(workers)]
    for node in nodes:
        scheduler.add_node(cast("Any", node))
    for node in nodes:
        scheduler.add_node_collection(cast("Any", node), tests)
    scheduler.schedule()
    return [[tests[number] for number in node.tests] for node in nodes]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_each_share_begins_with_the_longest_groups_and_ends_with_what_takes_no_time(workers: int) -> None:
    found = shares(in_running_order(TESTS, workers, group), workers)
    longest = sorted({group(test) for test in TESTS} - {""}, key=lambda name: -SECONDS.get(name, 0))
    assert [group(share[0]) for share in found] == longest[:workers]
    for share in found:
        times = [SECONDS.get(group(test), 0) for test in share]
        assert times == sorted(times, reverse=True)
        assert group(share[-1]) == ""


@pytest.mark.parametrize("workers", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("tests", [TESTS, TESTS[:30], TESTS[6:15], []])
def test_every_test_is_there_once_and_a_groups_tests_keep_their_order(workers: int, tests: list[str]) -> None:
    found = in_running_order(tests, workers, group)
    assert sorted(found) == sorted(tests)
    for share in shares(found, workers):
        for name in {group(test) for test in share}:
            of_group = [test for test in share if group(test) == name]
            assert of_group == sorted(of_group, key=tests.index)


def test_a_folder_whose_modules_share_fixtures_stays_on_one_worker() -> None:
    found = shares(in_running_order(TESTS, 2, group), 2)
    for folder in ("entrypoint", "node"):
        assert sum(any(test.startswith(folder) for test in share) for share in found) == 1


def test_a_module_that_shares_nothing_may_leave_its_folders_group() -> None:
    assert group_of("node/test_node_start.py") == group_of("node/test_node_upgrade.py") == "node"
    assert group_of("node/test_rebuild_on_worker.py") == "node/test_rebuild_on_worker.py"


def test_one_worker_runs_the_tests_as_they_are_collected() -> None:
    assert in_running_order(TESTS, 1, group) == TESTS


@pytest.mark.parametrize("name", SECONDS)
def test_every_group_that_is_listed_exists(name: str) -> None:
    assert (INTEGRATION / name).exists()
