"""A malformed answer of the registry about one cell is that cell's fault alone, and never "it is not published"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.publish import image_of
from kmatrix.stages.run import find_published, split_published
from kmatrix.stages.run_context import Options, RunContext
from kmatrix.values import labels
from kmatrix.values.boot import BootOptions
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import CredentialError, UnreachableError
from kmatrix.values.recipe import Recipe
from tests.unit.support.fake_registry import MANIFEST, FakeRegistry, digest, fake_registry, problem
from tests.unit.support.gate_records import put_manifest, put_record, record_of
from tests.unit.support.http_server import Reply
from tests.unit.support.made_up_profile import profile, recipes
from tests.unit.test_gates import Lines

pytestmark = pytest.mark.usefixtures("two_gates", "slept")
PATH = "team/beegfs-client"
HTML = Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"})


@dataclass
class Bench:
    """Three cells of one client in a registry: the first is published, the last is not."""

    server: FakeRegistry
    run: RunContext
    recipes: list[Recipe]
    kept: dict[str, CellResult] = field(default_factory=dict)

    def spoil(self, recipe: Recipe, reply: Reply) -> None:
        self.server.instead[f"/v2/{PATH}/manifests/{image_of(self.run.options.target, recipe.cell).tag}"] = reply

    def publish(self, recipe: Recipe) -> None:
        config = json.dumps({"config": {"Labels": {labels.CELL_KEY: recipe.cell_key}}}).encode()
        found = self.server.blob(PATH, config)
        content = {"mediaType": MANIFEST, "config": {"digest": found, "size": len(config)}, "layers": []}
        raw = json.dumps(content).encode()
        put_manifest(self.server, PATH, recipe.cell.tag, raw)
        put_record(self.server, PATH, record_of(digest(raw), recipe.cell.id, recipe.cell_key))

    def split(self) -> list[str]:
        left = split_published(self.run, self.recipes, lambda result: self.kept.update({result.cell: result}))
        return [recipe.cell.id for recipe in left]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "auth.json").write_text('{"auths": {}}', encoding="utf-8")
    credentials = load_credentials(tmp_path / "auth.json")
    with fake_registry() as server:
        options = Options(tmp_path, "site", profile(), f"{server.web.address}/team", boot=BootOptions())
        anything = cast("Any", None)
        run = RunContext(anything, RegistryWriter(credentials), credentials, options, Lines(), anything)
        made = [recipe for recipe in recipes(profile()).values() if str(recipe.cell.client) == "7.4.6"]
        bench = Bench(server, run, made)
        bench.publish(made[0])
        yield bench


def test_a_malformed_answer_about_one_cell_makes_it_errored_and_the_others_go_on(bench: Bench) -> None:
    published, spoilt, absent = bench.recipes
    bench.spoil(spoilt, HTML)
    assert bench.split() == [absent.cell.id]
    assert {cell: result.verdict for cell, result in bench.kept.items()} == {
        published.cell.id: "skipped",
        spoilt.cell.id: "errored",
    }
    result = bench.kept[spoilt.cell.id]
    assert result.reason.startswith("cannot tell whether it is published: ")
    again = f"`nox -s build -- --profile site --force --only {spoilt.cell.id}`"
    assert result.next_step.endswith(f"If its image is broken for good, {again} replaces it.")


@pytest.mark.parametrize(
    ("reply", "error"),
    [(problem(503, "UNAVAILABLE"), UnreachableError), (problem(403, "DENIED"), CredentialError)],
)
def test_a_registry_that_cannot_be_queried_ends_the_run_before_anything_is_built(
    bench: Bench, reply: Reply, error: type[Exception]
) -> None:
    bench.spoil(bench.recipes[1], reply)
    with pytest.raises(error):
        bench.split()
    assert bench.kept == {}


def test_a_base_is_taken_from_another_published_cell_where_one_cannot_be_read(bench: Bench) -> None:
    published, spoilt, _ = bench.recipes
    bench.spoil(spoilt, HTML)
    find_published(bench.run, [spoilt, published])
    assert bench.run.published["x86_64"].tag == published.cell.tag
    (said,) = cast("Lines", bench.run.progress).said
    assert said.startswith(f"{spoilt.cell.id}: cannot tell whether it is published: ")
