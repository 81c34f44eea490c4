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
import yaml

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.names import image_tag, without_arch
from tests.unit.support.json_patches import at, changes
from tests.unit.support.manifest_maker import folders, objects

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """What stands under a heading."""
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return str(found)


def programs(*names: str) -> str:
    """The text of what runs on a node."""
    found = [path for name in names for path in sorted((ROOT / "images" / "beegfs-client").glob(name))]
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


def functions(name: str) -> set[str]:
    paths = list((ROOT / "tests").rglob(name))
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
    said = programs("beegfs-node", "node-*", "rebuild-module")
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


def test_every_kustomization_can_be_read_and_its_patches_find_their_place() -> None:
    """`name?}` is no plain word in YAML, and a patch that finds nothing fails only where it is applied."""
    found = re.findall(r"^    # my-client/kustomization\.yaml\n((?:    .+\n)+)", README, re.MULTILINE)
    assert len(found) == len(re.findall(r"# my-client/kustomization", README)) == 4
    for block in found:
        stated = yaml.safe_load(block)
        assert set(stated) <= {"resources", "components", "patches"}
        for patch in stated.get("patches", ()):
            target = patch["target"]
            known = [each for folder in folders().values() for each in objects(folder).items()]
            meant = [it for (kind, name), it in known if kind == target["kind"] and re.fullmatch(target["name"], name)]
            assert meant
            for operation in yaml.safe_load(patch["patch"]):
                # `version` of a Module is a key that is not there yet.
                path = operation["path"].removesuffix("/version")
                assert all(changes({**operation, "path": path}, each) or at(each, path) for each in meant)


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
    said = programs("beegfs-node", "node-*")
    script = (ROOT / "deploy" / "drain-mounted-nodes").read_text(encoding="utf-8")
    (loaded,) = set(re.findall(r"""printf '%s' "(version )\$""", said))
    said = said.replace("$(describe_loaded)", loaded)
    for name in ("KEPT", "STAYS", "NO_MODULE", "OVER"):
        (words,) = re.findall(rf"^readonly {name}='(.+)'$", script, re.MULTILINE)
        for each in words.split("|"):
            assert each.replace(": ended$", "say 'ended'") in said, each


def test_every_setting_of_the_pods_is_in_the_images_table() -> None:
    images = ROOT / "images" / "beegfs-client"
    read = programs("beegfs-node", "node-*", "rebuild-module")
    table = (images / "README.md").read_text(encoding="utf-8")
    # The image itself sets what is of its client.
    settings = {name for name in re.findall(r"\$\{(BEEGFS_\w+):-", read) if not name.startswith("BEEGFS_CLIENT_")}
    assert settings
    assert settings - set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set()
    assert set(re.findall(r"\bBEEGFS_\w+(?==)", README)) <= settings


def test_nodes_are_labelled_with_the_label_that_kmm_reads() -> None:
    """GetModuleVersionLabelName, internal/utils/kmmlabels.go of rh-ecosystem-edge/kernel-module-management."""
    metadata = yaml.safe_load(folders()["kmm"]["module.yaml"])["metadata"]
    label = f"kmm.node.kubernetes.io/version-module.{metadata['namespace']}.{metadata['name']}"
    assert set(re.findall(r"kmm\.node\.kubernetes\.io/version-module[\w.-]*", README)) == {label}
    labelled = re.findall(rf"^ +oc label nodes? .*{re.escape(label)}=([0-9.]+)$", README, re.MULTILINE)
    applied = re.findall(r"^ +oc apply -k build/deploy/ocp/kmm/([0-9.]+)$", README, re.MULTILINE)
    assert set(labelled) == set(applied), "each version that is applied is one that nodes are labelled with"


@pytest.mark.parametrize("readme", ["README.md", "deploy/README.md"])
def test_the_tag_of_a_kernels_image_for_kmm_is_the_one_that_it_gets(readme: str) -> None:
    tag = image_tag(f"8.3.1-{without_arch('5.14.0-427.50.1.el9_4.x86_64', 'x86_64')}")
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert set(re.findall(r"`(8\.3\.1-5\.14[^`]*)`", text)) == {tag}


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Changing the client version", "take it only where all pools run that release, on one RHEL line"),
        ("Upgrading the cluster", "Run it again after each upgrade"),
        ("Quick start", "takes away the folders of the others"),
        ("Quick start", "removes folders of other ways"),
        ("Quick start", "or with 2 if nothing is complete"),
        ("Quick start", "new nodes need it too"),
        ("Changing the client version", "KMM refuses that (`cannot update to or from an empty version`)"),
        ("RHEL workers", "on all RHEL nodes at once"),
        ("From one way to another", "on all RHEL nodes at once"),
        ("7.x: profile and authentication", "./deploy/drain-mounted-nodes"),
    ],
)
def test_what_an_admin_would_not_expect_is_said(title: str, words: str) -> None:
    assert words in " ".join(section(title).split())
