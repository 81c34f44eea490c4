"""The parser of the command line; a usage error is an `InputError` that ends with the next step."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NoReturn

from kmatrix.cli.commands import COMMANDS, MEANINGS, Command
from kmatrix.cli.options import ARGUMENT, OPTIONS, Option, options_of
from kmatrix.effects.installed_version import installed_version
from kmatrix.values.command_lines import command as command_line
from kmatrix.values.errors import Exit, InputError

_WIDTH = 100
_VERSIONS = ("-v", "-V", "--version")
_ALL = "`python -m kmatrix --help` lists the commands."
_EXAMPLES = (
    ("nox -s build", "the main job, for the default profile: the lab"),
    ("nox -s build -- --profile okd --only '8.3.*'", "some cells of another profile"),
    ("python -m kmatrix report --help", "the options, examples and exit codes of a command"),
)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; `--help` and `--version` print, and leave by SystemExit.

    Raises:
        InputError: a command, an option or a value is wrong; the hint names the option's commands or the closest match.
    """
    parser = make_parser()
    if not arguments:
        raise InputError("no command is given", _ALL)
    first = arguments[0]
    if first.startswith("-") and first not in ("-h", "--help", "--version"):
        raise _before_command(first.partition("=")[0])
    if not first.startswith("-") and first not in COMMANDS:
        raise InputError(f"there is no command {first!r}", f"{_meant(first, COMMANDS)}{_ALL}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _unknown(options.command, unknown[0])
    _refuse_without_effect(options)
    return options


@cache
def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="kmatrix",
        usage="nox -s COMMAND -- [OPTION...]\n   or: python -m kmatrix COMMAND [OPTION...]",
        description=_overview(),
        epilog=_epilog(_EXAMPLES, MEANINGS),
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version of kmatrix")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    for command in COMMANDS.values():
        _add_command(commands, command)
    return parser


def usage_of(command: Command) -> str:
    """Return the arguments that a command takes, as after its name in a usage line."""
    arguments = [
        each.value.join("{}") if each.choices else f"{each.value}..." if each.many else each.value
        for each in _arguments(command)
    ]
    return " ".join([*arguments, "[OPTION...]"])


def example_of(command: Command, arguments: str) -> str:
    """Return an example of a command as it is typed."""
    return f"nox -s {command.name}" + (f" -- {arguments}" if arguments else "")


class _Parser(argparse.ArgumentParser):
    """Raises usage errors, where argparse would print the complete usage and exit."""

    def error(self, message: str) -> NoReturn:
        _, _, name = self.prog.partition(" ")
        hint = _help_hint(name)
        if "required" in message and name in COMMANDS:
            hint = f"Write `{example_of(COMMANDS[name], usage_of(COMMANDS[name]))}`. {hint}"
        raise InputError(f"{name or self.prog}: {message.removeprefix('argument ')}", hint)


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        sys.stdout.write(f"kmatrix {installed_version()}\n")
        parser.exit()


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=_WIDTH)


def _overview() -> str:
    lines = [
        "Prebuilt BeeGFS client images for OpenShift: built, checked, booted and pushed per kernel.",
        "",
        "commands:",
    ]
    for command in COMMANDS.values():
        start = f"  {command.name:<12}"
        lines += textwrap.wrap(command.summary, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join(lines)


def _add_command(commands: Any, command: Command) -> None:
    name, words = command.name, usage_of(command)
    parser = commands.add_parser(
        name,
        prog=f"kmatrix {name}",
        usage=f"nox -s {name} -- {words}\n   or: python -m kmatrix {name} {words}",
        description=textwrap.fill(f"{command.summary} {command.details}", _WIDTH),
        epilog=_epilog(
            [(example_of(command, arguments), effect) for arguments, effect in command.examples],
            {code: command.meaning(code) for code in command.exits},
        ),
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    groups: dict[str, Any] = {}
    for each in options_of(name):
        group = groups.get(each.group) or parser
        if each.group != ARGUMENT and each.group not in groups:
            group = groups[each.group] = parser.add_argument_group(each.group)
        _add_option(group, each, each.help_for(name))


def _add_option(group: Any, option: Option, text: str) -> None:
    if option.group == ARGUMENT:
        several: dict[str, Any] = {"nargs": "+"} if option.many else {}
        group.add_argument(option.name, metavar=option.metavar, type=_reader(option), help=text, **several)
    elif not option.value:
        group.add_argument(option.flag, action="store_true", help=text)
    else:
        group.add_argument(
            option.flag,
            action="append" if option.many else "store",
            metavar=option.value,
            type=_reader(option),
            default=option.default,
            help=text,
        )


def _reader(option: Option) -> Any:
    """Return the function that reads a value; argparse's own `choices` knows no suggestion before Python 3.14."""

    def choice(text: str) -> str:
        if text not in option.choices:
            meant = _meant(text, option.choices)
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(option.choices)}. {meant}".rstrip(". "))
        return text

    return choice if option.choices else option.parse


def _epilog(examples: Iterable[tuple[str, str]], exits: Mapping[Exit, str]) -> str:
    lines = ["examples:"]
    for typed, effect in examples:
        lines += [f"  {typed}", f"      {effect}"]
    lines += ["", "exit codes:"]
    for code, meaning in exits.items():
        lines += textwrap.wrap(meaning, _WIDTH, initial_indent=f"  {int(code):<5}", subsequent_indent=" " * 7)
    return "\n".join(lines)


def _before_command(flag: str) -> InputError:
    if any(flag == each.flag for each in OPTIONS):
        return InputError(f"{flag} must follow the command", f"Write the command first, then its options. {_ALL}")
    known = ["--version", "--help", *(each.flag for each in OPTIONS)]
    meant = _meant("--version" if flag in _VERSIONS else flag, known)
    return InputError(f"there is no option {flag}", meant + _ALL)


def _refuse_without_effect(options: argparse.Namespace) -> None:
    """Refuse an option that another one leaves without effect, before any work starts.

    Raises:
        InputError: both are given.
    """
    accepted = {each.flag: each for each in options_of(options.command)}
    for each in accepted.values():
        if not getattr(options, each.name):
            continue
        for flag in each.excludes:
            if flag in accepted and getattr(options, accepted[flag].name) not in (None, False):
                raise InputError(
                    f"{options.command}: {flag} has no effect with {each.flag}",
                    f"Remove one of the two. {_help_hint(options.command)}",
                )


def _unknown(command: str, word: str) -> InputError:
    flag = word.partition("=")[0]
    if not word.startswith("-"):
        return InputError(f"`{command}` takes no argument {word!r}", _help_hint(command))
    commands = {each.flag: _listed(each.commands) for each in OPTIONS}
    if flag in _VERSIONS:
        hint = "`python -m kmatrix --version` prints the version. "
    elif flag in commands:
        hint = f"{flag} is an option of {commands[flag]}. "
    else:
        hint = _meant(flag, [each.flag for each in options_of(command)])
        if not hint and (near := get_close_matches(flag, commands, n=1)):
            hint = f"Did you mean {near[0]}, an option of {commands[near[0]]}? "
    return InputError(f"`{command}` has no option {flag}", hint + _help_hint(command))


def _meant(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"Did you mean {found[0]}? " if found else ""


def _help_hint(command: str) -> str:
    return f"{command_line(command, '', '--help')} lists its options." if command in COMMANDS else _ALL


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _arguments(command: Command) -> list[Option]:
    return [each for each in options_of(command.name) if each.group == ARGUMENT]
