"""The part of `plan` that is about jobs: leaves out published cells, and prints the document of a CI system."""

from __future__ import annotations

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile, recipes_for
from kmatrix.commands.showing import showing
from kmatrix.decide.fan_out import fan_out, github_matrix, without_published
from kmatrix.decide.fan_out_gitlab import gitlab_pipeline
from kmatrix.decide.fan_out_keys import job_keys
from kmatrix.decide.fan_out_tekton import tekton_run
from kmatrix.decide.plan import Plan
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages.attested_records import records_for
from kmatrix.stages.gates import gates_of_profile
from kmatrix.stages.trust import load_trust
from kmatrix.stages.unpublished import complete_cells
from kmatrix.values.gate_record import RecordedImage
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import required_target
from kmatrix.values.names import BOOTED_ARCHES, Arch
from kmatrix.values.recipe import Recipe


def unpublished(call: Invocation, chosen: SelectedProfile, pins: ProfileLock, found: Plan) -> Plan:
    """Return a plan with the published cells out.

    Raises:
        InputError: the profile has no target, or the pins were resolved with another key or base.
        UnreachableError, CredentialError: the registry cannot be queried.
    """
    return without_published(found, {recipe.cell.id for recipe, _ in published(call, chosen, pins, found)})


def published(
    call: Invocation, chosen: SelectedProfile, pins: ProfileLock, found: Plan
) -> list[tuple[Recipe, RecordedImage]]:
    """Return the cells of a plan that need no build, each with its published image.

    Raises:
        InputError: the profile has no target, a public key is missing, or the pins were resolved with another key or
            base.
        UnreachableError, CredentialError: the registry cannot be queried.
    """
    target = required_target(chosen.name, chosen.effective)
    if not found.cells:
        return []
    recipes = recipes_for(call, chosen, pins, found)
    # As `build` queries it: a registry may show a repository that is still to be created only to those who may push.
    registry = RegistryWriter(load_credentials(call.authfile), pushes_to=target)
    trust = load_trust(chosen.effective.image_signing, call.root, {}, signs=False)
    gates = gates_of_profile(chosen.effective)
    with showing(call) as progress:
        records = records_for(trust, registry, progress.warn)
        images = complete_cells(registry, records, target, recipes, gates, chosen.effective.kernel_tags, progress)
    return [(recipe, images[recipe.cell.id]) for recipe in recipes if recipe.cell.id in images]


def jobs_document(call: Invocation, chosen: SelectedProfile, found: Plan) -> str:
    """Return the document of `--format`.

    Raises:
        InputError: the profile has no target, or the document exceeds a limit of the system.
    """
    runners: dict[Arch, tuple[str, ...]] = {
        arch: labels
        for arch in BOOTED_ARCHES
        if (labels := tuple(each.partition("=")[2] for each in call.runners if each.startswith(f"{arch}=")))
    }
    jobs = fan_out(found.cells)
    call.say(f"{len(found.cells)} cells in {len(jobs)} jobs")
    if call.format == "github":
        return github_matrix(jobs, runners) + "\n"
    write = {"gitlab": gitlab_pipeline, "tekton": tekton_run}[call.format]
    target = required_target(chosen.name, chosen.effective)
    return write(jobs, chosen.name, target, chosen.effective.lock, runners, job_keys(chosen.effective))
