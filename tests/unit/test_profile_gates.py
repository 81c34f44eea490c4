"""A profile whose gates leave out mount publishes without it, everywhere; a gate that is added later is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.cli import main
from kmatrix.decide.bundle import wanted_bundles
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.stages import kernel_tag
from kmatrix.stages.bundle import make_bundle
from kmatrix.stages.kernel_tag import with_kernel_tag
from kmatrix.stages.published import published_cells
from kmatrix.stages.run_context import cell_result
from kmatrix.values.errors import Exit
from kmatrix.values.gate_record import DEFAULT_GATES, REQUIRED_GATES
from kmatrix.values.matrix import Profile
from kmatrix.values.recipe import Recipe
from tests.unit import test_can_upgrade_command as upgrades
from tests.unit.support.bundle_bench import bundle_bench
from tests.unit.support.fake_registry import fake_registry
from tests.unit.support.gate_records import put_manifest, put_record, record_of
from tests.unit.support.made_up_profile import profile
from tests.unit.support.one_recipe import RECIPE
from tests.unit.support.projects import MATRIX, write_project
from tests.unit.test_bundle_kept import three
from tests.unit.test_plan_jobs import FIRST, left, publish

WITHOUT_MOUNT = f"{MATRIX}    gates: [boot, static]\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a person who has no settings."""
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK", "KMATRIX_AUTHFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_project(tmp_path)
    return tmp_path


def test_a_published_cell_without_mount_needs_a_job_only_where_the_profile_wants_it(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site / "build" / "results.json"
    (site / "shards").mkdir()
    with fake_registry() as registry:
        publish(registry, FIRST, gates=REQUIRED_GATES)
        merge = ["merge", str(site / "shards"), "--published", "--target", f"{registry.web.address}/team"]
        assert FIRST in left(site, registry, capsys)
        assert main([*merge, "--root", str(site)]) == Exit.OK
        assert read_results(path, "site") == {}
        (site / "matrix.yaml").write_text(WITHOUT_MOUNT, encoding="utf-8")
        assert FIRST not in left(site, registry, capsys), "its lock fits as it is"
        assert main([*merge, "--root", str(site)]) == Exit.OK
        (found,) = read_results(path, "site").values()
        assert (found.verdict, found.reason) == ("skipped", "already published, built from the same inputs")
        (site / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
        assert FIRST in left(site, registry, capsys), "the gate is added later"


def test_an_update_is_safe_without_mount_only_where_the_profile_leaves_it_out(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrades.pin(site, upgrades.OLD[2])
    upgrades.publish(site, upgrades.OLD[2], upgrades.NEW[2])
    path = site / "build" / "results.json"
    booted = {
        cell: replace(result, gates=cast("Any", dict.fromkeys(REQUIRED_GATES, "passed")))
        for cell, result in read_results(path, "site").items()
    }
    write_results(path, "site", booted, list(booted))
    assert upgrades.ask(site) == Exit.FAILED
    assert "published, but without a pass of mount; run" in capsys.readouterr().out
    (site / "matrix.yaml").write_text(WITHOUT_MOUNT, encoding="utf-8")
    assert upgrades.ask(site) == Exit.OK
    assert "in the bundle, gates static, boot passed" in capsys.readouterr().out


@pytest.mark.parametrize("gates", [DEFAULT_GATES, REQUIRED_GATES], ids=", ".join)
def test_a_cell_gets_its_kernel_tag_once_it_passed_the_gates_of_its_profile(
    monkeypatch: pytest.MonkeyPatch, gates: tuple[str, ...]
) -> None:
    written: list[str] = []
    monkeypatch.setattr(kernel_tag, "put_kernel_tag", lambda _run, _cell, digest: written.append(digest))
    options = SimpleNamespace(profile=profile(kernel_tags=True, gates=gates), push=True)
    run = cast("Any", SimpleNamespace(options=options, engine=SimpleNamespace(stopping=False)))
    result = cell_result(RECIPE, "passed", "good", digest="sha256:1")
    booted = replace(result, gates=cast("Any", dict.fromkeys(REQUIRED_GATES, "passed")))
    assert with_kernel_tag(run, RECIPE.cell, booted) == booted
    assert written == (["sha256:1"] if gates == REQUIRED_GATES else [])


def test_a_bundle_has_cells_without_mount_where_the_profile_leaves_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bundle_bench(tmp_path, monkeypatch) as bench:
        images = three(bench)
        recipes = [cast("Recipe", SimpleNamespace(cell=each.cell, cell_key="sha256:key")) for each in images]
        for each in images:
            put_manifest(bench.server, bench.server.repository, each.cell.tag, each.manifest.content)
            put_record(bench.server, bench.server.repository, record_of(each.digest, each.cell.id, "sha256:key"))

        def bundled(*gates: str) -> Any:
            chosen = cast("Profile", SimpleNamespace(mirrors={}, gates=gates))
            bench.run.options = replace(bench.run.options, profile=chosen)
            (wanted,) = wanted_bundles([each.cell for each in images], published_cells(bench.run, recipes))
            return make_bundle(bench.run, wanted)

        assert (bundled(*DEFAULT_GATES).verdict, bench.names("8.98.1")) == ("errored", None)
        made = bundled(*REQUIRED_GATES)
        assert (made.verdict, len(made.kernels), len(made.modules), made.lacking) == ("passed", 3, 3, {})
        assert bundled(*REQUIRED_GATES).verdict == "skipped"
        later = bundled(*DEFAULT_GATES)
        assert (later.verdict, bench.names("8.98.1")) == ("errored", made.digest), "the published bundle stays"
        assert all("has not passed gate mount" in why for why in later.lacking.values())
        assert len(later.lacking) == 3
