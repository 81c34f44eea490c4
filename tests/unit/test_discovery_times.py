"""A release's `unseen` is a time at which it was not in the update graph, whatever became of the discovery before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from kmatrix.commands import pins as pins_command
from tests.unit.support.discovery_project import DiscoveryProject, discovery_project
from tests.unit.support.release_images import MadeRelease
from tests.unit.support.release_service import ReleaseService, release_service

FIRST = MadeRelease("4.16.1", "5.14.0-427.22.1.el9_4.x86_64")
NEW = MadeRelease("4.16.2", "5.14.0-427.24.1.el9_4.x86_64")


class Clock(datetime):
    """A clock that a test sets."""

    hour = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime(2026, 3, 1, cls.hour, tzinfo=tz)


def at(hour: int) -> str:
    return f"2026-03-01T{hour:02}:00:00Z"


@pytest.fixture
def service() -> Iterator[ReleaseService]:
    with release_service() as running:
        running.publish([FIRST])
        yield running


@pytest.fixture
def project(service: ReleaseService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiscoveryProject:
    """A project with a first lock, of one o'clock."""
    monkeypatch.setattr(pins_command, "datetime", Clock)
    made = discovery_project(tmp_path, service, ("stable-4.16",))
    discover(made, 1)
    return made


def discover(project: DiscoveryProject, hour: int, *arguments: str, code: int = 0) -> None:
    Clock.hour = hour
    assert project.run("discover", *arguments) == code


def times(project: DiscoveryProject) -> tuple[str | None, str | None]:
    (pin,) = (pin for pin in project.pins.releases if str(pin.version) == NEW.version)
    return pin.unseen, pin.found


def test_a_new_release_was_not_seen_by_the_discovery_before(service: ReleaseService, project: DiscoveryProject) -> None:
    discover(project, 2)
    service.publish([FIRST, NEW])
    discover(project, 3)
    assert times(project) == (at(2), at(3))


def test_a_check_that_saw_the_release_is_no_time_without_it(service: ReleaseService, project: DiscoveryProject) -> None:
    service.publish([FIRST, NEW])
    discover(project, 2, "--check", code=1)
    discover(project, 3)
    assert times(project) == (at(1), at(3))


def test_a_discovery_whose_lock_was_lost_is_no_time_without_it(
    service: ReleaseService, project: DiscoveryProject, tmp_path: Path
) -> None:
    """The commit of a scheduled job was refused: the next one has its cache, and the lock from before it."""
    kept = tmp_path / "kept"
    shutil.copy2(tmp_path / "matrix.lock", kept)
    service.publish([FIRST, NEW])
    discover(project, 2)
    shutil.copy2(kept, tmp_path / "matrix.lock")
    discover(project, 3)
    assert times(project) == (None, at(3))


def test_a_file_of_another_form_says_nothing(
    service: ReleaseService, project: DiscoveryProject, tmp_path: Path
) -> None:
    (tmp_path / "build" / "cache" / "discoveries.json").write_text('{"site": "2026-03-01T01:00:00Z"}', encoding="utf-8")
    service.publish([FIRST, NEW])
    discover(project, 2)
    assert times(project) == (None, at(2))
