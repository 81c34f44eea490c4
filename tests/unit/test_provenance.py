"""SLSA provenance: the inputs of a build, its builder, and nothing that is not for others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from kmatrix.decide.builders import LOCAL, UNKNOWN, Builder, builder_of
from kmatrix.decide.provenance import BUNDLE_BUILD, CELL_BUILD, bundle_provenance, cell_provenance
from kmatrix.values.attestation import PROVENANCE, Statement
from kmatrix.values.build_facts import BuildFacts, Source
from kmatrix.values.recipe import Recipe
from tests.unit.support import cell_images
from tests.unit.support.attested_cell import BASE, BUILDER, DIGEST, FACTS, NAME, recipe_of

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "team/images",
    "GITHUB_WORKFLOW_REF": "team/images/.github/workflows/publish.yml@refs/heads/main",
    "GITHUB_RUN_ID": "42",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_TOKEN": "ghs_secret",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_URL": "https://gitlab.example/team/images",
    "CI_RUNNER_ID": "12",
    "CI_JOB_URL": "https://gitlab.example/team/images/-/jobs/7",
    "CI_JOB_TOKEN": "secret",
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_of()


def cell(recipe: Recipe, facts: BuildFacts = FACTS, builder: Builder = BUILDER) -> Statement:
    return cell_provenance(NAME, DIGEST, recipe, BASE, facts, builder)


def test_the_parameters_are_the_cell(recipe: Recipe) -> None:
    statement = cell(recipe)
    assert (statement.predicate_type, statement.name, statement.digest) == (PROVENANCE, NAME, DIGEST)
    definition = statement.predicate["buildDefinition"]
    assert definition["buildType"] == CELL_BUILD
    assert definition["externalParameters"] == {
        "profile": "site",
        "client": "8.2.2",
        "kernel": "5.14.0-427.22.1.el9_4.x86_64+rt",
        "arch": "x86_64",
        "releases": ["4.16.3"],
    }
    assert definition["internalParameters"] == {"cellKey": recipe.cell_key}


def test_every_input_has_its_digest(recipe: Recipe) -> None:
    found = cell(recipe).predicate["buildDefinition"]["resolvedDependencies"]
    named = {each["name"]: each for each in found}
    assert len(named) == len(found)
    assert all(each["digest"] for each in found)
    assert named["repository"] == {
        "name": "repository",
        "uri": f"git+https://github.com/team/images@{'a' * 40}",
        "digest": {"gitCommit": "a" * 40},
    }
    assert named["matrix.yaml"]["digest"] == {"sha256": "6" * 64}
    assert named["matrix.lock"]["digest"] == {"sha256": "8" * 64}
    rendered = hashlib.sha256(recipe.dockerfile.encode()).hexdigest()
    assert named[f"dockerfiles/site/{recipe.cell.id}/Dockerfile"]["digest"] == {"sha256": rendered}
    for path, content in recipe.files.items():
        assert named[f"images/beegfs-client/{path}"]["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}
    assert named["base"]["digest"] == {"sha256": "e" * 64}
    assert named["driver-toolkit"]["digest"] == {"sha256": recipe.cell.toolkit.digest.removeprefix("sha256:")}
    for package in recipe.packages:
        assert named[package.file]["digest"] == {"sha256": package.pin.sha256}
        assert named[package.file]["uri"].startswith(f"pkg:rpm/beegfs/{package.pin.name}@")
    location = named["beegfs-client-8.2.2-el9.noarch.rpm"]["downloadLocation"]
    assert location.startswith("https://packages.example/release/beegfs_8.2/dists/rhel9/noarch/")
    assert named["package-key"]["annotations"] == {"fingerprint": recipe.key.fingerprint}
    assert "module-certificate" not in named


def test_a_toolkit_has_the_name_that_its_release_gives_it_wherever_it_was_pulled_from(recipe: Recipe) -> None:
    mirrored = replace(recipe, toolkit=replace(recipe.cell.toolkit, host="mirror.example"))
    assert cell(mirrored) == cell(recipe)


def test_a_module_that_is_signed_names_its_certificate(recipe: Recipe) -> None:
    found = cell(replace(recipe, certificate=b"der")).predicate["buildDefinition"]["resolvedDependencies"]
    (certificate,) = [each for each in found if each["name"] == "module-certificate"]
    assert certificate["digest"] == {"sha256": hashlib.sha256(b"der").hexdigest()}


def test_the_builder_and_its_run_are_named(recipe: Recipe) -> None:
    run = cell(recipe).predicate["runDetails"]
    assert run["builder"] == {"id": BUILDER.id, "version": {"Docker": "28.0.4", "kmatrix": "0.1.0"}}
    assert run["metadata"] == {
        "invocationId": BUILDER.invocation,
        "startedOn": FACTS.started,
        "finishedOn": FACTS.finished,
    }


def test_nothing_is_said_about_the_run_that_built_an_image_earlier(recipe: Recipe) -> None:
    predicate = cell(recipe, BuildFacts("site", Source())).predicate
    assert predicate["runDetails"] == {"builder": {"id": UNKNOWN}}
    names = {each["name"] for each in predicate["buildDefinition"]["resolvedDependencies"]}
    assert names.isdisjoint({"repository", "matrix.yaml"})


def test_no_folder_of_this_machine_and_no_credential_is_stated(recipe: Recipe) -> None:
    source = Source("https://user:secret@git.example/team/images", "a" * 40)
    facts = replace(FACTS, source=source, packages_root="https://user:secret@packages.example/release")
    text = json.dumps(cell(recipe, facts).predicate)
    assert "secret" not in text
    assert "packages.example/release/beegfs_8.2/" in text
    assert "downloadLocation" not in json.dumps(cell(recipe, replace(facts, packages_root="")).predicate)


def test_the_bundle_names_the_images_of_its_cells() -> None:
    images = [cell_images.image(kernel) for kernel in cell_images.KERNELS]
    statement = bundle_provenance(NAME, DIGEST, "8.98.1", images, FACTS, BUILDER)
    definition = statement.predicate["buildDefinition"]
    assert definition["buildType"] == BUNDLE_BUILD
    kernels = [image.cell.kernel for image in images]
    parameters = {"profile": "site", "client": "8.98.1", "kernels": kernels, "arches": ["x86_64"]}
    assert definition["externalParameters"] == parameters
    _, *cells = definition["resolvedDependencies"]
    assert [each["digest"]["sha256"] for each in cells] == [each.digest.removeprefix("sha256:") for each in images]
    assert all(f"repository_url={NAME}" in each["uri"] for each in cells)


def test_github_and_gitlab_are_named_as_their_own_attestations_name_them() -> None:
    """actions/toolkit, packages/attest/src/provenance.ts; gitlab-runner, commands/helpers/artifact_metadata.go."""
    assert builder_of(GITHUB, "run") == BUILDER
    gitlab = Builder("https://gitlab.example/team/images/-/runners/12", "https://gitlab.example/team/images/-/jobs/7")
    assert builder_of(GITLAB, "run") == gitlab


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"GITHUB_ACTIONS": "true"},
        {**GITHUB, "GITHUB_SERVER_URL": "not an address"},
        {**GITHUB, "GITHUB_WORKFLOW_REF": ""},
        {**GITHUB, "GITHUB_SERVER_URL": "https://x?token=secret"},
        {**GITLAB, "CI_RUNNER_ID": ""},
        {**GITLAB, "CI_JOB_URL": ""},
    ],
)
def test_any_other_builder_is_a_local_one(environment: dict[str, str]) -> None:
    assert builder_of(environment, "4f1d") == Builder(LOCAL, "4f1d")


def test_a_builders_address_has_no_credential() -> None:
    found = builder_of({**GITLAB, "CI_PROJECT_URL": "https://user:secret@gitlab.example/team"}, "run")
    assert "secret" not in found.id
