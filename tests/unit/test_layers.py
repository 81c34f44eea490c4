"""Imports run one way: values, decisions, effects, stages and lab, command line. What touches the world is effects'."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "scripts"
RANKS = {
    "values": 0,
    "decide": 1,
    "effects": 2,
    "stages": 3,
    "lab": 3,
    "commands": 4,
    "bench": 4,
    "cli": 5,
    "__main__": 6,
}
EFFECTS_ALONE = {"docker", "requests", "urllib3", "subprocess", "socket", "http", "urllib.request", "asyncio"}


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(source: str, module: str, names: set[str]) -> Iterator[str]:
    """Every module that a module imports, as a full name; `names` are those of this project."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parent, *((node.module or "").split(".") if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base


def name_of(path: Path, source: Path = SOURCE) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def breaches(sources: dict[str, str]) -> list[str]:
    """Every import that the rule forbids, as `module imports module`."""
    found = []
    for module, text in sorted(sources.items()):
        for imported in sorted(set(imports(text, module, set(sources)))):
            own = imported.split(".")[0] == "kmatrix"
            up = own and layer(module) and RANKS[layer(imported)] > RANKS[layer(module)]
            across = own and {layer(module), layer(imported)} == {"stages", "lab"}
            outward = layer(module) != "effects" and any(
                imported == name or imported.startswith(f"{name}.") for name in EFFECTS_ALONE
            )
            if up or across or outward:
                found.append(f"{module} imports {imported}")
    return found


def test_imports_run_one_way_and_effects_alone_touch_the_world() -> None:
    sources = {name_of(path): path.read_text(encoding="utf-8") for path in (SOURCE / "kmatrix").rglob("*.py")}
    assert {layer(module) for module in sources} <= {"", *RANKS}
    assert breaches(sources) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("kmatrix.values.x", "from kmatrix.decide import plan"),
        ("kmatrix.values.x", "def late():\n    import kmatrix.effects.files"),
        ("kmatrix.decide.x", "from ..effects.engine import Engine"),
        ("kmatrix.effects.x", "from kmatrix.stages.run import run_cells"),
        ("kmatrix.effects.x", "from kmatrix import commands"),
        ("kmatrix.stages.x", "from kmatrix.commands.cells import build"),
        ("kmatrix.stages.x", "from kmatrix.lab import up"),
        ("kmatrix.lab.x", "from kmatrix.stages import run"),
        ("kmatrix.stages.x", "import requests"),
        ("kmatrix.lab.x", "import subprocess as s"),
        ("kmatrix.commands.x", "from docker.errors import APIError"),
        ("kmatrix.decide.x", "if True:\n    from socket import create_connection"),
        ("kmatrix.stages.x", "import urllib.request"),
    ],
)
def test_the_rule_notices(module: str, text: str) -> None:
    others = ("kmatrix.commands", "kmatrix.lab.up", "kmatrix.stages.run", "kmatrix.decide.plan")
    assert len(breaches({**dict.fromkeys(others, ""), module: text})) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("kmatrix.decide.x", "from kmatrix.values import names\nfrom urllib.parse import urlsplit"),
        ("kmatrix.effects.x", "import docker\nfrom . import http"),
        ("kmatrix.stages.x", "from kmatrix.decide.plan import make_plan"),
    ],
)
def test_the_rule_lets_pass(module: str, text: str) -> None:
    assert breaches({"kmatrix.effects.http": "", "kmatrix.values.names": "", module: text}) == []
