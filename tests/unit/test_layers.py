"""Imports run one way: values, decisions, effects, stages and lab, command line. Effects alone touch the world."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "scripts"
RANKS = {
    "values": 0,
    "decide": 1,
    "effects": 2,
    "stages": 3,
    "lab": 3,
    "commands": 4,
    "cli": 5,
    "__main__": 6,
    # Not a part of the package, so nothing in it may need it.
    "bench": 7,
}
EFFECTS_ALONE = {"docker", "requests", "urllib3", "subprocess", "socket", "http", "urllib.request", "asyncio"}


def layer(module: str) -> str:
    top, _, rest = module.partition(".")
    return "bench" if top == "bench" else rest.split(".")[0]


def imports(source: str, module: str, names: set[str]) -> Iterator[str]:
    """Return every module that a module imports, as a full name; `names` are those of this project."""
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
    """Return every import that the rule forbids, as `module imports module`."""
    found = []
    for module, text in sorted(sources.items()):
        for imported in sorted(set(imports(text, module, set(sources)))):
            own = imported.split(".")[0] in ("kmatrix", "bench")
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
    sources |= {name_of(path, ROOT): path.read_text(encoding="utf-8") for path in (ROOT / "bench").glob("*.py")}
    assert {layer(module) for module in sources} <= {"", *RANKS}
    assert breaches(sources) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("kmatrix.values.x", "from kmatrix.decide import plan"),
        ("kmatrix.values.x", "def late():\n    import kmatrix.effects.disk.files"),
        ("kmatrix.decide.x", "from ..effects.engine import Engine"),
        ("kmatrix.effects.x", "from kmatrix.stages.run import run_cells"),
        ("kmatrix.effects.x", "from kmatrix import commands"),
        ("kmatrix.stages.x", "from kmatrix.commands.build import build"),
        ("kmatrix.stages.x", "from kmatrix.lab import up"),
        ("kmatrix.lab.x", "from kmatrix.stages import run"),
        ("kmatrix.stages.x", "import requests"),
        ("kmatrix.lab.x", "import subprocess as s"),
        ("kmatrix.commands.x", "from docker.errors import APIError"),
        ("kmatrix.decide.x", "if True:\n    from socket import create_connection"),
        ("kmatrix.stages.x", "import urllib.request"),
        ("kmatrix.commands.x", "from bench.aims import judge"),
        ("bench.x", "import subprocess"),
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
    assert breaches({"kmatrix.effects.net.http": "", "kmatrix.values.names": "", module: text}) == []
