"""`plan --unpublished`, `--shard` and `--format` on the command line: what is left to do, as a CI system starts it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.cli import main
from kmatrix.effects.disk.results import read_results, write_results
from kmatrix.values.cells import CellResult
from kmatrix.values.names import image_tag
from tests.unit.support.fake_registry import MANIFEST, FakeRegistry, digest, fake_registry
from tests.unit.support.gate_records import put_record, record_of
from tests.unit.support.http_server import Reply
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.support.projects import MATRIX, write_project

CELLS = recipes(profile(base_packages=()), name="site")
FIRST, SECOND, *_ = CELLS


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """The registry of the target."""
    with fake_registry() as made:
        yield made


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_gates: None) -> Path:  # noqa: ARG001
    """A project with six cells, of three kernels."""
    for name in ("KMATRIX_PROFILE", "KMATRIX_TARGET", "KMATRIX_ROOT", "KMATRIX_LOCK", "KMATRIX_AUTHFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_project(tmp_path)
    return tmp_path


def publish(registry: FakeRegistry, cell: str, key: str = "", gates: tuple[str, ...] = ("static", "boot")) -> bytes:
    """Have a cell's image in the registry, with a record of its gates; returns its manifest."""
    image = json.dumps({"config": {"Labels": {"cell": cell}}}).encode()
    config = registry.blob("team/beegfs-client", image)
    entry = {"digest": config, "mediaType": "application/vnd.oci.image.config.v1+json", "size": len(image)}
    content = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": entry, "layers": []}).encode()
    registry.manifest("team/beegfs-client", content, image_tag(cell))
    record = record_of(digest(content), cell, key or CELLS[cell].cell_key, gates)
    put_record(registry, "team/beegfs-client", record)
    return content


def planned(site: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the JSON that `plan` prints."""
    capsys.readouterr()
    assert main(["plan", "--root", str(site), *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def left(site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the cells that `--unpublished` leaves in."""
    target = f"{registry.web.address}/team"
    found = planned(site, capsys, "--json", "--unpublished", "--target", target)
    return [cell["cell"] for cell in found["cells"]]


def test_the_recipes_of_this_test_are_those_of_the_project(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [cell["cell"] for cell in planned(site, capsys, "--json")["cells"]] == [*CELLS]


def test_a_cell_that_is_published_with_all_gates_needs_no_job(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left(site, registry, capsys) == [*CELLS]
    publish(registry, FIRST)
    assert left(site, registry, capsys) == [*CELLS][1:]


@pytest.mark.parametrize(("key", "gates"), [("sha256:other", ("static", "boot")), ("", ("static",))])
def test_a_cell_of_other_inputs_or_without_a_gate_needs_one(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str], key: str, gates: tuple[str, ...]
) -> None:
    publish(registry, FIRST, key, gates)
    assert FIRST in left(site, registry, capsys)


def test_a_published_cell_without_its_kernel_tag_needs_a_job_where_the_profile_asks_for_it(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`build` writes the tag of a published cell, and puts one right that names another image."""
    client, _, kernel = FIRST.partition("-")
    content = publish(registry, FIRST)
    (site / "matrix.yaml").write_text(f"{MATRIX}    kernel_tags: true\n", encoding="utf-8")
    assert FIRST in left(site, registry, capsys)
    registry.manifest(f"team/beegfs-client-{client}", b'{"of": "another"}', image_tag(kernel))
    assert FIRST in left(site, registry, capsys)
    registry.manifest(f"team/beegfs-client-{client}", content, image_tag(kernel))
    assert FIRST not in left(site, registry, capsys)


def test_a_cell_about_which_the_registry_answers_nonsense_keeps_its_job(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job queries again, and reports the cell as errored if the answer stays so."""
    publish(registry, FIRST)
    publish(registry, SECOND)
    path = f"/v2/team/beegfs-client/manifests/{image_tag(FIRST)}"
    registry.instead[path] = Reply(200, b"<html>", {"Content-Type": "text/html"})
    cells = left(site, registry, capsys)
    assert FIRST in cells
    assert SECOND not in cells


@pytest.mark.usefixtures("slept")
def test_a_registry_that_is_down_leaves_nothing_out(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(site), "--unpublished", "--target", "127.0.0.1:1/team"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "127.0.0.1:1" in shown.err


def test_a_plan_of_unpublished_cells_needs_a_target(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(site), "--unpublished"]) == 2
    assert "KMATRIX_TARGET" in capsys.readouterr().err


def test_a_night_without_news_starts_no_job(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in CELLS:
        publish(registry, cell)
    target = f"{registry.web.address}/team"
    assert planned(site, capsys, "--format", "github", "--unpublished", "--target", target) == {"include": []}


def test_the_jobs_of_github_have_every_cell(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    include = planned(site, capsys, "--format", "github", "--runner", "x86_64=big")["include"]
    assert sorted(cell for job in include for cell in job["cells"].split()) == sorted(CELLS)
    assert [job["runner"] for job in include] == ["big"] * 3


@pytest.mark.parametrize(("system", "key"), [("gitlab", "stages"), ("tekton", "spec")])
def test_the_other_documents_are_printed_too(
    site: Path, capsys: pytest.CaptureFixture[str], system: str, key: str
) -> None:
    assert main(["plan", "--root", str(site), "--format", system, "--target", "registry.example/team"]) == 0
    assert key in yaml.safe_load(capsys.readouterr().out)


def test_a_plan_shows_one_shard(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = [planned(site, capsys, "--json", "--shard", f"{part}/2") for part in (1, 2)]
    found = [cell["cell"] for shard in shards for cell in shard["cells"]]
    assert sorted(found) == sorted(CELLS)
    assert {len(shard["cells"]) for shard in shards} <= {2, 4}
    assert {cell["reason"] for cell in shards[0]["out"]} == {"not in shard 1/2"}


def test_a_runner_without_jobs_is_a_usage_error(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--root", str(site), "--runner", "aarch64=arm"]) == 2
    assert "--runner has no effect without --format" in capsys.readouterr().err


def test_a_shard_of_the_unpublished_cells_is_what_build_has_left_of_it(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """`build --shard` divides the complete plan: a cell that is published meanwhile must not move the others."""
    done = {cell for cell in CELLS if cell.endswith(FIRST.partition("-")[2])}
    for cell in done:
        publish(registry, cell)
    target = f"{registry.web.address}/team"
    for part in ("1/2", "2/2"):
        whole = {cell["cell"] for cell in planned(site, capsys, "--json", "--shard", part)["cells"]}
        arguments = ("--json", "--shard", part, "--unpublished", "--target", target)
        rest = {cell["cell"] for cell in planned(site, capsys, *arguments)["cells"]}
        assert rest == whole - done


def test_published_cells_of_which_no_result_is_left_are_merged_as_skipped(
    site: Path, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job pushed the one and was lost, and a person mended the other: no job of a later night has them."""
    path, shards = site / "build" / "results.json", site / "shards"
    shards.mkdir()
    failed = CellResult(SECOND, "7.4.6", SECOND.partition("-")[2], ("4.16.3",), "failed", "it did not load")
    write_results(path, "site", {SECOND: failed}, [SECOND])
    publish(registry, FIRST)
    publish(registry, SECOND)
    target = f"{registry.web.address}/team"
    assert main(["merge", str(shards), "--published", "--target", target, "--root", str(site)]) == 0
    found = read_results(path, "site")
    assert {cell: result.verdict for cell, result in found.items()} == {FIRST: "skipped", SECOND: "skipped"}
    assert all(result.digest and result.gates["boot"] == "passed" for result in found.values())
    assert FIRST not in capsys.readouterr().err.partition("no shard has a result of")[2]


@pytest.mark.usefixtures("slept")
def test_a_registry_that_is_down_changes_no_result_of_a_merge(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, shard = site / "build" / "results.json", site / "shard"
    failed = CellResult(SECOND, "7.4.6", SECOND.partition("-")[2], ("4.16.3",), "failed", "it did not load")
    write_results(path, "site", {SECOND: failed}, [SECOND])
    write_results(shard / "results.json", "site", {FIRST: replace(failed, cell=FIRST)}, [FIRST])
    arguments = ["merge", str(shard), "--published", "--target", "127.0.0.1:1/team", "--root", str(site)]
    assert main(arguments) == 4
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert {cell: result.verdict for cell, result in read_results(path, "site").items()} == {
        FIRST: "failed",
        SECOND: "failed",
    }


def test_a_shards_own_verdict_of_a_published_cell_stays(site: Path, registry: FakeRegistry) -> None:
    shard = site / "shard"
    errored = CellResult(FIRST, "7.4.6", FIRST.partition("-")[2], ("4.16.3",), "errored", "no answer")
    write_results(shard / "results.json", "site", {FIRST: errored}, [FIRST])
    publish(registry, FIRST)
    target = f"{registry.web.address}/team"
    assert main(["merge", str(shard), "--published", "--target", target, "--root", str(site)]) == 0
    assert read_results(site / "build" / "results.json", "site")[FIRST].verdict == "errored"
