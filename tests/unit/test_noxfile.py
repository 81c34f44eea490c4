"""`nox -s NAME` ends with the exit code of the command, as the README's table has it.

nox makes 1 of every command that fails (nox/tasks.py, `final_reduce`), and 130 of an interruption (nox/workflow.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# Stands in for the package `kmatrix`: ends with the code it is given, by the signal it is given, or waits.
STAND_IN = """
import os, signal, sys
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
    environment = {**own, "PATH": BIN, "PYTHONPATH": str(package)}
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


def test_a_profile_that_is_not_there_ends_with_the_code_of_usage(project: Path) -> None:
    code, out, err = ended(project, ROOT / "scripts", "-s", "plan", "--", "--profile", "nowhere")
    assert code == 2, out + err
    assert "nowhere" in out + err


@pytest.mark.parametrize(
    ("session", "wanted"), [("build", 0), ("build", 3), ("bundle", 1), ("manifests", 4), ("verify", 130), ("bench", 2)]
)
def test_every_code_is_handed_on(project: Path, stand_in: Path, session: str, wanted: int) -> None:
    code, out, err = ended(project, stand_in, "-s", session, "--", f"code={wanted}")
    assert code == wanted, out + err


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
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=60)
    assert run.returncode == 130
