"""Sessions, each a few lines over `kmatrix`. Arguments after `--` are passed to the command of the session's name.

nox ends with the exit code of the command; of several sessions, the first that fails ends nox.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path

import nox
from nox.command import CommandFailed

# The first whose CommandFailed has the exit code.
nox.needs_version = ">=2026.7.11"
# scripts/bootstrap created the environment; a second one would only cost time.
nox.options.default_venv_backend = "none"
nox.options.sessions = ["build"]
nox.options.error_on_missing_interpreters = True
# nox looks for uv whichever backend is chosen (nox/virtualenv.py, get_virtualenv) and reports that it is absent.
logging.getLogger("nox").addFilter(lambda record: record.getMessage() != "uv binary not found.")

# What codes of kmatrix mean that are no failure, which nox would call them.
MEANINGS = {"5": "there is nothing new", "130": "it was interrupted"}


def name_no_failure(record: logging.LogRecord) -> bool:
    """Have nox say what happened where a command did not fail; returns that the record stays."""
    command, failed, code = record.getMessage().rpartition(" failed with exit code ")
    if failed and code in MEANINGS and command.startswith("Command python -m kmatrix "):
        record.msg, record.args = f"{command} ended with exit code {code}: {MEANINGS[code]}", ()
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


logging.getLogger("nox").addFilter(name_no_failure)

TESTS = Path(__file__).resolve().parent / "tests"
WITHOUT_LAB = (TESTS / "unit", TESTS / "browser")
# Options of pytest whose next argument is a value that may look like the path of a test.
WITH_VALUE = {"-k", "-m", "-p", "-c", "-o", "-W", "-r", "--ignore", "--ignore-glob", "--deselect", "--rootdir"}
WITH_VALUE |= {"--confcutdir", "--basetemp", "--junitxml", "--junit-xml", "--log-file", "--config-file"}


def kmatrix(session: nox.Session, *arguments: str) -> None:
    """Run a command of the tool; it gets the time to clean up after Ctrl-C."""
    hand_on(session, "python", "-m", "kmatrix", *arguments, *session.posargs, patience_seconds=60)


def hand_on(session: nox.Session, *command: str, patience_seconds: int) -> None:
    """Run a program, and end nox with its exit code if it fails: nox itself ends with 1 for every code.

    Args:
        session: runs it.
        command: the program and its arguments.
        patience_seconds: how long it may take to end after Ctrl-C.
    """
    try:
        # nox would put standard error into standard output, which other programs read.
        session.run(*command, external=True, stderr=None, interrupt_timeout=patience_seconds, terminate_timeout=10)
    except CommandFailed as error:
        code = error.return_code if error.return_code is not None else 1
        # A program that was ended by a signal has the code that a shell gives it.
        raise SystemExit(code if code >= 0 else 128 - code) from error


@nox.session
def build(session: nox.Session) -> None:
    """Plan, render, build, check, boot and push the cells that are not published yet."""
    kmatrix(session, "build")


@nox.session(default=False)
def watch(session: nox.Session) -> None:
    """Discover releases, build the cells that are new, and update the bundles that they belong in, once."""
    kmatrix(session, "watch")


@nox.session(default=False)
def lab(session: nox.Session) -> None:
    """Start, inspect, stop or remove the lab, an OpenShift-shaped release service on this machine."""
    kmatrix(session, "lab")


@nox.session(default=False)
def discover(session: nox.Session) -> None:
    """Resolve releases, kernels and packages, and pin them in the lock."""
    kmatrix(session, "discover")


@nox.session(default=False)
def plan(session: nox.Session) -> None:
    """Show every cell, in or out, and why."""
    kmatrix(session, "plan")


@nox.session(default=False)
def render(session: nox.Session) -> None:
    """Write the Dockerfile of every cell to dockerfiles/PROFILE/CELL."""
    kmatrix(session, "render")


@nox.session(default=False)
def verify(session: nox.Session) -> None:
    """Check and boot the images of the cells again, without building or pushing."""
    kmatrix(session, "verify")


@nox.session(default=False)
def boot(session: nox.Session) -> None:
    """Boot a cell, or any image of a registry, in a virtual machine, with its console shown live."""
    kmatrix(session, "boot")


@nox.session(default=False)
def bundle(session: nox.Session) -> None:
    """Compose one image per client version from its published cells; boot every kernel before tagging."""
    kmatrix(session, "bundle")


@nox.session(default=False)
def manifests(session: nox.Session) -> None:
    """Write the folders to apply to a cluster, from the lock and the bundles."""
    kmatrix(session, "manifests")


@nox.session(default=False)
def push(session: nox.Session) -> None:
    """Push the cells that passed and were withheld by `build -- --no-push`."""
    kmatrix(session, "push")


@nox.session(default=False)
def prune(session: nox.Session) -> None:
    """List the images of kernels without a release for long enough to remove; with --apply, remove them."""
    kmatrix(session, "prune")


@nox.session(default=False)
def keys(session: nox.Session) -> None:
    """Create the keys that sign images and kernel modules, and print where each goes."""
    kmatrix(session, "keys")


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Show the latest result of every known cell of a profile."""
    kmatrix(session, "report")


@nox.session(name="can-upgrade", default=False)
def can_upgrade(session: nox.Session) -> None:
    """Report whether each kernel on the route of a cluster's update is published and in the bundle."""
    kmatrix(session, "can-upgrade")


@nox.session(default=False)
def merge(session: nox.Session) -> None:
    """Put the results of shards into build/, as if they had been built here."""
    kmatrix(session, "merge")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the tool against its aims, and write build/bench.json."""
    hand_on(session, "python", "-m", "bench", *session.posargs, patience_seconds=150)


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """Run the tests: all, `-- PATH` one file, `-- --fast` without a container engine, or `-- --arch aarch64`."""
    arch, arguments = taken_arch(session.posargs)
    if arch:
        hand_on(session, "python", "-m", "kmatrix", "lab", "up", "--arch", arch, patience_seconds=60)
        session.run("pytest", f"tests/integration/{arch}", *arguments, external=True)
        return
    fast = "--fast" in arguments
    arguments = [argument for argument in arguments if argument != "--fast"]
    named = list(named_tests(arguments))
    if fast or (named and all(any(is_below(folder, path) for folder in WITHOUT_LAB) for path in named)):
        # A few files are done before workers have started.
        workers = () if named and all(path.suffix == ".py" for path in named) else ("-n", "auto")
        session.run("pytest", "-q", *workers, *(() if named else ("tests/unit",)), *arguments, external=True)
        return
    hand_on(session, "python", "-m", "kmatrix", "lab", "up", patience_seconds=60)
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *arguments, external=True)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Run ruff, mypy, shellcheck, hadolint and zizmor over the files of the repository."""
    session.run("ruff", "check", ".", external=True)
    session.run("ruff", "format", "--check", ".", external=True)
    session.run("mypy", external=True)
    tracked = session.run("git", "ls-files", external=True, silent=True, log=False) or ""
    files = [Path(name) for name in tracked.splitlines() if Path(name).is_file()]
    # Parts that a script sources are checked with it.
    session.run(
        *("shellcheck", "--external-sources", "--check-sourced"),
        *(str(path) for path in files if is_shell(path)),
        external=True,
    )
    # The template is checked in its rendered form: tests/golden has one for every kind of cell.
    session.run("hadolint", *(str(path) for path in files if path.name == "Dockerfile"), external=True)
    session.run("zizmor", "--offline", "--quiet", ".github/workflows", external=True)


def taken_arch(given: Sequence[str]) -> tuple[str, list[str]]:
    """Return the value of --arch, empty without it, and the other arguments.

    It ends nox with 2 where there are no tests of that value.
    """
    arguments: list[str] = []
    for argument in given:
        arguments += argument.split("=", 1) if argument.startswith("--arch=") else [argument]
    if "--arch" not in arguments:
        return "", arguments
    at = arguments.index("--arch")
    arch = next(iter(arguments[at + 1 :]), "")
    if arch != "aarch64":
        sys.stderr.write(f"error: tests: --arch {arch}: there are tests of aarch64\n       Write --arch aarch64.\n")
        raise SystemExit(2)
    return arch, [*arguments[:at], *arguments[at + 2 :]]


def named_tests(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield the files and folders of tests that pytest's arguments name, by path or by node id (`FILE::test`)."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        path = Path(argument.partition("::")[0]).resolve()
        if before not in WITH_VALUE and not argument.startswith("-") and is_below(TESTS, path):
            yield path


def refuse_unknown_sessions(arguments: Sequence[str]) -> None:
    """End nox with 2, the code of usage errors, and suggest a name; nox itself ends with 3 and suggests none.

    Args:
        arguments: those of nox; names follow `-s`, `--session` or `--sessions`.
    """
    own = list(takewhile(lambda argument: argument != "--", arguments))
    known = nox.registry.get()
    for index, argument in enumerate(own):
        if argument in ("-s", "--session", "--sessions"):
            for name in takewhile(lambda word: not word.startswith("-"), own[index + 1 :]):
                # A name may continue with a Python version or a parameter, which nox judges.
                if {name, name.partition("-")[0].partition("(")[0]}.isdisjoint(known):
                    near = get_close_matches(name, known, n=1)
                    meant = f"Did you mean {near[0]}? " if near else ""
                    sys.stderr.write(
                        f"error: there is no session {name!r}\n       {meant}`nox -l` lists the sessions.\n"
                    )
                    raise SystemExit(2)


def is_below(folder: Path, path: Path) -> bool:
    """Return whether a path is a folder, or is in it."""
    return path == folder or folder in path.parents


def is_shell(path: Path) -> bool:
    """Return whether a file is a shell script, by its first line."""
    with path.open("rb") as file:
        first = file.readline(64)
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"/bash", b"env bash", b"busybox sh"))


# Tests read this file too, and their arguments are none of nox.
if Path(sys.argv[0]).stem == "nox" or Path(sys.argv[0]).parent.name == "nox":
    refuse_unknown_sessions(sys.argv[1:])
