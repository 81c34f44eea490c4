"""Fixtures of the tests that need no container engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.effects.registry import environment
from kmatrix.stages import gates
from tests.unit.support.bundle_bench import Bench, bundle_bench
from tests.unit.support.gate_records import BOTH
from tests.unit.support.programs import require


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check for the programs that a test needs before any fixture uses one."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the code asks for; none of them is made."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_gates: None) -> Iterator[Bench]:  # noqa: ARG001
    """A registry, and a run of bundles whose boots end as a test says."""
    with bundle_bench(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def two_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gates `static` and `boot` alone, whichever gates the product has besides."""
    monkeypatch.setattr(gates, "GATES", tuple(gate for gate in gates.GATES if gate.name in BOTH))


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a person's own credentials and proxies out of every test."""
    proxies = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "DOCKER_CONFIG", "NETRC", *proxies):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(environment, "_taken", {})
