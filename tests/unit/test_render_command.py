"""`render` on a project: it names files that it did not write, and an editor's file changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.cli import main
from kmatrix.values.errors import Exit
from tests.unit.support.manifests_project import SETTINGS, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one cell."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    return write_project(tmp_path / "project", ("8.2.2",))


@pytest.fixture
def sources(project: Path) -> Path:
    """The build context of the client's image."""
    return project / "images" / "beegfs-client"


def render(project: Path, *arguments: str) -> int:
    return main(["render", "--root", str(project), *arguments])


def test_a_file_that_is_not_ours_stays_and_is_named(
    project: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sources.is_dir()
    mine = project / "dockerfiles" / "here" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert render(project) == Exit.OK
    assert "render` did not write; they stay: dockerfiles/here/notes.txt." in capsys.readouterr().err
    assert mine.exists()
    # It makes nothing stale: rendering again would not take it away.
    assert render(project, "--check") == Exit.OK
    assert "notes.txt" in capsys.readouterr().err
    mine.unlink()
    assert render(project) == Exit.OK
    assert "did not write" not in capsys.readouterr().err


def test_an_editors_file_beside_the_template_makes_no_dockerfile_stale(project: Path, sources: Path) -> None:
    assert render(project) == Exit.OK
    (sources / ".beegfs-node.swp").write_bytes(b"b0VIM\x00\xff")
    assert render(project, "--check") == Exit.OK


def test_a_file_that_is_copied_and_not_there_is_a_usage_error_with_a_next_step(
    project: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources / "node-files").unlink()
    assert render(project) == Exit.USAGE
    said = capsys.readouterr().err
    assert "copies node-files, and there is no such file" in said
    assert "Put it into the folder" in said
