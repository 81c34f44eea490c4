"""The command line: reads options and runs one command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from kmatrix.commands import build, plan, report
from kmatrix.commands.boot import boot
from kmatrix.commands.bundle import bundle
from kmatrix.commands.guard import guarded
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.lab import lab
from kmatrix.commands.manifests import manifests
from kmatrix.decide.manifests import WAYS
from kmatrix.effects.vm.qemu import ACCELS
from kmatrix.stages.run_context import BootOptions
from kmatrix.stages.tables import wide_console
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.overrides import NAMES, Overrides, option, overrides_from_environment, variable

_HELP = {
    "graph": "address of the update graph",
    "packages": "package root: an address, or a folder of the vendor's RPMs with its repodata",
    "key_fingerprint": "fingerprint of the key that signs the packages, or file:PATH",
    "base": "image reference of the run-time base",
    "target": "registry (and path) that images go to",
    "mirrors": "where images are mirrored: FROM=TO[,FROM=TO...]",
    "lock": "path of the lock file",
}
_COMMANDS: dict[str, tuple[Callable[[Invocation], Exit], str]] = {
    "build": (build.build, "the main job: plan, render, build, check, push what is not published yet"),
    "lab": (lab, "the OpenShift-shaped release service on this machine"),
    "discover": (plan.discover, "resolve releases, kernels and packages into the lock"),
    "plan": (plan.plan, "show the cells, and why each is in or out"),
    "render": (plan.render, "write dockerfiles/<profile>/<cell>/Dockerfile"),
    "verify": (build.verify, "check the images of the cells again, without building or pushing"),
    "push": (build.push, "publish what passed and was kept back by --no-push"),
    "bundle": (bundle, "one image for each client of all its published kernels, booted with each before it is tagged"),
    "manifests": (manifests, "write the folders to apply to a cluster, from bundles and results"),
    "boot": (boot, "run the boot gate by hand on a cell or on any image of a registry"),
    "report": (report.report, "show the results of the last run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code (see `kmatrix.values.errors.Exit`)."""
    console = wide_console(stderr=True)

    def work() -> int:
        invocation, command = _invocation(arguments, console)
        return command(invocation)

    return guarded(console, work, "interrupted; what was finished is kept, the same command goes on from there")


def _invocation(arguments: Sequence[str] | None, console: Console) -> tuple[Invocation, Callable[[Invocation], Exit]]:
    options = _parser().parse_args(arguments)
    given = Overrides(**{name: getattr(options, name) for name in NAMES})
    authfile = options.authfile or os.environ.get("KMATRIX_AUTHFILE")
    root = Path(options.root or os.environ.get("KMATRIX_ROOT") or Path.cwd()).resolve()
    if not (root / "matrix.yaml").is_file():
        raise InputError(f"{root} has no matrix.yaml", "Run this in the project's folder, or name it with --root.")
    invocation = Invocation(
        root=root,
        console=console,
        command=options.command,
        profile=options.profile or os.environ.get("KMATRIX_PROFILE"),
        overrides=given.or_else(overrides_from_environment(os.environ)),
        authfile=Path(authfile) if authfile else None,
        only=tuple(options.only or ()),
        jobs=options.jobs,
        action=getattr(options, "action", ""),
        json=getattr(options, "json", False),
        force=getattr(options, "force", False),
        push=not getattr(options, "no_push", False),
        boot=None if getattr(options, "no_boot", False) else _boot_options(options),
        subject=getattr(options, "subject", ""),
        shell=getattr(options, "shell", False),
        check=getattr(options, "check", False),
        forget=tuple(getattr(options, "forget", None) or ()),
        clients=tuple(getattr(options, "client", None) or ()),
        ways=tuple(getattr(options, "way", None) or ()),
        out=Path(options.out).absolute() if getattr(options, "out", None) else None,
    )
    return invocation, _COMMANDS[options.command][0]


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--profile", metavar="P", help="profile of matrix.yaml (default: its default_profile)")
    common.add_argument("--only", metavar="GLOB", action="append", help="only cells whose id matches; may be repeated")
    common.add_argument("--jobs", metavar="N", type=_positive, help="cells at a time (default: one a core)")
    common.add_argument("--authfile", metavar="FILE", help="registry credentials, as docker login writes them")
    common.add_argument("--root", metavar="DIR", help="the project's folder (default: this one)")
    for name in NAMES:
        text = f"{_HELP[name]} (or {variable(name)}; default: matrix.yaml's)"
        common.add_argument(option(name), dest=name, metavar=name.upper(), help=text)
    parser = argparse.ArgumentParser(
        prog="kmatrix", description="Prebuilt BeeGFS client images for OpenShift.", allow_abbrev=False
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {
        name: subparsers.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)
        for name, (_, text) in _COMMANDS.items()
    }
    made["lab"].add_argument("action", choices=["up", "status", "down", "reset"])
    made["build"].add_argument("--force", action="store_true", help="build also what is published already")
    made["build"].add_argument("--no-push", action="store_true", help="build and check, but publish nothing")
    for name in ("build", "verify", "push"):
        made[name].add_argument("--no-boot", action="store_true", help="leave the boot gate out; pushes nothing")
    for name in ("build", "verify", "boot", "bundle"):
        made[name].add_argument("--accel", choices=ACCELS, default="auto", help="how machines run (default: auto)")
        seconds = "seconds a guest may take from its init on (default: %(default)s)"
        made[name].add_argument("--boot-deadline", metavar="S", type=_positive, default=120, help=seconds)
    made["boot"].add_argument("subject", metavar="CELL|IMAGE", help="a cell id, or an image reference")
    made["boot"].add_argument("--shell", action="store_true", help="an interactive prompt in the guest")
    for name in ("plan", "report"):
        made[name].add_argument("--json", action="store_true", help="for programs, on standard output")
    made["manifests"].add_argument("--out", metavar="DIR", help="the folder to write (default: build/deploy/PROFILE)")
    one_client = "only this client version; may be repeated"
    made["manifests"].add_argument("--client", metavar="VERSION", action="append", help=one_client)
    made["manifests"].add_argument("--way", choices=WAYS, action="append", help="only this way; may be repeated")
    forget = "a release gone from the graph, or a kernel of no release, that the lock and bundles need not keep"
    made["discover"].add_argument("--forget", metavar="RELEASE|KERNEL", action="append", help=forget)
    made["render"].add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    return parser


def _boot_options(options: argparse.Namespace) -> BootOptions:
    return BootOptions(getattr(options, "accel", "auto"), float(getattr(options, "boot_deadline", 120)))


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return value
