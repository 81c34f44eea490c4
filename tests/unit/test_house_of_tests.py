"""The house of the tests: marks, and the READMEs that say which folders, fixtures and programs there are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
INTEGRATION = TESTS / "integration"
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
# Folders that do not bear on a question cost seconds to collect.
WITHOUT_OTHERS = [f"--ignore={path}" for path in INTEGRATION.glob("*/") if path.name not in ("aarch64", "engine")]


def rows(readme: Path, header: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column has this name, by the code in that column."""
    text = readme.read_text(encoding="utf-8")
    (table,) = re.findall(rf"^\| {header} \|.*\n\| -.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in str(table).splitlines()]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def fixtures(module: Path) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Yield every fixture of a module, with its scope."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            call = mark.func if isinstance(mark, ast.Call) else mark
            if isinstance(node, ast.FunctionDef) and ast.unparse(call) == "pytest.fixture":
                words = {word.arg: word.value for word in mark.keywords} if isinstance(mark, ast.Call) else {}
                yield node, str(ast.literal_eval(words["scope"])) if "scope" in words else "function"


def folders(parent: Path) -> set[str]:
    return {f"{path.name}/" for path in parent.iterdir() if path.is_dir() and path.name != "__pycache__"}


@pytest.mark.parametrize(
    ("folder", "marks"), [("tests/integration", "not engine"), ("tests/unit/test_names.py", "engine")]
)
def test_exactly_the_integration_tests_are_marked_as_needing_the_engine(folder: str, marks: str) -> None:
    done = subprocess.run([*COLLECT, "-m", marks, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout
    assert " deselected" in done.stdout


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        (("tests/integration",), True),
        (("tests/integration", "-n", "1"), True),
        (("tests/integration", "-m", "aarch64"), False),
        (("tests/integration/aarch64/test_both_architectures.py",), False),
        (("tests/unit/test_names.py",), False),
    ],
)
def test_tests_of_aarch64_are_left_out_with_a_note_unless_they_are_named(
    given: tuple[str, ...], left_out: bool
) -> None:
    done = subprocess.run([*COLLECT, *WITHOUT_OTHERS, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert ("aarch64: deselected; `nox -s tests -- --arch aarch64` runs these tests" in done.stdout) == left_out
    if "-n" not in given:
        named = any("integration" in word for word in given)
        assert ("test_both_architectures.py::" in done.stdout) == (named and not left_out)


def test_auto_is_one_worker_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    command = [sys.executable, "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider", "tests/unit/test_names.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"\n{len(os.sched_getaffinity(0)) + 1} workers [" in done.stdout, done.stdout + done.stderr


def test_the_table_of_fixtures_is_complete() -> None:
    shared, own = INTEGRATION / "conftest.py", INTEGRATION / "entrypoint" / "conftest.py"
    assert sorted(INTEGRATION.rglob("conftest.py")) == [shared, own], "a new conftest.py is to be in the table"
    known = {node.name: scope for path in (shared, own) for node, scope in fixtures(path)}
    assert {name: cells[0] for name, cells in rows(INTEGRATION / "README.md", "fixture").items()} == known


@pytest.mark.parametrize("folder", [TESTS, INTEGRATION])
def test_the_table_of_folders_is_complete(folder: Path) -> None:
    assert set(rows(folder / "README.md", "folder")) == folders(folder)


def test_every_program_that_a_test_needs_is_named() -> None:
    text = (TESTS / "README.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (TESTS / "unit").rglob("*.py")]
    calls = [call for source in sources for call in re.findall(r"\bneeds\((\".*?)\)", source)]
    needed = {program for call in calls for program in re.findall(r'"([\w.-]+)"', call)}
    assert needed
    assert {program for program in needed if f"`{program}`" not in text} == set()


@pytest.mark.parametrize(
    "module", [*INTEGRATION.rglob("*.py"), TESTS / "unit" / "conftest.py"], ids=lambda path: path.name
)
def test_every_fixture_has_a_docstring(module: Path) -> None:
    assert [node.name for node, _ in fixtures(module) if not ast.get_docstring(node)] == []


def test_no_two_modules_of_tests_have_one_name() -> None:
    """With pytest's default import mode one of them would not be collected."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
