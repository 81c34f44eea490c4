"""docs/commands.md, written from the tables that the parser and the help texts are made of, and from noxfile.py."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from pathlib import Path

from kmatrix.cli.commands import COMMANDS, MEANINGS, Command
from kmatrix.cli.options import ARGUMENT, OPTIONS, OVERRIDES, Option, options_of
from kmatrix.cli.parser import example_of, usage_of

_INTRODUCTION = """# Commands

<!-- Generated from scripts/kmatrix/cli and noxfile.py: do not edit. `KMATRIX_UPDATE_GOLDEN=1 nox -s tests --
tests/unit/test_command_reference.py` writes it again. -->

Each command is `nox -s COMMAND -- [OPTION...]`, or `python -m kmatrix COMMAND [OPTION...]` in the environment that
`scripts/bootstrap` creates. `--help` after a command prints its part of this page; `python -m kmatrix --version` prints
the version. Results go to standard output or to files, everything else to standard error. An option that a command
does not use is an error.
"""
_EXITS = """## Exit codes

nox ends with the exit code of the command; of several sessions, the first that fails ends nox. Every error ends with
the next step. SIGTERM must be sent to the command itself: nox does not pass it on. A session of an unknown name ends
with 2; other errors of nox's own, such as a wrong option of nox, end with codes of its own.
"""
_OVERRIDES = """## Overrides

These options override a setting of [matrix.yaml](../matrix.yaml) for one run, under the same rules. An option takes
precedence over its environment variable; the variable is ignored by commands that do not accept the option.
"""
_SESSIONS = """## Sessions without a command

These are sessions of nox alone.
"""


def command_reference(noxfile: str) -> str:
    """Return docs/commands.md.

    Args:
        noxfile: the text of noxfile.py, whose other sessions are listed too.
    """
    parts = [
        _INTRODUCTION,
        _table(("command", "purpose"), ([f"[`{name}`](#{name})", c.summary] for name, c in COMMANDS.items())),
        _EXITS,
        _table(("code", "meaning"), ([str(int(code)), text] for code, text in MEANINGS.items())),
        *(part for command in COMMANDS.values() for part in _command(command)),
        _OVERRIDES,
        _table(("option", "environment", "overrides", "accepted by"), map(_override, _overrides(OPTIONS))),
        _SESSIONS,
        _table(("session", "purpose"), _sessions(noxfile)),
    ]
    return "\n".join(parts)


def write_reference(root: Path) -> None:
    """Write docs/commands.md of a checkout."""
    text = command_reference((root / "noxfile.py").read_text(encoding="utf-8"))
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "commands.md").write_text(text, encoding="utf-8")


def _command(command: Command) -> Iterable[str]:
    yield f"## {command.name}\n"
    yield f"{command.summary} {command.details}\n"
    yield f"    nox -s {command.name} -- {usage_of(command)}\n"
    options = options_of(command.name)
    own = [each for each in options if each.group not in (OVERRIDES, ARGUMENT)]
    yield _table(("option", "meaning", "environment", "default"), (_option(each, command) for each in own))
    if overrides := list(_overrides(options)):
        yield f"[Overrides](#overrides): {', '.join(f'`{each.flag}`' for each in overrides)}.\n"
    yield "Examples:\n"
    lines = [(example_of(command, arguments), effect) for arguments, effect in command.examples]
    width = max(len(typed) for typed, _ in lines)
    yield "".join(f"    {typed:<{width}}  # {effect}\n" for typed, effect in lines)
    codes = [f"{int(code)}" + (f" ({text})" if text else "") for code, text in command.exits.items()]
    yield f"[Exit codes](#exit-codes): {', '.join(codes)}.\n"


def _option(option: Option, command: Command) -> Sequence[str]:
    words = f"`{option.flag} {option.value}".rstrip() + "`"
    text = option.text_for(command.name) + ("; may be repeated" if option.many else "")
    return words, text, _code(option.variable), option.otherwise


def _overrides(options: Iterable[Option]) -> Iterable[Option]:
    return [each for each in options if each.group == OVERRIDES]


def _override(option: Option) -> Sequence[str]:
    accepted = ", ".join(f"[`{name}`](#{name})" for name in option.commands)
    return f"`{option.flag} {option.value}`", _code(option.variable), f"`{option.name}`: {option.text}", accepted


def _sessions(noxfile: str) -> Iterable[Sequence[str]]:
    for node in ast.parse(noxfile).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list and node.name not in COMMANDS:
            yield f"`{node.name}`", ast.get_docstring(node) or ""


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([each.replace("|", "\\|") for each in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
