"""Options are accepted by the commands that use them alone; a usage error exits with 2 and ends with the next step."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.cli import _invocation, main
from kmatrix.cli.commands import COMMANDS, MEANINGS
from kmatrix.cli.options import ARGUMENT, OPTIONS, OVERRIDES, Option, options_of
from kmatrix.cli.parser import make_parser
from kmatrix.commands.invocation import Invocation
from kmatrix.stages.columns import wide_console
from kmatrix.stages.run_context import new_run
from kmatrix.values.errors import Exit, InputError
from kmatrix.values.overrides import NAMES, variable
from tests.unit.support.projects import MATRIX

# A value that each option accepts, and the arguments that a command requires.
VALUES = {"--jobs": "3", "--boot-deadline": "60", "--accel": "tcg", "--method": "kmm"} | {
    "--arch": "x86_64",
    "--flavour": "rt",
    "--shard": "1/2",
    "--format": "github",
    "--runner": "aarch64=arm",
    "--years": "3",
    "--port": "8123",
}
REQUIRED: Mapping[str, tuple[str, ...]] = {"lab": ("status",), "boot": ("image:tag",), "merge": ("x",)} | {
    "keys": ("new", "x")
}
# The fields of an invocation that options of other names give.
FIELDS = {"no_push": "push", "no_boot": "boot", "accel": "boot", "boot_deadline": "boot"} | {
    "client": "clients",
    "method": "methods",
    "from": "from_release",
    "to": "to_release",
    "arch": "arches",
    "flavour": "flavours",
    "runner": "runners",
    "key": "keys",
}


def typed(option: Option) -> tuple[str, ...]:
    return (option.flag, VALUES.get(option.flag, "x")) if option.value else (option.flag,)


@pytest.fixture(name="site")
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PROFILE", "ROOT", "AUTHFILE", *(key.upper() for key in NAMES)):
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    (tmp_path / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    return tmp_path


def invocation(site: Path, *arguments: str) -> Invocation:
    return _invocation([*arguments, "--root", str(site)], wide_console(stderr=True))[0]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the lines of a usage error."""
    assert main(arguments) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


@pytest.mark.parametrize(
    ("option", "command"),
    [(option, command) for option in OPTIONS for command in COMMANDS if option.group != ARGUMENT],
    ids=lambda each: each if isinstance(each, str) else each.flag,
)
def test_an_option_is_accepted_by_its_commands_alone(
    site: Path, capsys: pytest.CaptureFixture[str], option: Option, command: str
) -> None:
    words = (command, *REQUIRED.get(command, ()))
    if command not in option.commands:
        first, hint = refused(capsys, *words, *typed(option))
        assert first == f"error: `{command}` has no option {option.flag}"
        named = re.findall(r"[a-z-]+", hint.partition(" is an option of ")[2].partition(". ")[0])
        assert [name for name in named if name != "and"] == list(option.commands)
        assert hint.endswith(f"`nox -s {command} -- --help` lists its options.")
    elif option.flag != "--root":
        given, without = invocation(site, *words, *typed(option)), invocation(site, *words)
        field = FIELDS.get(option.name, "overrides" if option.group == OVERRIDES else option.name)
        assert getattr(given, field) != getattr(without, field), "an option that changes nothing"


def test_every_command_of_an_option_exists() -> None:
    assert {name for option in OPTIONS for name in option.commands} == set(COMMANDS)
    assert {option.name for option in OPTIONS if option.group == OVERRIDES} == set(NAMES)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_environment_of_an_override_that_a_command_does_not_use_is_harmless(
    site: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for key in NAMES:
        monkeypatch.setenv(variable(key), "of the environment")
    used = {option.name for option in options_of(command) if option.group == OVERRIDES}
    assert set(invocation(site, command, *REQUIRED.get(command, ())).overrides.given()) == used


def test_a_setting_that_is_wrong_does_not_stop_a_command_that_never_reads_it(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KMATRIX_GRAPH", "no address")
    assert main(["report", "--root", str(site)]) == Exit.USAGE
    assert "there are no results of profile site" in capsys.readouterr().err
    assert main(["discover", "--root", str(site)]) == Exit.USAGE
    assert "KMATRIX_GRAPH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message", "step"),
    [
        ((), "no command is given", "`python -m kmatrix --help` lists the commands."),
        (("reprot",), "there is no command 'reprot'", "Did you mean report? "),
        (("bogus",), "there is no command 'bogus'", "`python -m kmatrix --help` lists the commands."),
        (("--only", "x", "plan"), "--only must follow the command", "Write the command first"),
        (("--json", "plan"), "--json must follow the command", "Write the command first"),
        (("-v",), "there is no option -v", "Did you mean --version? "),
        (("--verison",), "there is no option --verison", "Did you mean --version? "),
        (("build", "-v"), "`build` has no option -v", "`python -m kmatrix --version` prints the version. "),
        (("build", "--version"), "`build` has no option --version", "`python -m kmatrix --version` prints the version"),
        (("build", "--no-boot", "--accel", "tcg"), "--accel has no effect with --no-boot", "Remove one of the two. "),
        (("verify", "--boot-deadline=9", "--no-boot"), "--boot-deadline has no effect with --no-boot", "Remove one "),
        (("boot", "x", "--shell", "--boot-deadline", "9"), "--boot-deadline has no effect with --shell", "Remove one "),
        (("build", "--quiet", "--verbose"), "--verbose has no effect with --quiet", "Remove one of the two. "),
        (("verify", "--remote", "x", "--quiet"), "--quiet has no effect with --remote", "Remove one of the two. "),
        (("build", "--forse"), "`build` has no option --forse", "Did you mean --force? "),
        (("plan", "--prof", "x"), "`plan` has no option --prof", "Did you mean --profile? "),
        (
            ("render", "--jsn"),
            "`render` has no option --jsn",
            "Did you mean --json, an option of plan, report, can-upgrade, prune and verify? ",
        ),
        (("build", "--bogus"), "`build` has no option --bogus", "`nox -s build -- --help` lists its options."),
        (("build", "CELL"), "`build` takes no argument 'CELL'", "`nox -s build -- --help` lists its options."),
        (
            ("lab",),
            "lab: the following arguments are required: ACTION",
            "`nox -s lab -- {up|status|down|reset|release|retract} ",
        ),
        (
            ("lab", "statsu"),
            "'statsu' is none of up, status, down, reset, release, retract. Did you mean status?",
            "`nox -s lab -- ",
        ),
        (("boot", "x", "--accel", "kv"), "'kv' is none of auto, kvm, tcg. Did you mean kvm?", "`nox -s boot -- "),
        (("build", "--jobs", "0"), "build: --jobs: '0' is not a positive integer", "`nox -s build -- --help`"),
        (("build", "--shard", "3/2"), "build: --shard: '3/2' is not a part of a whole", "`nox -s build -- --help`"),
        (("build", "--only", " "), "build: --only: is empty, and would select no cell", "`nox -s build -- --help`"),
        (("plan", "--runner", "arm=x"), "plan: --runner: 'arm=x' is not ARCH=LABEL", "`nox -s plan -- --help`"),
        (("plan", "--json", "--format", "tekton"), "--format has no effect with --json", "Remove one of the two. "),
        (("merge",), "merge: the following arguments are required: DIR", "`nox -s merge -- DIR... [OPTION...]`"),
        (("build", "--jobs"), "build: --jobs: expected one argument", "`nox -s build -- --help`"),
        (("build", "--bogus=user:s3cret@host"), "`build` has no option --bogus", "`nox -s build -- --help`"),
    ],
)
def test_a_usage_error_ends_with_the_next_step(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, step: str
) -> None:
    first, hint = refused(capsys, *arguments)
    assert first.startswith("error: ")
    assert message in first
    assert step in hint
    assert hint.endswith(("lists its options.", "lists the commands."))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    return capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"kmatrix {importlib.metadata.version('kmatrix')}\n"


def test_a_package_that_is_not_installed_has_no_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert "./scripts/bootstrap" in refused(capsys, "--version")[1]
    # A run ends before it builds anything, not at its first record.
    with pytest.raises(InputError, match="kmatrix is not installed"):
        new_run(cast("Any", None), cast("Any", None), cast("Any", None), cast("Any", None), pushes=False)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_text_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str], command: str) -> None:
    text = printed(capsys, *([command] if command else []), "--help")
    examples, _, codes = text.partition("\nexamples:\n")[2].partition("\nexit codes:\n")
    assert re.findall(rf"(?m)^  nox -s {command or '[a-z]+'}", examples)
    expected = COMMANDS[command].exits if command else MEANINGS
    assert [int(code) for code in re.findall(r"(?m)^  (\d+) ", codes)] == [int(code) for code in expected]
    assert max(map(len, text.splitlines())) <= 100


def test_the_help_text_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    assert re.findall(r"(?m)^  ([a-z-]+) +[A-Z]", text) == list(COMMANDS)


def test_every_exit_code_has_a_meaning_and_every_command_its_own() -> None:
    assert list(MEANINGS) == list(Exit)
    for command in COMMANDS.values():
        assert {Exit.OK, Exit.USAGE, Exit.ERRORED, Exit.INTERRUPTED} <= set(command.exits)
        assert all(command.meaning(code) for code in command.exits)


@pytest.mark.parametrize(
    ("command", "present", "absent"),
    [
        ("build", "leave out every gate that boots, and publish no image", "boots at a time"),
        ("verify", "leave out every gate that boots\n", "publish no image"),
        ("push", "cells at a time", "boots"),
        ("bundle", "boots at a time", "cells at a time"),
        ("boot", "  0    the gates passed", "of cells and bundles"),
    ],
)
def test_a_help_text_is_about_its_own_command(
    capsys: pytest.CaptureFixture[str], command: str, present: str, absent: str
) -> None:
    text = printed(capsys, command, "--help")
    assert present in text
    assert absent not in text


def test_every_text_of_its_own_belongs_to_a_command_that_accepts_the_option() -> None:
    for option in OPTIONS:
        assert set(option.texts) <= set(option.commands)


@pytest.mark.parametrize("command", ["build", "verify", "push", "bundle"])
def test_an_update_graph_is_refused_where_only_the_lab_reads_it(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    place = ("--root", str(site), "--target", "127.0.0.1:1/none")
    first, hint = refused(capsys, command, *place, "--graph", "http://127.0.0.1:2/graph")
    assert "--graph" in first
    assert "profile site" in first
    assert "`nox -s discover -- --profile site" in hint
    # An exported variable is meant for all commands: it goes unread, and the command comes as far as the engine.
    monkeypatch.setenv("KMATRIX_GRAPH", "http://127.0.0.1:2/graph")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{site}/no.sock")
    assert main([command, *place]) == Exit.UNREACHABLE


def test_a_profile_that_does_not_exist_is_reported_with_its_option_and_variable(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KMATRIX_PROFILE", "nowhere")
    first, hint = refused(capsys, "plan", "--root", str(site))
    assert first == "error: matrix.yaml has no profile 'nowhere' (--profile or KMATRIX_PROFILE)"
    assert hint.strip().endswith("Use one of site.")


def test_every_example_is_a_command_line_that_the_parser_accepts() -> None:
    parser: argparse.ArgumentParser = make_parser()
    examples = [(c.name, arguments) for c in COMMANDS.values() for arguments, _ in c.examples]
    for name, arguments in examples:
        _, unknown = parser.parse_known_args([name, *arguments.replace("'", "").split()])
        assert not unknown, (name, arguments)
    assert {name for name, _ in examples} == set(COMMANDS)


REPEATED = (
    (
        "build",
        "--profile",
        "site",
        "--force",
        "--jobs",
        "3",
        "--target",
        "registry.example/team",
        "--authfile",
        "a file",
    ),
    ("build", "--profile", "site", "--only", "8.*", "--no-push", "--accel", "tcg", "--boot-deadline", "60"),
    ("build", "--profile", "site", "--no-boot", "--mirrors", "a.example=b.example,c.example=d.example"),
    ("verify", "--profile", "site", "--no-boot", "--lock", "other.lock"),
    ("push", "--profile", "site", "--jobs", "1", "--base", "quay.io/a/b:1", "--key-fingerprint", "file:a key"),
)


@pytest.mark.parametrize("arguments", REPEATED, ids=lambda arguments: f"{arguments[0]} {arguments[-2]}")
def test_the_command_that_repeats_a_cell_is_the_same_but_for_its_cells(site: Path, arguments: tuple[str, ...]) -> None:
    call = invocation(site, *arguments)
    again = call.again("site", "--only", "8.2.2-x+rt")
    words = shlex.split(again.strip("`"))
    assert words[:5] == ["nox", "-s", arguments[0], "--", "--profile"]
    repeated = _invocation([arguments[0], *words[4:]], call.console)[0]
    assert replace(repeated, only=call.only) == call
    assert repeated.only == ("8.2.2-x+rt",)


def test_a_next_step_names_the_places_that_its_command_knows(site: Path) -> None:
    places = ("--target", "registry.example/team", "--packages", "a folder", "--authfile", "a")
    call = invocation(site, "build", "--force", "--no-push", "--jobs", "3", *places)
    boot = call.next("boot", "site", "CELL")
    authfile = f"--root {site} --authfile a"
    assert boot == f"`nox -s boot -- --profile site {authfile} --target registry.example/team CELL`"
    wanted = f"{authfile} --packages 'a folder' --target registry.example/team"
    assert call.next("build", "site") == f"`nox -s build -- --profile site {wanted}`"
    reported = f"--root {site} --target registry.example/team"
    assert call.next("report", "site") == f"`nox -s report -- --profile site {reported}`"
    for name in COMMANDS:
        _invocation([name, *REQUIRED.get(name, ()), *shlex.split(call.next(name, "").strip("`"))[4:]], call.console)


def test_globs_of_one_value_are_several(site: Path) -> None:
    """A CI system passes the cells of a job in one variable."""
    assert invocation(site, "build", "--only", "a b", "--only", "c").only == ("a", "b", "c")
