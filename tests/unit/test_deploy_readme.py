"""deploy/README.md: the tests it names are there, the messages it explains are said, its tables are complete."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from manifestmaker import folders

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands under a heading."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def functions(name: str) -> set[str]:
    paths = [path for path in (ROOT / "tests").rglob(name) if path.parent.name in {"unit", "integration"}]
    assert len(paths) == 1, f"{name}: {paths}"
    tree = ast.parse(paths[0].read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(test_\w+\.py::\w+)`", README))))
def test_every_test_that_is_named_exists(named: str) -> None:
    file, _, function = named.partition("::")
    assert function in functions(file)


def test_every_behaviour_and_every_defect_is_in_the_tables() -> None:
    rows = re.findall(r"^\| (\w+) \| (.+) \|$", section("What became of the vendor's experimental manifests"), re.M)
    assert [number for number, _ in rows] == [*(str(number) for number in range(1, 14)), *"abcdefghijklmn"]
    assert [number for number, text in rows if "::" not in text] == ["12"]


def test_every_message_that_is_explained_is_said() -> None:
    said = "\n".join(
        (ROOT / "images" / "beegfs-client" / name).read_text(encoding="utf-8")
        for name in ("beegfs-node", "rebuild-module")
    )
    # Rows that begin with a word are of what the cluster says.
    messages = re.findall(r"^\| (`.+?) \| ", section("When it does not work"), re.MULTILINE)
    assert len(messages) >= 10
    for message in messages:
        for words in re.findall(r"`([^`]+)`", message):
            assert words in said, words


def test_every_folder_it_applies_is_rendered() -> None:
    ways = set(re.findall(r"\$D/([a-z-]+)/[0-9.]+", README))
    assert ways == set(folders())
