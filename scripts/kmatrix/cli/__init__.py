"""The command line: reads options and runs one command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from kmatrix.cli.commands import COMMANDS
from kmatrix.cli.options import ARGUMENT, OUTPUT, OVERRIDES, SELECTION, Option, options_of
from kmatrix.cli.parser import parse
from kmatrix.commands.guard import guarded
from kmatrix.commands.invocation import Invocation
from kmatrix.decide.workflow_commands import annotation_of
from kmatrix.effects.github_actions import github_actions
from kmatrix.effects.registry.environment import take_auth_config
from kmatrix.effects.signing.environment import take_keys
from kmatrix.stages.columns import wide_console
from kmatrix.values.boot import BootOptions
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.overrides import Overrides, overrides_from_environment


def main(arguments: Sequence[str] | None = None, first: Callable[[Invocation], None] = lambda _: None) -> int:
    """Run a command and return its exit code (see `kmatrix.values.errors.Exit`).

    Args:
        arguments: of the command line; those of this process by default.
        first: is called before the command; an error that it raises is reported as one of the command.
    """
    # Before any other program is started.
    take_auth_config()
    take_keys()
    console = wide_console(stderr=True)
    github = github_actions()

    def work() -> int:
        invocation, command = _invocation(sys.argv[1:] if arguments is None else arguments, console)
        invocation = replace(invocation, github=github)
        first(invocation)
        return command(invocation)

    def announce(error: Exception) -> None:
        # A run with a note of how to go on has shown its error already.
        if github and not getattr(error, "__notes__", ()):
            github.annotate([annotation_of(error)])

    # Errors have text of others too.
    with github.foreign_text() if github else nullcontext():
        return guarded(console, work, "Interrupted. Finished cells are saved", announce)


def _invocation(arguments: Sequence[str], console: Console) -> tuple[Invocation, Callable[[Invocation], Exit]]:
    options = parse(arguments)
    authfile = _given(options, "authfile") or os.environ.get("KMATRIX_AUTHFILE")
    root = Path(options.root or os.environ.get("KMATRIX_ROOT") or Path.cwd()).resolve()
    if not (root / "matrix.yaml").is_file():
        raise InputError(f"{root} has no matrix.yaml", "Run this in the project's folder, or name it with --root.")
    out, save = _given(options, "out"), _given(options, "save")
    invocation = Invocation(
        root=root,
        console=console,
        command=options.command,
        profile=_given(options, "profile") or os.environ.get("KMATRIX_PROFILE"),
        overrides=_overrides(options),
        authfile=Path(authfile).absolute() if authfile else None,
        only=tuple(glob for given in _given(options, "only") or () for glob in given.split()),
        shard=_given(options, "shard"),
        unpublished=bool(_given(options, "unpublished")),
        published=bool(_given(options, "published")),
        jobs=_given(options, "jobs"),
        action=_given(options, "action") or "",
        broken=bool(_given(options, "broken")),
        channel=_given(options, "channel") or "",
        release=_given(options, "release") or "",
        json=bool(_given(options, "json")),
        format=_given(options, "format") or "",
        runners=tuple(_given(options, "runner") or ()),
        force=bool(_given(options, "force")),
        push=not _given(options, "no_push"),
        boot=_boot_options(options),
        subject=_given(options, "subject") or "",
        folders=tuple(Path(folder).absolute() for folder in _folders(options)),
        images=bool(_given(options, "images")),
        modules=bool(_given(options, "modules")),
        name=_given(options, "name") or "",
        years=_given(options, "years"),
        shell=bool(_given(options, "shell")),
        check=bool(_given(options, "check")),
        apply=bool(_given(options, "apply")),
        forget=tuple(_given(options, "forget") or ()),
        clients=tuple(_given(options, "client") or ()),
        methods=tuple(_given(options, "method") or ()),
        from_release=_given(options, "from") or "",
        to_release=_given(options, "to") or "",
        arches=tuple(_given(options, "arch") or ()),
        flavours=tuple(_given(options, "flavour") or ()),
        out=Path(out).absolute() if out else None,
        remote=_given(options, "remote") or "",
        keys=tuple(Path(key).absolute() for key in _given(options, "key") or ()),
        serve=bool(_given(options, "serve")),
        port=_given(options, "port"),
        save=Path(save).absolute() if save else None,
        quiet=bool(_given(options, "quiet")),
        verbose=bool(_given(options, "verbose")),
        places={name: _places(options, name) for name in COMMANDS},
        typed=_typed(options),
    )
    return invocation, COMMANDS[options.command].load()


def _folders(options: argparse.Namespace) -> Iterable[str]:
    one = _given(options, "folder")
    return [one] if one else _given(options, "folders") or ()


def _given(options: argparse.Namespace, name: str) -> Any:
    """Return an option's value; None for one that the command does not accept."""
    return getattr(options, name, None)


def _overrides(options: argparse.Namespace) -> Overrides:
    """Return the overrides that the command accepts; environment variables of others mean nothing to it."""
    names = [each.name for each in options_of(options.command) if each.group == OVERRIDES]
    given = Overrides(**{name: getattr(options, name) for name in names})
    return given.or_else(overrides_from_environment(os.environ, names))


def _typed(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the options of a command line as they were typed, without those that select a profile and its cells.

    How much a command prints changes nothing that it does.
    """
    wanted = [each for each in options_of(options.command) if each.group not in (ARGUMENT, OUTPUT, SELECTION)]
    return (*_places(options, options.command), *_as_typed(options, [each for each in wanted if not _is_place(each)]))


def _places(options: argparse.Namespace, command: str) -> tuple[str, ...]:
    """Return the options that say where everything is, and that another command accepts too, as they were typed.

    The environment holds for the other command too.
    """
    return _as_typed(options, [each for each in options_of(command) if _is_place(each)])


def _is_place(option: Option) -> bool:
    return option.group == OVERRIDES or option.name in ("root", "authfile")


def _as_typed(options: argparse.Namespace, wanted: Iterable[Option]) -> tuple[str, ...]:
    typed: list[str] = []
    for each in wanted:
        value = _given(options, each.name)
        if value and value != each.default:
            values = value if each.many else [value]
            typed += [part for one in values for part in ([each.flag, str(one)] if each.value else [each.flag])]
    return tuple(typed)


def _boot_options(options: argparse.Namespace) -> BootOptions | None:
    if _given(options, "no_boot"):
        return None
    accel, deadline = _given(options, "accel"), _given(options, "boot_deadline")
    return BootOptions(
        accel or BootOptions().accel, BootOptions().deadline_seconds if deadline is None else float(deadline)
    )
