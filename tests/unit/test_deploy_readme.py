"""deploy/README.md: what it names is there, messages it explains are said, commands it gives can be run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
from manifestmaker import folders

from kmatrix.decide.read_matrix import read_matrix

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


def test_every_message_of_a_script_that_is_explained_is_said() -> None:
    rows = re.findall(r"^\| of `([\w-]+)`: `([^`]+)` \| ", section("When it does not work"), re.MULTILINE)
    assert {script for script, _ in rows} == {"build-in-cluster", "drain-mounted-nodes"}
    for script, words in rows:
        said = re.sub(r'" \\\n +"', " ", (ROOT / "deploy" / script).read_text(encoding="utf-8"))
        assert words in said, words


def test_every_folder_it_applies_is_rendered() -> None:
    named = set(re.findall(r"build/deploy/(\w+)/([a-z-]+)/([0-9.]+)", README))
    assert {way for _, way, _ in named} == set(folders())
    components = {path.name for path in (ROOT / "deploy" / "components").iterdir()}
    assert set(re.findall(r"components/([a-z-]+)", README)) <= components
    matrix = read_matrix((ROOT / "matrix.yaml").read_text(encoding="utf-8"))
    for profile, _, client in named:
        # 7.x is in no profile: a profile for it is made first.
        known = ["7.4.6"] if profile == "ocp7" else [str(version) for version in matrix.profile(profile).clients]
        assert client in known


def blocks() -> list[str]:
    """What stands indented by four or more, but tables of items."""
    found = re.findall(r"(?:^(?: {4,}\S.*)?\n)+", README, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found if block.strip()]


SHELL = [block for block in blocks() if "kustomization.yaml" not in block.splitlines()[0]]


def test_every_command_is_one_that_a_shell_reads() -> None:
    assert len(SHELL) >= 12
    for block in SHELL:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block
    for script in set(re.findall(r"\./deploy/([\w-]+)", README)):
        assert os.access(ROOT / "deploy" / script, os.X_OK), script


def test_the_drivers_affinity_loses_what_keeps_it_off_rhcos_and_nothing_else() -> None:
    (block,) = [block for block in SHELL if "patch beegfsdriver" in block]
    (text,) = re.findall(r"-p '(.*?)'", block, re.DOTALL)
    patch = json.loads(text)["spec"]
    assert patch == {
        f"nodeAffinity{service}Service": {"requiredDuringSchedulingIgnoredDuringExecution": None}
        for service in ("Node", "Controller")
    }


def test_every_link_within_it_leads_somewhere() -> None:
    titles = re.findall(r"^##+ (.+)$", README, re.MULTILINE)
    known = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= known


def test_the_scripts_wait_for_what_is_said() -> None:
    said = (ROOT / "images" / "beegfs-client" / "beegfs-node").read_text(encoding="utf-8")
    script = (ROOT / "deploy" / "drain-mounted-nodes").read_text(encoding="utf-8")
    (loaded,) = set(re.findall(r"""printf '%s' "(version )\$""", said))
    said = said.replace("$(describe_loaded)", loaded)
    for name in ("KEPT", "STAYS", "NO_MODULE", "OVER"):
        (words,) = re.findall(rf"^readonly {name}='(.+)'$", script, re.MULTILINE)
        for each in words.split("|"):
            assert each.replace(": ended$", "say 'ended'") in said, each


def test_every_setting_of_the_pods_is_in_the_images_table() -> None:
    images = ROOT / "images" / "beegfs-client"
    read = "\n".join((images / name).read_text(encoding="utf-8") for name in ("beegfs-node", "rebuild-module"))
    table = (images / "README.md").read_text(encoding="utf-8")
    # The image itself sets what is of its client.
    settings = {name for name in re.findall(r"\$\{(BEEGFS_\w+):-", read) if not name.startswith("BEEGFS_CLIENT_")}
    assert settings
    assert settings - set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set()
    assert set(re.findall(r"\bBEEGFS_\w+(?==)", README)) <= settings


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Changing the client version", "take it only where all pools run that release, on one RHEL line"),
        ("Upgrading the cluster", "Run it again after each upgrade"),
        ("Quick start", "takes away the folders of the others"),
        ("Quick start", "removes folders of other ways"),
        ("Quick start", "or with 2 if nothing is complete"),
        ("RHEL workers", "on all RHEL nodes at once"),
        ("From one way to another", "on all RHEL nodes at once"),
        ("7.x: profile and authentication", "./deploy/drain-mounted-nodes"),
    ],
)
def test_what_an_admin_would_not_expect_is_said(title: str, words: str) -> None:
    assert words in " ".join(section(title).split())
