"""The container engine is behind its interface: nobody else knows Docker, and another engine could take its place."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.docker import DockerEngine
from tests.unit.support.stand_in_engine import StandInEngine

ROOT = Path(__file__).parents[2]
OWN = ROOT / "scripts" / "kmatrix" / "effects" / "engine" / "docker"
# Reads Docker's credential file and asks its credential helpers; no engine.
CREDENTIALS = ROOT / "scripts" / "kmatrix" / "effects" / "registry" / "credentials.py"
# The classic builder's lines, and Docker's own words for parts of an image's inspection.
SPOKEN = ("---> ", "Step \\d", "returned a non-zero code", "RepoTags", "RepoDigests", "X-Registry-Auth")


def sources() -> list[Path]:
    return [path for folder in ("scripts/kmatrix", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]


def breaches(text: str) -> Iterator[str]:
    """Everything in a module by which it knows that the engine is Docker."""
    tree = ast.parse(text)
    documentation = {id(docstring) for node in ast.walk(tree) for docstring in _docstrings(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("api", "_api"):
            yield f"line {node.lineno}: .{node.attr}"
        elif isinstance(node, ast.Import):
            yield from (f"line {node.lineno}: {name.name}" for name in node.names if _is_docker(name.name))
        elif isinstance(node, ast.ImportFrom) and _is_docker(node.module or ""):
            yield f"line {node.lineno}: {node.module}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield from (f"line {node.lineno}: {word}" for word in SPOKEN if word in node.value)


def _docstrings(node: ast.AST) -> Iterator[ast.expr]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and isinstance(node.body[0] if node.body else None, ast.Expr):
        first = node.body[0]
        assert isinstance(first, ast.Expr)
        yield first.value


def _is_docker(module: str) -> bool:
    return module == "docker" or module.startswith("docker.")


def test_the_engine_s_own_package_alone_knows_docker() -> None:
    found = {
        str(path.relative_to(ROOT)): list(breaches(path.read_text(encoding="utf-8")))
        for path in sources()
        if not path.is_relative_to(OWN) and path != CREDENTIALS
    }
    assert {path: lines for path, lines in found.items() if lines} == {}
    known = {each.partition(": ")[2] for each in breaches(CREDENTIALS.read_text(encoding="utf-8"))}
    assert known == {"docker.auth"}


def test_tests_use_an_engine_by_its_interface_alone() -> None:
    """A test may have a client of its own, to watch the code under test; never the engine's."""
    reached = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests" / "integration").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (node.attr == "_api" or (node.attr == "api" and "engine" in ast.unparse(node.value).lower()))
    ]
    assert reached == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(engine):\n    return engine.api.info()",
        "import docker",
        "from docker.errors import NotFound",
        "def late():\n    import docker.auth",
        "STEP = 'Step \\\\d+'",
        "found['RepoTags']",
        "if 'returned a non-zero code: 2' in line: pass",
    ],
)
def test_the_rule_notices(text: str) -> None:
    assert len(list(breaches(text))) == 1


def test_the_rule_lets_documentation_pass() -> None:
    assert list(breaches('"""As Docker prints it: ---> RepoTags."""\nimport dockerfile\n')) == []


def members(kind: type) -> dict[str, Any]:
    return {
        name: value
        for each in reversed(kind.__mro__[:-1])
        if each.__module__.startswith(("kmatrix.", "tests."))
        for name, value in vars(each).items()
        if not name.startswith("_") or name in ("__enter__", "__exit__")
    }


@pytest.mark.parametrize("kind", [DockerEngine, StandInEngine])
def test_an_engine_has_every_member_of_the_interface_as_it_is_there(kind: type) -> None:
    """The type checker compares the types; here the names of arguments, their order and defaults are compared."""
    known = members(kind)
    for name, promised in members(Engine).items():
        if not inspect.isfunction(promised):
            continue
        found = inspect.signature(inspect.unwrap(known[name])).parameters.values()
        wanted = inspect.signature(promised).parameters.values()
        shape = [(each.name, each.kind, each.default) for each in wanted]
        assert [(each.name, each.kind, each.default) for each in found][: len(shape)] == shape, name


def test_every_promise_is_documented() -> None:
    assert [name for name, member in members(Engine).items() if not inspect.getdoc(member)] == []


def mounting(text: str) -> list[int]:
    """Return the lines of calls that give a container parts of this machine."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if any(keyword.arg == "mounts" for keyword in call.keywords)]


def test_the_lab_alone_mounts_parts_of_this_machine() -> None:
    """The engine that `DOCKER_HOST` names may be on another machine, which has other folders."""
    sources = sorted((ROOT / "scripts" / "kmatrix").rglob("*.py"))
    found = {path.parent.name for path in sources if mounting(path.read_text(encoding="utf-8"))}
    assert found == {"lab"}
