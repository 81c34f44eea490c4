"""Sessions of nox: they end with the exit code of their command, describe it in its words, and print no noise.

nox itself ends with 1 for every command that fails (nox/tasks.py, `final_reduce`), and with 130 after an interruption
(nox/workflow.py).
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmatrix.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
BIN = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# Stands in for the package `kmatrix`: ends with the code it is given, by the signal it is given, or waits.
STAND_IN = """
import os, signal, sys
print("for people", file=sys.stderr, flush=True)
print("argument:", sys.argv[1:], flush=True)
word, _, number = sys.argv[-1].partition("=")
if word == "signal":
    os.kill(os.getpid(), int(number))
if word == "wait":
    try:
        signal.pause()
    except KeyboardInterrupt:
        sys.exit(130)
sys.exit(int(number or 0))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("noxfile.py", "matrix.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def nox(project: Path, package: Path, *arguments: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KMATRIX_", "NOX"))}
    # Programs beside the package take precedence over those of this environment; there is no uv on any machine.
    path = f"{package / 'bin'}{os.pathsep}{BIN}"
    environment = {**own, "PATH": path, "PYTHONPATH": str(package), "UV": str(package / "no-uv")}
    command = [sys.executable, "-m", "nox", *arguments]
    pipe = subprocess.PIPE
    # A group of its own, as a shell gives it: Ctrl-C goes to all of it.
    return subprocess.Popen(
        command, cwd=project, env=environment, text=True, stdout=pipe, stderr=pipe, start_new_session=True
    )


def ended(project: Path, package: Path, *arguments: str) -> tuple[int, str, str]:
    with nox(project, package, *arguments) as run:
        out, err = run.communicate(timeout=60)
        return run.returncode, out, err


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    package = tmp_path / "package" / "kmatrix"
    package.mkdir(parents=True)
    for name, text in {"kmatrix/__init__.py": "", "kmatrix/__main__.py": STAND_IN, "bench.py": STAND_IN}.items():
        (package.parent / name).write_text(text, encoding="utf-8")
    return package.parent


@pytest.mark.parametrize(
    ("name", "meant"), [("biuld", "Did you mean build? "), ("verfy", "Did you mean verify? "), ("zzz", "")]
)
def test_a_session_that_does_not_exist_ends_with_the_code_of_usage_and_the_name_that_is_near(
    project: Path, stand_in: Path, name: str, meant: str
) -> None:
    code, out, err = ended(project, stand_in, "-s", "plan", name, "--", "-s", "other")
    assert code == 2, out + err
    assert f"error: there is no session {name!r}\n       {meant}`nox -l` lists the sessions.\n" in err
    assert "argument:" not in out


def test_a_profile_that_is_not_there_ends_with_the_code_of_usage(project: Path) -> None:
    code, out, err = ended(project, ROOT / "scripts", "-s", "plan", "--", "--profile", "nowhere")
    assert code == 2, out + err
    assert "nowhere" in out + err


@pytest.mark.parametrize(
    ("session", "wanted"),
    [("build", 0), ("build", 3), ("bundle", 1), ("manifests", 4), ("verify", 130), ("bench", 2), ("can-upgrade", 1)],
)
def test_every_code_is_handed_on(project: Path, stand_in: Path, session: str, wanted: int) -> None:
    code, out, err = ended(project, stand_in, "-s", session, "--", f"code={wanted}")
    assert code == wanted, out + err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (5, "ended with exit code 5: there is nothing new"),
        (130, "ended with exit code 130: it was interrupted"),
        (1, "failed with exit code 1"),
        (4, "failed with exit code 4"),
        (51, "failed with exit code 51"),
    ],
)
def test_the_last_line_calls_no_failure_what_is_none(project: Path, stand_in: Path, code: int, said: str) -> None:
    ended_with, out, err = ended(project, stand_in, "-s", "watch", "--", f"code={code}")
    assert ended_with == code, out + err
    assert err.splitlines()[-1] == f"nox > Command python -m kmatrix watch code={code} {said}"


def test_a_command_that_a_signal_ended_has_the_code_that_a_shell_gives(project: Path, stand_in: Path) -> None:
    assert ended(project, stand_in, "-s", "build", "--", f"signal={int(signal.SIGKILL)}")[0] == 137


def test_the_first_of_several_sessions_that_fails_ends_all(project: Path, stand_in: Path) -> None:
    code, out, _ = ended(project, stand_in, "-s", "discover", "build", "--", "code=4")
    assert (code, out.count("argument:")) == (4, 1)
    code, out, _ = ended(project, stand_in, "-s", "discover", "build", "--", "code=0")
    assert (code, out.count("argument:")) == (0, 2)


def test_an_interruption_ends_with_its_own_code(project: Path, stand_in: Path) -> None:
    with nox(project, stand_in, "-s", "build", "--", "wait") as run:
        assert run.stdout is not None
        assert "argument:" in run.stdout.readline()
        (command,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text(encoding="utf-8").split()
        # Ctrl-C goes to both. A command that ends while nox is still to be interrupted ends for nox with 0: Python's
        # subprocess loses a status that was collected when the interruption came (Popen._wait, ChildProcessError).
        os.kill(run.pid, signal.SIGINT)
        while is_pending(run.pid, signal.SIGINT):
            os.sched_yield()
        os.kill(int(command), signal.SIGINT)
        run.communicate(timeout=60)
    assert run.returncode == 130


def is_pending(process: int, number: signal.Signals) -> bool:
    """Return whether a signal was not delivered to a process yet (proc(5), ShdPnd of status)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.fixture
def pytest_stand_in(stand_in: Path) -> Path:
    program = stand_in / "bin" / "pytest"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "pytest: $*"\n', encoding="utf-8")
    program.chmod(0o755)
    return stand_in


LAB_UP = "argument: ['lab', 'up']"
ONE = "tests/unit/test_names.py"
NEEDS_LAB = "tests/integration/boot/test_boot_shell.py"


@pytest.mark.parametrize(
    ("given", "ran"),
    [
        (ONE, [f"pytest: -q {ONE}"]),
        (f"--fast {ONE}", [f"pytest: -q {ONE}"]),
        (f"./{ONE}::test_one[a::b]", [f"pytest: -q ./{ONE}::test_one[a::b]"]),
        (f"-x -k names -n 2 {ONE}", [f"pytest: -q -x -k names -n 2 {ONE}"]),
        ("tests/unit", ["pytest: -q -n auto tests/unit"]),
        ("tests/browser", ["pytest: -q -n auto tests/browser"]),
        ("--fast", ["pytest: -q -n auto tests/unit"]),
        ("--fast -k names", ["pytest: -q -n auto tests/unit -k names"]),
        (f"--fast {NEEDS_LAB}", [f"pytest: -q {NEEDS_LAB}"]),
        ("", [LAB_UP, "pytest: -n auto --dist worksteal"]),
        ("-k names", [LAB_UP, "pytest: -n auto --dist worksteal -k names"]),
        (NEEDS_LAB, [LAB_UP, f"pytest: -n auto --dist worksteal {NEEDS_LAB}"]),
        (f"{ONE} {NEEDS_LAB}", [LAB_UP, f"pytest: -n auto --dist worksteal {ONE} {NEEDS_LAB}"]),
        ("tests", [LAB_UP, "pytest: -n auto --dist worksteal tests"]),
        ("--arch aarch64 -x", ["argument: ['lab', 'up', '--arch', 'aarch64']", "pytest: tests/integration/aarch64 -x"]),
        ("-x --arch=aarch64", ["argument: ['lab', 'up', '--arch', 'aarch64']", "pytest: tests/integration/aarch64 -x"]),
        # A value, which names no test to run.
        (f"--deselect {ONE}", [LAB_UP, f"pytest: -n auto --dist worksteal --deselect {ONE}"]),
    ],
)
def test_named_tests_run_alone_and_need_the_lab_only_if_they_use_it(
    project: Path, pytest_stand_in: Path, given: str, ran: list[str]
) -> None:
    code, out, err = ended(project, pytest_stand_in, "-s", "tests", "--", *given.split())
    assert code == 0, out + err
    assert [line for line in out.splitlines() if line.startswith(("pytest:", "argument:"))] == ran


@pytest.mark.parametrize("given", ["--arch", "--arch x86_64", "-x --arch ppc64le", "--arch=x86_64"])
def test_an_architecture_without_tests_of_its_own_is_refused(project: Path, pytest_stand_in: Path, given: str) -> None:
    code, out, err = ended(project, pytest_stand_in, "-s", "tests", "--", *given.split())
    assert (code, "Write --arch aarch64." in err) == (2, True), out + err
    assert "pytest:" not in out


def test_a_session_prints_no_line_that_says_nothing_of_the_command(project: Path, stand_in: Path) -> None:
    code, out, err = ended(project, stand_in, "-s", "build", "--", "code=0")
    assert code == 0
    assert out.splitlines() == ["argument: ['build', 'code=0']"]
    assert [line.partition(" in ")[0].rstrip(".") for line in err.splitlines()] == [
        "nox > Running session build",
        "nox > python -m kmatrix build code=0",
        "for people",
        "nox > Session build was successful",
    ]


def test_sessions_are_described_in_the_words_of_their_commands() -> None:
    functions = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
    described = {
        f.name.replace("_", "-"): ast.get_docstring(f)
        for f in functions
        if isinstance(f, ast.FunctionDef) and f.decorator_list
    }
    assert {name: described.pop(name) for name in COMMANDS} == {name: c.summary for name, c in COMMANDS.items()}
    assert set(described) == {"bench", "tests", "lint"}, "sessions without a command"


def test_results_go_to_standard_output_alone(project: Path, stand_in: Path) -> None:
    """`nox -s plan -- --format github >FILE` writes a file that other programs read."""
    _, out, err = ended(project, stand_in, "-s", "plan", "--", "--json")
    assert out == "argument: ['plan', '--json']\n"
    assert "for people" in err
