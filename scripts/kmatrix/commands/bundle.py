"""bundle: one image for each client version of all its published cells, booted with each kernel before it is tagged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from kmatrix.commands.invocation import Invocation
from kmatrix.commands.profile import SelectedProfile, opened_run, recipes_for, tidy
from kmatrix.decide.bundle import wanted_bundles
from kmatrix.decide.bundle_bounds import Bounds, bounds_of
from kmatrix.decide.kept_results import keep_published
from kmatrix.decide.plan import make_plan
from kmatrix.effects.disk.bundles import read_bundles, update_bundles
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.bundle import Packing, make_bundle, published_cells
from kmatrix.stages.columns import Column, Row, print_table
from kmatrix.stages.progress import STYLES
from kmatrix.stages.run import default_jobs, exit_code
from kmatrix.stages.run_context import BootOptions
from kmatrix.values.bundle import BundleResult
from kmatrix.values.command_lines import command
from kmatrix.values.errors import Exit
from kmatrix.values.names import ClientVersion
from kmatrix.values.recipe import Recipe

_COLUMNS = (
    Column("bundle"),
    Column("verdict"),
    Column("arch", 1),
    Column("kernels", 2),
    Column("bundle MB", 4),
    Column("newest kernel's MB", 5),
    Column("toolkit MB", 6),
    Column("digest", 3),
)


def bundle(call: Invocation) -> Exit:
    """Compose, boot and publish the bundles; --only picks clients by their cells, never some kernels of a bundle."""
    path = call.bundles_path
    now: list[BundleResult] = []
    with _job(call) as job:
        packing, name = job.packing, job.chosen.name
        known = read_bundles(path, name)
        changed: dict[str, BundleResult] = {}
        planned = {recipe.cell.client for recipe in job.recipes}
        order = [str(client) for client in sorted(set(job.chosen.effective.clients) & planned)]
        for client in sorted(set(job.chosen.effective.clients) - planned):
            call.say(f"{client}: no bundle: the plan has no cell of it; {command('plan', name)} shows why each is out")
        own = [recipe for recipe in job.recipes if recipe.cell.client in job.selected]
        images, unread = published_cells(packing, own)
        for wanted in wanted_bundles((recipe.cell for recipe in own), images, unread, job.bounds):
            result = make_bundle(packing, wanted)
            now.append(result)
            time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            changed[result.client] = keep_published(result, known.get(result.client), time)
            update_bundles(path, name, changed, order)
    print_bundles(call.console, now)
    call.say("build/bundles.json has all of it.")
    return exit_code(result.verdict for result in now)


def print_bundles(console: Console, results: Iterable[BundleResult]) -> None:
    """Print one row for each bundle and architecture, and what a person has to know of each."""
    rows: list[Row] = []
    results = list(results)
    for result in results:
        verdict = Text(result.verdict, style=STYLES[result.verdict])
        digest = result.digest.removeprefix("sha256:")[:12] or "-"
        for image in result.images:
            sizes = [_mega(size) for size in (image.bytes, [*image.kernels.values()][-1], image.toolkit_bytes)]
            rows.append((result.client, verdict, image.arch, str(len(image.kernels)), *sizes, digest))
        if not result.images:
            rows.append((result.client, verdict, *"-----", digest))
    print_table(console, _COLUMNS, rows)
    for result in results:
        lines = []
        if result.verdict in ("failed", "errored"):
            lines.append(result.reason)
            # The reason has the first finding already, but where it is about something else.
            told = [finding for finding in result.findings if finding.message not in result.reason]
            lines += [f"{finding.code}: {finding.message}" for finding in told]
        if result.earlier:
            lines.append(f"with modules as they were built earlier, from other inputs: {', '.join(result.earlier)}")
        if result.missing:
            lines.append(f"without what is not published: {', '.join(result.missing)}")
        if result.dropped:
            lines.append(f"warning: the earlier bundle had {', '.join(result.dropped)}, this one has not")
        lines += [f"kept {kernel} as the earlier bundle had it: {why}" for kernel, why in result.kept.items()]
        for image in result.images:
            kernel, size = [*image.kernels.items()][-1]
            lines.append(
                f"{image.arch}: {image.bytes} bytes compressed, of which {size} are kernel {kernel}'s own; "
                f"its toolkit has {image.toolkit_bytes}"
            )
        for line in lines:
            console.print(Text(f"{result.client}: {line}"), soft_wrap=True)


@dataclass(frozen=True)
class _Job:
    """What a run works with: the recipe of every cell of the plan, and the clients that --only selects.

    `bounds` say for each client what its published bundle may lose.
    """

    chosen: SelectedProfile
    packing: Packing
    recipes: list[Recipe]
    selected: frozenset[ClientVersion]
    bounds: dict[ClientVersion, Bounds]


@contextmanager
def _job(call: Invocation) -> Iterator[_Job]:
    with opened_run(call) as (chosen, target, engine, pins):
        selected = make_plan(chosen.name, chosen.effective, pins, call.only).cells
        plan = make_plan(chosen.name, chosen.effective, pins)
        recipes = recipes_for(call, chosen, pins, plan)
        credentials = load_credentials(call.authfile)
        boot = call.boot or BootOptions()
        machines = Machines(boot.accel)
        packing = Packing(
            engine=engine,
            registry=RegistryWriter(credentials, pushes_to=target),
            credentials=credentials,
            machines=machines,
            root=call.root,
            profile_name=chosen.name,
            profile=chosen.effective,
            target=target,
            boot=boot,
            jobs=call.jobs or default_jobs(),
            say=call.say,
        )
        try:
            clients = frozenset(cell.client for cell in selected)
            bounds = {client: bounds_of(client, chosen.effective, pins, plan) for client in clients}
            yield _Job(chosen, packing, recipes, clients, bounds)
        finally:
            machines.stop()
            tidy(call, engine)


def _mega(size: int) -> str:
    return f"{size / 1e6:.2f}"
