"""Every command of the command line: the function that runs it, its help text, its examples and its exit codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from kmatrix.commands.invocation import Invocation
from kmatrix.values.errors import Exit

MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "success; of cells and bundles: all passed or were skipped",
    Exit.FAILED: "at least one cell or bundle failed: the product is bad",
    Exit.USAGE: (
        "usage or configuration: a wrong option, setting or file, a file or standard output that cannot be written "
        "(a full disk), or another run under way"
    ),
    Exit.ERRORED: "an error: a cell without a verdict, a malformed answer, a failed program, a bug in kmatrix",
    Exit.UNREACHABLE: "a needed service is unreachable, or refuses the credential",
    Exit.NOTHING_NEW: "nothing was published, because nothing is new; nothing went wrong",
    Exit.INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or SIGHUP, or the reader of the output is gone",
}


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        name: as it is typed.
        function: runs it: a module of kmatrix.commands, a dot, and the name in it.
        summary: one sentence in the imperative; the session of that name in noxfile.py has the same.
        details: sentences for its own help text.
        examples: arguments after its name, and their effect.
        exits: the exit codes it may end with; a text replaces the general meaning, which holds where it is empty.
    """

    name: str
    function: str
    summary: str
    details: str
    examples: tuple[tuple[str, str], ...]
    exits: Mapping[Exit, str]

    def load(self) -> Callable[[Invocation], Exit]:
        """Import and return its function: a command does not wait for the imports of all others."""
        module, _, name = self.function.partition(".")
        function: Callable[[Invocation], Exit] = getattr(import_module(f"kmatrix.commands.{module}"), name)
        return function

    def meaning(self, code: Exit) -> str:
        """Return the meaning of one of its exit codes."""
        return self.exits[code] or MEANINGS[code]


def _exits(*codes: Exit, **others: str) -> dict[Exit, str]:
    """Return the codes that any command may end with, and those given; a keyword gives a code a meaning of its own."""
    named = {Exit[name]: text for name, text in others.items()}
    wanted = {Exit.OK, Exit.USAGE, Exit.ERRORED, Exit.INTERRUPTED, *codes, *named}
    return {code: named.get(code, "") for code in sorted(wanted)}


_DONE = "success"
_NO_CELLS = "a service's malformed answer, a failed program, or a bug in kmatrix"
_RUNS = (
    Command(
        name="build",
        function="build.build",
        summary="Plan, render, build, check, boot and push the cells that are not published yet.",
        details=(
            "The main job. Published cells are skipped. An image is pushed only after it has passed every gate. "
            "Results are written to build/results.json after every cell; an interrupted run is resumed by the same "
            "command."
        ),
        examples=(
            ("", "the default profile"),
            ("--profile okd --only '8.3.*-5.14.*'", "some cells of another profile"),
            ("--force --only CELL", "rebuild a published cell"),
            ("--shard 2/3", "the second of three equal parts, each built on a machine of its own"),
        ),
        exits=_exits(Exit.FAILED, Exit.UNREACHABLE),
    ),
    Command(
        name="verify",
        function="verify.verify",
        summary="Check and boot the images of the cells again, without building or pushing.",
        details=(
            "Takes the published image of a cell, or else the local one that `build -- --no-push` left. `--remote` "
            "runs no gate and needs no container engine: it verifies the signature, the test result, the provenance "
            "and the SBOM of an image in a registry."
        ),
        examples=(
            ("--only '8.3.*'", "the cells of one client minor version"),
            ("--remote quay.io/team/beegfs-client:8.3.1 --key images.pub", "any published image"),
        ),
        exits=_exits(
            Exit.UNREACHABLE,
            FAILED=(
                "at least one cell failed: the product is bad; with `--remote`: a signature or a test result is "
                "missing or does not verify"
            ),
        ),
    ),
    Command(
        name="push",
        function="build.push",
        summary="Push the cells that passed and were withheld by `build -- --no-push`.",
        details="Refuses an image other than the tested one, and one whose inputs have changed since it was built.",
        examples=(("--profile okd", "everything withheld of a profile"),),
        exits=_exits(Exit.UNREACHABLE),
    ),
    Command(
        name="bundle",
        function="bundle.bundle",
        summary="Compose one image per client version from its published cells; boot every kernel before tagging.",
        details=(
            "Also pushes one image per kernel for Kernel Module Management. `--only` selects the clients of the cells "
            "that match; no kernel is ever left out of a bundle. Bundles are recorded in build/bundles.json. "
            "They are not OLM bundles."
        ),
        examples=(("--only '8.3.1-*'", "the bundle of one client version"),),
        exits=_exits(Exit.FAILED, Exit.UNREACHABLE),
    ),
    Command(
        name="watch",
        function="watch.watch",
        summary="Discover releases, build the cells that are new, and update the bundles that they belong in, once.",
        details=(
            "The command for cron and CronJobs. Ends with three lines: releases, cells and bundles that are new. A "
            "release that cannot be resolved stops no other; if the update graph is unreachable, cells of known "
            "releases are built all the same. The worst outcome decides the exit code."
        ),
        examples=(
            ("--profile ocp", "what a schedule runs; in cron, `|| [ $? -eq 5 ]` after it makes no news a success"),
            ("--only '8.3.*'", "the cells and bundles of one client minor version"),
        ),
        exits=_exits(
            Exit.FAILED,
            Exit.UNREACHABLE,
            Exit.NOTHING_NEW,
            OK="a cell or a bundle was published, and nothing went wrong",
            ERRORED=(
                "an error: a cell without a verdict, a release whose answer is malformed or whose toolkit lacks its "
                "nodes' kernel, a failed program, a bug in kmatrix"
            ),
        ),
    ),
)
_OTHERS = (
    Command(
        name="lab",
        function="lab.lab",
        summary="Start, inspect, stop or remove the lab, an OpenShift-shaped release service on this machine.",
        details=(
            "`up` starts it, and first creates what is missing; `status` lists its parts; `down` stops it and keeps "
            "its content; `reset` also removes its registry's content, its files, and every image in the container "
            "engine that is named kmatrix-lab/... or after its registry, those of other checkouts included. "
            "`release` publishes a further release, with another kernel of the package archive, and prints its "
            "version; `retract` removes such a release from the update graph. Always acts on profile lab; "
            "`up --arch aarch64` also adds what profile lab-aarch64 needs."
        ),
        examples=(
            ("up", "create and start it; the first time takes about four minutes"),
            ("up --arch aarch64", "the same with cells of aarch64 too, which are emulated"),
            ("status", "list its parts"),
            ("release", "publish a release with a kernel that no toolkit of the lab has"),
            ("release --broken", "publish one whose toolkit lacks the kernel of its nodes"),
        ),
        exits=_exits(
            OK=_DONE,
            ERRORED=_NO_CELLS,
            UNREACHABLE=(
                "the container engine is unreachable; `status`: the lab is not up; `up --arch`: this machine cannot "
                "run programs of that architecture"
            ),
        ),
    ),
    Command(
        name="discover",
        function="plan.discover",
        summary="Resolve releases, kernels and packages, and pin them in the lock.",
        details=(
            "A release that cannot be read is unresolved in the lock, with the reason, and stops no other; the next "
            "run tries again. A release that is gone from the graph is kept, marked as gone: an answer that is "
            "shorter than the last removes nothing. `--forget` removes it. The lock is written unless the update "
            "graph, the package root or the base's registry fails."
        ),
        examples=(
            ("--profile ocp", "a profile other than the default one"),
            ("--check", "print the news, write nothing"),
            ("--profile ocp --forget 4.16.3", "remove a release that is gone from the graph"),
        ),
        exits=_exits(
            OK="success: every release is resolved; with `--check`: no news",
            FAILED="with `--check`: there is news",
            ERRORED=f"a release is malformed or has the toolkit of another kernel; {_NO_CELLS}",
            UNREACHABLE="a service is unreachable, or refuses the credential; so of single releases",
        ),
    ),
    Command(
        name="plan",
        function="plan.plan",
        summary="Show every cell, in or out, and why.",
        details=(
            "Works offline, from matrix.yaml and the lock, except with `--unpublished`. `--format` prints the cells "
            "that are in as the jobs of a CI system, those of a kernel in one job."
        ),
        examples=(
            ("", "a table"),
            ("--json", "the same, machine-readable"),
            ("--profile ocp --unpublished --format github", "the matrix for the jobs of a workflow"),
        ),
        exits=_exits(
            OK=_DONE,
            ERRORED="a bug in kmatrix",
            UNREACHABLE="with `--unpublished`: the registry is unreachable, or refuses the credential",
        ),
    ),
    Command(
        name="render",
        function="plan.render",
        summary="Write the Dockerfile of every cell to dockerfiles/PROFILE/CELL.",
        details="Works offline. Files there that it did not write are kept, and named.",
        examples=(("", "write them"), ("--check", "compare only")),
        exits=_exits(
            OK=_DONE,
            USAGE="usage or configuration; with `--check`: a Dockerfile is not up to date",
            ERRORED="a bug in kmatrix",
        ),
    ),
    Command(
        name="manifests",
        function="manifests.manifests",
        summary="Write the folders to apply to a cluster, from the lock and the bundles.",
        details=(
            "Writes one folder per deployment method and client version to build/deploy/PROFILE, with images by "
            "digest. Clients without a bundle are skipped; the others are still written. With `image_signing`, "
            "components/image-policy has nodes refuse images without a signature; while the registry has none of a "
            "published image, it is not written."
        ),
        examples=(
            ("--profile ocp", "every method and client version"),
            ("--method kmm --client 8.3.1", "one folder; folders of other methods and versions are removed"),
        ),
        exits=_exits(
            Exit.UNREACHABLE,
            OK=_DONE,
            FAILED="a folder that is incomplete, or a policy under which nodes would refuse images, was not written",
            ERRORED=_NO_CELLS,
        ),
    ),
    Command(
        name="boot",
        function="boot.boot",
        summary="Boot a cell, or any image of a registry, in a virtual machine, with its console shown live.",
        details="Runs the profile's gates that boot, and records no pass. Of a bundle it boots every kernel.",
        examples=(
            ("8.3.1-5.14.0-427.50.1.el9_4.x86_64", "a cell"),
            ("quay.io/team/beegfs-client:8.3.1 --accel tcg", "every kernel of a bundle, without KVM"),
            ("CELL --shell", "a prompt in the guest, with commands to load and to mount"),
        ),
        exits=_exits(
            Exit.UNREACHABLE,
            OK="the gates passed, of a bundle for every kernel; `--shell`: the guest was powered off",
            FAILED="a gate failed: the product is bad",
            ERRORED="an error: a gate without a verdict, a failed program, a bug in kmatrix",
        ),
    ),
    Command(
        name="prune",
        function="prune.prune",
        summary="List the images of kernels without a release for long enough to remove; with --apply, remove them.",
        details=(
            "`retention_days` of the profile says how long they are kept. An image stays that a bundle, the plan or "
            "another profile with the same target needs, and so does everything that is not this project's. If "
            "anything cannot be read, nothing is removed."
        ),
        examples=(
            ("--profile ocp", "list them; nothing is removed"),
            ("--profile ocp --apply", "remove them, then the records attached to them"),
        ),
        exits=_exits(
            Exit.UNREACHABLE,
            OK=_DONE,
            ERRORED="a registry that deletes nothing, its malformed answer, or a bug in kmatrix",
        ),
    ),
    Command(
        name="keys",
        function="keys.keys",
        summary="Create the keys that sign images and kernel modules, and print where each goes.",
        details=(
            "`new` writes a key pair for images, and a key with its certificate for modules, and prints the files. No "
            "file is overwritten. KMATRIX_IMAGE_KEY_PASSWORD and KMATRIX_MODULE_KEY_PASSWORD encrypt the private "
            "keys. A folder from which git would commit them is refused."
        ),
        examples=(
            ("new ~/beegfs-keys", "both keys"),
            ("new --modules --name storage-2027 --years 5 ~/next-key", "the module key alone"),
        ),
        exits=_exits(OK=_DONE, ERRORED="a bug in kmatrix"),
    ),
    Command(
        name="report",
        function="report.report",
        summary="Show the latest result of every known cell of a profile.",
        details=(
            "Reads build/results.json, the logs, and the lock for the planned cells that are not built yet and for new "
            "releases. Prints a table and writes web pages to build/report, which open from a file or any web server. "
            "Ends with the exit code of the verdicts it shows."
        ),
        examples=(
            ("", "a table, and build/report"),
            ("--serve", "the same, and serve the pages on this machine alone"),
            ("--json", "the results, machine-readable; writes nothing"),
        ),
        exits=_exits(
            Exit.FAILED,
            OK="success; of cells: all passed or were skipped; with `--serve`: it was ended by Ctrl-C",
        ),
    ),
    Command(
        name="can-upgrade",
        function="can_upgrade.can_upgrade",
        summary="Report whether each kernel on the route of a cluster's update is published and in the bundle.",
        details=(
            "Works offline, from the lock, build/results.json and build/bundles.json. Every release on the shortest "
            "route of the update graph counts, both ends included, and both OS streams of a release that has two."
        ),
        examples=(
            ("--from 4.18.9 --to 4.18.14 --client 8.3.1", "one line per kernel"),
            ("--from 4.18.9 --to 4.18.14 --client 8.3.1 --flavour standard --json", "machine-readable"),
        ),
        exits=_exits(
            OK="safe: each of these kernels has a module in the bundle, with every gate passed",
            FAILED="not safe; or the update graph has no route",
            ERRORED="a bug in kmatrix",
        ),
    ),
    Command(
        name="merge",
        function="merge.merge",
        summary="Put the results of shards into build/, as if they had been built here.",
        details=(
            "Takes results.json, bundles.json and logs of checkouts that built with `--shard` or `--only`. Of a cell "
            "that several have, the latest verdict wins. `--published` adds, as skipped, cells that another machine "
            "or a lost job pushed. `report` ends with the exit code of the verdicts, not `merge`."
        ),
        examples=(
            ("../shard-1 ../shard-2", "two checkouts"),
            ("--profile ocp --published shards", "every folder in `shards`, and what the registry has besides"),
        ),
        exits=_exits(
            OK=_DONE,
            ERRORED="a bug in kmatrix",
            UNREACHABLE="with `--published`: the registry is unreachable, or refuses the credential; shards are merged",
        ),
    ),
)
COMMANDS: Mapping[str, Command] = {each.name: each for each in (*_RUNS, *_OTHERS)}
