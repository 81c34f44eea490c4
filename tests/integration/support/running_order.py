"""The order of the tests among the workers of one session: the longest groups start first, and at the same time.

`worksteal` of pytest-xdist gives each worker a contiguous share of the collected tests, all shares of one size, and an
idle worker takes the second half of the longest queue (xdist/scheduler/worksteal.py). Shares that begin with their
longest tests and end with those of milliseconds leave no worker alone with a long test at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Test = TypeVar("Test")

# Rough seconds of a module, or of a folder's other modules, which share expensive fixtures and so stay on one worker.
# Only their ratio counts.
SECONDS = {
    "boot/test_boot_command.py": 40,
    "boot/test_boot_faults.py": 150,
    "boot/test_boot_machine.py": 45,
    "boot/test_mount_faults.py": 135,
    "boot/test_secure_boot.py": 90,
    "cluster/test_build_in_cluster.py": 75,
    "cluster/test_build_in_cluster_versions.py": 55,
    "cluster/test_build_trusted_ca.py": 20,
    "engine/test_newer_engine.py": 90,
    "engine/test_two_at_once.py": 40,
    "entrypoint": 110,
    "faults/test_faults_engine.py": 40,
    "faults/test_faults_proxy.py": 45,
    "negative/test_negative_layout.py": 55,
    "negative/test_negative_modules.py": 75,
    "negative/test_negative_packages.py": 70,
    "node": 380,
    "node/test_node_rebuild.py": 110,
    "node/test_rebuild_on_worker.py": 75,
    "pipeline/test_bundle.py": 100,
    "pipeline/test_pipeline_again.py": 75,
    "pipeline/test_pipeline_first_run.py": 20,
    "pipeline/test_publish_workflow.py": 50,
    "pipeline/test_watch_release.py": 45,
    "signatures": 90,
    "signatures/test_key_hygiene.py": 150,
    "signatures/test_real_verifiers.py": 75,
}
DEFAULT_SECONDS = 20


@dataclass
class _Share(Generic[Test]):
    size: int
    seconds: int = 0
    tests: list[Test] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.size - len(self.tests)

    def add(self, tests: Sequence[Test], seconds: int) -> None:
        self.tests += tests
        self.seconds += seconds


def group_of(module: str) -> str:
    """Return the group of a test module (its path below tests/integration): itself, or a folder that is listed."""
    folder = module.partition("/")[0]
    return folder if folder in SECONDS and module not in SECONDS else module


def in_running_order(tests: Sequence[Test], workers: int, group: Callable[[Test], str]) -> list[Test]:
    """Return the tests in the order in which each worker's share begins with its longest groups.

    Args:
        tests: all tests of the session, in the order of their collection.
        workers: how many share them; with one, the order stays.
        group: the group of a test (see `group_of`), empty for one that takes no time to speak of.
    """
    if workers < 2:
        return list(tests)
    groups: dict[str, list[Test]] = {}
    for test in tests:
        groups.setdefault(group(test), []).append(test)
    short = groups.pop("", [])
    shares: list[_Share[Test]] = []
    left = len(tests)
    for number in range(workers):
        # The sizes that xdist gives them.
        shares.append(_Share(left // (workers - number)))
        left -= shares[-1].size
    for name in sorted(groups, key=lambda name: -_seconds(name)):
        _add_group(shares, groups[name], _seconds(name))
    ordered: list[Test] = []
    for share in shares:
        ordered += share.tests
        ordered += short[: share.room]
        del short[: share.room]
    return ordered


def _add_group(shares: Sequence[_Share[Test]], tests: Sequence[Test], seconds: int) -> None:
    """Give a group to the share with the least work that has room for it; one that fits nowhere is divided."""
    roomy = [share for share in shares if share.room >= len(tests)]
    if roomy:
        min(roomy, key=lambda share: share.seconds).add(tests, seconds)
        return
    first = max(shares, key=lambda share: share.room)
    part, rest = tests[: first.room], tests[first.room :]
    first.add(part, seconds * len(part) // len(tests))
    _add_group(shares, rest, seconds * len(rest) // len(tests))


def _seconds(group: str) -> int:
    return SECONDS.get(group, DEFAULT_SECONDS)
