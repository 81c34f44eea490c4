"""Every option of the command line, with the commands that accept it: the source of parser, help texts and docs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from kmatrix.decide.manifests import METHODS
from kmatrix.effects.signing.key_files import DEFAULT_YEARS
from kmatrix.values.boot import ACCELS, BootOptions
from kmatrix.values.loopback import DEFAULT_PORT, HOST
from kmatrix.values.names import ARCHES, BOOTED_ARCHES, FLAVOURS
from kmatrix.values.overrides import option, variable
from kmatrix.values.shard import Shard

ARGUMENT = "argument"
SELECTION = "which profile, cells and clients"
BEHAVIOUR = "how to run"
OUTPUT = "how much to print"
OVERRIDES = "override matrix.yaml for this run"

LAB_ACTIONS = ("up", "status", "down", "reset", "release", "retract")
_REST = ("can-upgrade", "merge", "prune", "keys")
KEYS_ACTIONS = ("new",)
_FROM_LOCK = ("build", "verify", "push", "bundle")
_CELLS = (*_FROM_LOCK, "watch")
_BOOTED = ("build", "verify", "bundle", "boot", "watch")
_LONG = (*_CELLS, "lab", "discover", "merge", "prune")
FORMATS = ("github", "gitlab", "tekton")
_LABS_GRAPH = "address of the lab's update graph; other profiles use it in `discover` alone"


@dataclass(frozen=True)
class Option:
    """An option of the command line, or an argument that is given by its position.

    Attributes:
        flag: the option as it is typed, `--only`; the name of an argument.
        commands: the commands that accept it.
        text: its meaning, without its default and its environment variable.
        group: the heading under which help texts list it.
        metavar: a name for its value; empty for a switch, and where the choices are shown instead.
        many: whether it may be repeated.
        choices: the values it accepts; empty where it accepts any.
        parse: turns the text into a value; raises argparse.ArgumentTypeError.
        default: its value where it is not given.
        otherwise: that value, or its source, for help texts.
        variable: the environment variable that is read where the option is not given.
        texts: by command, a meaning that replaces `text` there.
        choices_of: by command, the values that replace `choices` there; `otherwise` is then left out.
        excludes: options that have no effect beside this one; giving both is a usage error.
    """

    flag: str
    commands: tuple[str, ...]
    text: str
    group: str = BEHAVIOUR
    metavar: str = ""
    many: bool = False
    choices: tuple[str, ...] = ()
    parse: Callable[[str], object] = str
    default: object = None
    otherwise: str = ""
    variable: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    choices_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The attribute that a parser gives its value."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def value(self) -> str:
        """The name for its value, or its choices."""
        return "|".join(self.choices) or self.metavar

    def text_for(self, command: str) -> str:
        """Return its meaning for one of its commands."""
        return self.texts.get(command, self.text)

    def help_for(self, command: str) -> str:
        """Return its meaning for a command, followed by the environment variable and the default in brackets."""
        more = [
            *(["may be repeated"] if self.many else []),
            *([f"environment: {self.variable}"] if self.variable else []),
            *([f"default: {self.otherwise}"] if self.otherwise else []),
        ]
        return self.text_for(command) + (f" ({'; '.join(more)})" if more else "")


def positive(text: str) -> int:
    """Read a positive integer.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def globs(text: str) -> str:
    """Read one pattern or several, separated by spaces.

    Raises:
        argparse.ArgumentTypeError: there is none: a variable that is empty must not select every cell.
    """
    if not text.split():
        raise argparse.ArgumentTypeError("is empty, and would select no cell")
    return text


def port(text: str) -> int:
    """Read the number of a port.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return value


def shard(text: str) -> Shard:
    """Read a part of the plan: 2/5.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def runner(text: str) -> str:
    """Read a label of the machines of an architecture: aarch64=LABEL.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    arch, _, label = text.partition("=")
    if arch not in BOOTED_ARCHES or not label or len(label.split()) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not ARCH=LABEL, with ARCH one of {', '.join(BOOTED_ARCHES)}")
    return text


def _override(key: str, metavar: str, text: str, *commands: str, **texts: str) -> Option:
    """Return the option of a setting, for `commands` and for those that `texts` has a meaning of their own for."""
    return Option(
        flag=option(key),
        commands=(*texts, *commands),
        texts=texts,
        text=text,
        group=OVERRIDES,
        metavar=metavar,
        variable=variable(key),
    )


OPTIONS = (
    Option(
        "action",
        ("lab", "keys"),
        "one of these",
        ARGUMENT,
        "ACTION",
        choices=LAB_ACTIONS,
        choices_of={"keys": KEYS_ACTIONS},
    ),
    Option("folder", ("keys",), "the folder for the new files; it is created if need be", ARGUMENT, "DIR"),
    Option("subject", ("boot",), "a cell id, or an image reference", ARGUMENT, "CELL|IMAGE"),
    Option(
        "folders",
        ("merge",),
        "a folder with a shard's results, or a folder of such folders",
        ARGUMENT,
        "DIR",
        many=True,
    ),
    Option(
        "--profile",
        (*_CELLS, "discover", "plan", "render", "manifests", "boot", "report", "can-upgrade", "merge", "prune"),
        "profile of matrix.yaml",
        SELECTION,
        "P",
        otherwise="its default_profile",
        variable="KMATRIX_PROFILE",
    ),
    Option(
        "--only",
        (*_CELLS, "plan", "render"),
        "only cells whose id matches; several globs are separated by spaces",
        SELECTION,
        "GLOB",
        many=True,
        parse=globs,
    ),
    Option(
        "--shard",
        ("build", "verify", "plan"),
        "only part I of N equal parts of the selected cells",
        SELECTION,
        "I/N",
        parse=shard,
    ),
    Option(
        "--unpublished",
        ("plan",),
        "query the registry, and leave out cells that are published and have passed every gate",
        SELECTION,
    ),
    Option(
        "--published",
        ("merge",),
        "query the registry too, and add the cells that it has with every gate passed and no input has as published",
        SELECTION,
    ),
    Option(
        "--client",
        ("manifests", "can-upgrade"),
        "only this client version",
        SELECTION,
        "VERSION",
        many=True,
        texts={"can-upgrade": "the client version that the cluster runs; exactly one"},
    ),
    Option("--from", ("can-upgrade",), "the release that the cluster runs", SELECTION, "RELEASE"),
    Option("--to", ("can-upgrade",), "the release to update to", SELECTION, "RELEASE"),
    Option(
        "--arch",
        ("can-upgrade", "lab"),
        "only nodes of this architecture",
        SELECTION,
        many=True,
        choices=ARCHES,
        otherwise="arches of the profile",
        texts={"lab": "`up`: also build the lab's releases of this architecture; aarch64 is emulated"},
        choices_of={"lab": BOOTED_ARCHES},
    ),
    Option(
        "--flavour",
        ("can-upgrade",),
        "only nodes with this flavour of kernel",
        SELECTION,
        many=True,
        choices=FLAVOURS,
        otherwise="flavours of the profile",
    ),
    Option("--method", ("manifests",), "only this deployment method", SELECTION, many=True, choices=METHODS),
    Option(
        "--root",
        (*_CELLS, "lab", "discover", "plan", "render", "manifests", "boot", "report", *_REST),
        "the project's folder",
        SELECTION,
        "DIR",
        otherwise="the current folder",
        variable="KMATRIX_ROOT",
    ),
    Option("--broken", ("lab",), "`release`: give it a toolkit that lacks the kernel of its nodes"),
    Option("--channel", ("lab",), "`release`: its channel in the graph", metavar="NAME", otherwise="stable-4.97"),
    Option("--release", ("lab",), "`retract`: the release", metavar="VERSION"),
    Option("--images", ("keys",), "only the key that signs images; without --images and --modules both are created"),
    Option("--modules", ("keys",), "only the key that signs kernel modules, and its certificate"),
    Option(
        "--name",
        ("keys",),
        "the certificate's common name, which firmware and nodes show",
        metavar="TEXT",
        otherwise="one with the day",
    ),
    Option(
        "--years",
        ("keys",),
        "how long the certificate is valid; no kernel compares that with a clock",
        metavar="N",
        parse=positive,
        otherwise=str(DEFAULT_YEARS),
    ),
    Option("--force", ("build",), "also rebuild and push published cells"),
    Option("--no-push", ("build",), "build and check, but push nothing"),
    Option(
        "--no-boot",
        ("build", "verify"),
        "leave out every gate that boots",
        texts={"build": "leave out every gate that boots, and publish no image"},
        excludes=("--accel", "--boot-deadline"),
    ),
    Option(
        "--accel",
        _BOOTED,
        "how virtual machines run; auto tries KVM, then emulation",
        choices=ACCELS,
        otherwise=BootOptions().accel,
    ),
    Option(
        "--boot-deadline",
        _BOOTED,
        "seconds a guest may take once its init runs",
        metavar="S",
        parse=positive,
        otherwise=f"{BootOptions().deadline_seconds:.0f}",
    ),
    Option(
        "--remote",
        ("verify",),
        "run no gate: verify the signatures and attestations that the registry has for this image, a cell's or a "
        "bundle's",
        metavar="IMAGE",
        excludes=(
            *("--only", "--shard", "--no-boot", "--accel", "--boot-deadline", "--jobs"),
            *("--quiet", "--verbose"),
        ),
    ),
    Option(
        "--key",
        ("verify",),
        "with --remote: a public key to accept, in PEM",
        metavar="FILE",
        many=True,
        otherwise="image_signing.public_keys of the profile",
    ),
    Option("--save", ("verify",), "with --remote: write the attestations that verify to this folder", metavar="DIR"),
    Option("--shell", ("boot",), "an interactive prompt in the guest", excludes=("--boot-deadline",)),
    Option(
        "--jobs",
        _CELLS,
        "cells at a time",
        metavar="N",
        parse=positive,
        otherwise="one per processor core",
        texts={"bundle": "boots at a time"},
    ),
    Option(
        "--authfile",
        (*_CELLS, "discover", "plan", "boot", "merge", "prune", "manifests"),
        "registry credentials, as `docker login` writes them",
        metavar="FILE",
        otherwise="REGISTRY_AUTH_FILE, else DOCKER_AUTH_CONFIG and ~/.docker/config.json",
        variable="KMATRIX_AUTHFILE",
    ),
    Option(
        "--forget",
        ("discover",),
        "remove from the lock a release that is gone from the graph, or a kernel that no release has",
        metavar="RELEASE|KERNEL",
        many=True,
    ),
    Option(
        "--check",
        ("discover", "render"),
        "write nothing; fail if a Dockerfile is not up to date",
        texts={"discover": "write nothing; fail if the lock is not up to date"},
    ),
    Option("--apply", ("prune",), "remove what is listed; without it nothing is removed"),
    Option(
        "--json",
        ("plan", "report", "can-upgrade", "prune", "verify"),
        "machine-readable, on standard output",
        texts={"verify": "with --remote: machine-readable, on standard output"},
        excludes=("--format",),
    ),
    Option(
        "--serve",
        ("report",),
        f"then serve build/report at http://{HOST}:{DEFAULT_PORT}/ until Ctrl-C",
        excludes=("--json",),
    ),
    Option(
        "--port",
        ("report",),
        "with --serve: the port",
        metavar="N",
        parse=port,
        otherwise=f"{DEFAULT_PORT}, or a free one if that is in use",
    ),
    Option(
        "--format",
        ("plan",),
        "the jobs of a CI system, on standard output: a matrix, a child pipeline, or a PipelineRun",
        choices=FORMATS,
    ),
    Option(
        "--runner",
        ("plan",),
        "with --format: a label of the runners of an architecture",
        metavar="ARCH=LABEL",
        many=True,
        parse=runner,
    ),
    Option(
        "--quiet",
        _LONG,
        "print errors, warnings, failures and the summary only",
        OUTPUT,
        excludes=("--verbose",),
    ),
    Option(
        "--verbose",
        (*_CELLS, "lab", "discover"),
        "also print what the compiler, the container engine and the guest print, as it comes",
        OUTPUT,
        excludes=("--quiet",),
    ),
    Option("--out", ("manifests",), "the folder to write", metavar="DIR", otherwise="build/deploy/PROFILE"),
    # A run reads the pins of every other profile from its lock; of the lab it may have to resolve them first.
    _override(
        *("graph", "URL", "address of the update graph"),
        *("lab", "discover", "watch"),
        **dict.fromkeys(_FROM_LOCK, _LABS_GRAPH),
    ),
    _override(
        "packages",
        "URL|DIR",
        "package root: an address, or a folder with the vendor's RPMs and their repodata",
        *(*_CELLS, "lab", "discover", "manifests"),
    ),
    _override(
        "key_fingerprint",
        "HEX|file:PATH",
        "fingerprint of the key that signs the packages, or the file that holds it",
        *(*_CELLS, "lab", "discover", "plan", "render", "merge"),
    ),
    _override(
        "base",
        "IMAGE",
        "image reference of the run-time base",
        *(*_CELLS, "lab", "discover", "plan", "render", "merge"),
    ),
    _override(
        "target",
        "REGISTRY",
        "registry (and path) that images are pushed to",
        *(*_CELLS, "plan", "boot", "report", "merge", "prune"),
    ),
    _override(
        "mirrors",
        "FROM=TO,...",
        "where images are mirrored",
        *(*_CELLS, "discover", "plan", "render", "boot", "merge"),
    ),
    _override(
        "lock",
        "FILE",
        "the lock file",
        *(*_CELLS, "discover", "plan", "render", "manifests", "boot", "report", "can-upgrade", "merge", "prune"),
    ),
)


def options_of(command: str) -> tuple[Option, ...]:
    """Return the options and arguments that a command accepts, with its own choices."""
    return tuple(
        replace(each, choices=each.choices_of[command], otherwise="") if command in each.choices_of else each
        for each in OPTIONS
        if command in each.commands
    )
