"""Modules are imported when they are needed: a command loads its own, and a run without keys no cryptography."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from kmatrix.cli.commands import COMMANDS
from kmatrix.commands.invocation import Invocation
from kmatrix.values.errors import Exit

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Of each, a run needs one only where it signs or verifies something.
SIGNING = {"cryptography", "asn1crypto", "securesystemslib"}


def imported_by(*statements: str) -> set[str]:
    """Return the modules that a new interpreter has after statements."""
    text = "\n".join(["import sys", *statements, "print(*sys.modules)"])
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (SCRIPTS, SCRIPTS.parent)))}
    done = subprocess.run(
        [sys.executable, "-c", text], env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_its_function(name: str) -> None:
    function = COMMANDS[name].load()
    assert function.__name__ == name.replace("-", "_")
    assert get_type_hints(function) == {"call": Invocation, "return": Exit}


def test_the_command_line_loads_the_module_of_no_command() -> None:
    found = imported_by("import kmatrix.cli")
    helpers = {"kmatrix.commands.guard", "kmatrix.commands.invocation"}
    assert {name for name in found if name.startswith("kmatrix.commands.")} == helpers
    assert not [name for name in found if name.startswith(("kmatrix.lab", "kmatrix.stages.gates"))]


def test_commands_that_may_run_without_keys_load_no_cryptography() -> None:
    names = ("build", "push", "bundle", "watch", "plan", "discover", "report", "lab", "prune")
    loads = (f"COMMANDS[{name!r}].load()" for name in names)
    found = imported_by("from kmatrix.cli.commands import COMMANDS", *loads)
    assert {f"kmatrix.commands.{COMMANDS[name].function.partition('.')[0]}" for name in names} <= found
    assert {each for each in found if each.partition(".")[0] in SIGNING} == set()


def test_a_run_without_keys_loads_no_cryptography_while_it_runs(tmp_path: Path) -> None:
    found = imported_by(
        "from pathlib import Path",
        "from types import SimpleNamespace",
        "from kmatrix.stages.run_context import Options, new_run",
        "from tests.unit.support.check_case import Case",
        "from tests.unit.support.image_registry import NO_CREDENTIALS",
        "from tests.unit.support.made_up_profile import profile",
        f"root = Path({str(tmp_path)!r})",
        "options = Options(root, 'site', profile(), 'r.example/team')",
        "new_run(None, NO_CREDENTIALS, options, SimpleNamespace(warn=print), pushes=True).records",
        "assert not Case().check().findings",
    )
    assert {each for each in found if each.partition(".")[0] in SIGNING} == set()
