"""prune: remove images of kernels that lost their last release long ago; a dry run unless told otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, select_profile
from kmatrix.commands.run import alone
from kmatrix.commands.showing import showing
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.prunable_kernels import OtherProfile, kernel_ages, same_target
from kmatrix.decide.prune import Pruning, Removal
from kmatrix.effects.disk.bundles import read_bundles
from kmatrix.effects.disk.files import read_text
from kmatrix.effects.disk.results import drop_results
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.remover import RegistryRemover
from kmatrix.stages.columns import Column, print_table, wide_console
from kmatrix.stages.progress import stepping
from kmatrix.stages.prune import decide_pruning, pruning_json, remove
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.lock import Lock, pins_of, read_lock
from kmatrix.values.matrix import required_target

_COLUMNS = (Column("image"), Column("kind"), Column("kernel", 1), Column("since", 1), Column("removed because", 2))


def prune(call: Invocation) -> Exit:
    """List the images that the profile's target may lose; with --apply, remove them.

    Raises:
        InputError: there is no target, a lock is missing or out of date, or another run is under way.
        UnreachableError, CredentialError, ProtocolError: something could not be read: nothing is removed. Or the
            registry refuses a deletion: the rest stays.
        ToolError: the registry deletes nothing.
    """
    chosen = select_profile(call)
    target = required_target(chosen.name, chosen.effective)
    days = chosen.effective.retention_days
    if days is None:
        call.conclude(
            f"profile {chosen.name} keeps every image: set profiles.{chosen.name}.retention_days in matrix.yaml to "
            "have images of kernels without a release removed"
        )
        return Exit.OK
    holder: AbstractContextManager[None] = alone(call) if call.apply else nullcontext()
    with holder:
        pins = pins_for(call, chosen)
        others = tuple(_others(call, chosen, target))
        ages = kernel_ages(pins, others, days, datetime.now(UTC).date().isoformat())
        remover = RegistryRemover(load_credentials(call.authfile))
        clients = [str(client) for client in chosen.effective.clients]
        tags = chosen.effective.kernel_tags
        with showing(call) as progress, stepping(progress, "prune", "reading the registry"):
            prunings = decide_pruning(remover, target, clients, ages, _named(call), progress.warn, tags)
        removals = [removal for pruning in prunings for removal in pruning.removals]
        if not call.json:
            _show(call, prunings)
        removed: list[Removal] = []
        try:
            if call.apply:
                with showing(call) as progress, stepping(progress, "prune", f"0 of {len(removals)} removed"):

                    def note(removal: Removal) -> None:
                        removed.append(removal)
                        progress.step("prune", f"{len(removed)} of {len(removals)} removed")

                    remove(remover, removals, note)
        finally:
            if removed:
                # Also after a fault: these images are gone.
                cells = {f"{each.client}-{each.kernel}" for each in removed if each.kind == "cell"}
                drop_results(call.results_path, chosen.name, cells)
                call.conclude(f"removed {_count(removed)} from {target}; the registry's own clean-up frees the space")
    if call.json:
        facts = {"profile": chosen.name, "target": target, "retention_days": days, "applied": call.apply}
        print(json.dumps(pruning_json(prunings, facts, removed), indent=1))
    elif removals and not call.apply:
        call.conclude(f"nothing was removed: {call.again(chosen.name, '--apply')} removes {_count(removals)}")
    return Exit.OK


def _show(call: Invocation, prunings: tuple[Pruning, ...]) -> None:
    removals = [removal for pruning in prunings for removal in pruning.removals]
    rows = [(_name_of(removal), removal.kind, removal.kernel, removal.since, removal.reason) for removal in removals]
    if rows:
        print_table(wide_console(), _COLUMNS, rows)
    stays = [stay for pruning in prunings for stay in pruning.stays]
    for stay in stays:
        if stay.kind == "unknown":
            call.say(f"{stay.repository}:{stay.tag} is not this project's, and stays")
    call.say(f"{len(rows)} images and records to remove, {len(stays)} tags stay; --json has the reason for each")


def _name_of(removal: Removal) -> str:
    name = removal.repository.rpartition("/")[2]
    return f"{name}:{removal.tags[0]}" if removal.tags else f"{name}@{removal.digest[:19]}"


def _named(call: Invocation) -> dict[str, str]:
    """Return the digests that manifests of this checkout would name, each with the reason why they stay."""
    found = {}
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    for name in matrix.profiles:
        for client, bundle in read_bundles(call.bundles_path, name).items():
            digests = [bundle.digest, *(image.digest for image in bundle.images)]
            digests += [image.rpartition("@")[2] for image in bundle.modules.values()]
            reason = f"build/bundles.json has it for the manifests of {client}"
            found.update(dict.fromkeys((each for each in digests if each), reason))
    return found


def _others(call: Invocation, chosen: SelectedProfile, target: str) -> Iterator[OtherProfile]:
    """Yield the other profiles that may publish to the same target.

    A profile whose target is given at run time may use any: its pins count where the lock has them.

    Raises:
        InputError: a profile with this target has no pins, or they are out of date.
    """
    matrix = read_matrix(read_text(call.root / "matrix.yaml", "matrix file"))
    for name, profile in matrix.profiles.items():
        if name == chosen.name or not (profile.target is None or same_target(profile.target, target)):
            continue
        path = call.root / profile.lock
        lock = read_lock(read_text(path, "lock file"), profile.lock) if path.exists() else Lock()
        if profile.target is None:
            if name in lock.profiles:
                yield OtherProfile(name, lock.profiles[name], profile.retention_days)
            continue
        try:
            yield OtherProfile(name, pins_of(lock, name, profile), profile.retention_days)
        except InputError as error:
            message = f"profile {name} publishes to {target} too, so its kernels must be known: {error.message}"
            raise InputError(message, error.hint, error.problems) from error


def _count(removals: list[Removal]) -> str:
    images = sum(each.kind != "record" for each in removals)
    records = len(removals) - images
    return f"{images} image{'' if images == 1 else 's'} and {records} record{'' if records == 1 else 's'}"
