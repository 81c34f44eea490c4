"""Bench and tests publish images that were not booted on this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.without_boot import main, without_boot
from kmatrix.stages import gates
from kmatrix.values.errors import Exit
from tests.unit.support.projects import write_project


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PROFILE", "ROOT", "TARGET"):
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", ["quay.io/team", "localhost.example/team", "10.0.0.1:5000", "127.0.0.1.example"])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_target_on_another_machine_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, by: str
) -> None:
    if by == "environment":
        monkeypatch.setenv("KMATRIX_TARGET", target)
    given = ["--target", target] if by == "option" else []
    assert main(["build", "--root", str(site), *given]) == Exit.USAGE
    said = capsys.readouterr().err
    assert f"error: {target} is not on this machine" in said
    assert not (site / "build").exists()


@pytest.mark.parametrize("target", ["127.0.0.1:5080", "127.1.2.3:5080/team", "localhost:5000", "localhost/team"])
def test_a_target_on_this_machine_is_accepted(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{site}/no-engine.sock")
    assert main(["build", "--root", str(site), "--target", target]) == Exit.UNREACHABLE
    assert "container engine" in capsys.readouterr().err


def test_the_gates_that_boot_are_left_out_for_a_while() -> None:
    every = gates.GATES
    with without_boot():
        assert tuple(gate for gate in every if not gate.boots) == gates.GATES
        assert len(gates.GATES) < len(every)
    assert gates.GATES is every
