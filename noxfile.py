"""Sessions, each a few lines over `kmatrix`. Everything after `--` goes to the command of the session's name.

nox ends with the exit code of the command; of several sessions, the first that fails ends nox.
"""

from __future__ import annotations

from pathlib import Path

import nox
from nox.command import CommandFailed

# The first whose CommandFailed tells the exit code.
nox.needs_version = ">=2026.7.11"
# scripts/bootstrap made the environment; a second one would only cost time.
nox.options.default_venv_backend = "none"
nox.options.sessions = ["build"]
nox.options.error_on_missing_interpreters = True


def kmatrix(session: nox.Session, *arguments: str) -> None:
    """Run a command of the tool; it gets the time to clean up after Ctrl-C."""
    hand_on(session, "python", "-m", "kmatrix", *arguments, *session.posargs, patience_seconds=60)


def hand_on(session: nox.Session, *command: str, patience_seconds: int) -> None:
    """Run a program, and end nox with its exit code if it fails: nox itself would make 1 of every code.

    Args:
        session: runs it.
        command: the program and its arguments.
        patience_seconds: how long it may take to end after Ctrl-C.
    """
    try:
        session.run(*command, external=True, interrupt_timeout=patience_seconds, terminate_timeout=10)
    except CommandFailed as error:
        code = error.return_code if error.return_code is not None else 1
        # A program that a signal ended has the code that a shell gives it.
        raise SystemExit(code if code >= 0 else 128 - code) from error


@nox.session
def build(session: nox.Session) -> None:
    """The main job: plan, render, build, check and push what is not published yet."""
    kmatrix(session, "build")


@nox.session(default=False)
def lab(session: nox.Session) -> None:
    """The offline release service: -- up | status | down | reset."""
    kmatrix(session, "lab")


@nox.session(default=False)
def discover(session: nox.Session) -> None:
    """Resolve releases, kernels and packages into the lock."""
    kmatrix(session, "discover")


@nox.session(default=False)
def plan(session: nox.Session) -> None:
    """Show the cells, and why each is in or out (-- --json for programs)."""
    kmatrix(session, "plan")


@nox.session(default=False)
def render(session: nox.Session) -> None:
    """Write dockerfiles/<profile>/<cell>/Dockerfile (-- --check to compare only)."""
    kmatrix(session, "render")


@nox.session(default=False)
def verify(session: nox.Session) -> None:
    """Check the cells' images again, without building or pushing."""
    kmatrix(session, "verify")


@nox.session(default=False)
def boot(session: nox.Session) -> None:
    """Run the boot gate by hand: -- CELL | IMAGE [--shell]."""
    kmatrix(session, "boot")


@nox.session(default=False)
def bundle(session: nox.Session) -> None:
    """One image for each client version, of all its published kernels, booted with each before it is tagged."""
    kmatrix(session, "bundle")


@nox.session(default=False)
def manifests(session: nox.Session) -> None:
    """Write build/deploy/<profile>: what to apply to a cluster (-- --client V --method M --out DIR)."""
    kmatrix(session, "manifests")


@nox.session(default=False)
def push(session: nox.Session) -> None:
    """Publish what passed and was kept back by `build -- --no-push`."""
    kmatrix(session, "push")


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Show the results of the last run."""
    kmatrix(session, "report")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the tool against its aims; writes build/bench.json."""
    hand_on(session, "python", "-m", "bench", *session.posargs, patience_seconds=150)


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """All tests in parallel; -- --fast runs those that need no engine, in seconds."""
    arguments = list(session.posargs)
    if "--fast" in arguments:
        arguments.remove("--fast")
        session.run("pytest", "-q", "-n", "auto", "tests/unit", *arguments, external=True)
        return
    hand_on(session, "python", "-m", "kmatrix", "lab", "up", patience_seconds=60)
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *arguments, external=True)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """ruff, mypy, shellcheck, hadolint and zizmor over everything that is written here."""
    session.run("ruff", "check", ".", external=True)
    session.run("ruff", "format", "--check", ".", external=True)
    session.run("mypy", external=True)
    tracked = session.run("git", "ls-files", external=True, silent=True, log=False) or ""
    files = [Path(name) for name in tracked.splitlines() if Path(name).is_file()]
    # Parts that a script reads in are checked with it.
    session.run(
        *("shellcheck", "--external-sources", "--check-sourced"),
        *(str(path) for path in files if is_shell(path)),
        external=True,
    )
    # The template is checked as what it renders to: tests/golden has that for every kind of cell.
    session.run("hadolint", *(str(path) for path in files if path.name == "Dockerfile"), external=True)
    session.run("zizmor", "--offline", "--quiet", ".github/workflows", external=True)


def is_shell(path: Path) -> bool:
    """Whether a file is a shell script, by its first line."""
    with path.open("rb") as file:
        first = file.readline(64)
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"/bash", b"env bash", b"busybox sh"))
