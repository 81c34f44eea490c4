"""The admin's guide: tests and files it names exist, messages it explains are printed, its commands can be run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess

import pytest
import yaml

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.names import image_tag, without_arch
from tests.unit.support.documents import ADMIN_GUIDE, ROOT, code_blocks, section, text_of
from tests.unit.support.json_patches import at, changes
from tests.unit.support.manifest_maker import folders, objects

README = "deploy/README.md"
TROUBLES = "docs/troubleshooting.md"
VENDOR = "docs/vendor-manifests.md"
GUIDE = text_of(*ADMIN_GUIDE)


def programs(*names: str) -> str:
    """Return the text of the programs that run on a node."""
    found = [path for name in names for path in sorted((ROOT / "images" / "beegfs-client").glob(name))]
    return "\n".join(path.read_text(encoding="utf-8") for path in found)


def functions(name: str) -> set[str]:
    paths = list((ROOT / "tests").rglob(name))
    assert len(paths) == 1, f"{name}: {paths}"
    tree = ast.parse(paths[0].read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(test_\w+\.py::\w+)`", GUIDE))))
def test_every_test_that_is_named_exists(named: str) -> None:
    file, _, function = named.partition("::")
    assert function in functions(file)


def test_every_behaviour_and_every_defect_is_in_the_tables() -> None:
    rows = re.findall(r"^\| (\w+) \| (.+) \|$", text_of(VENDOR), re.M)
    assert [number for number, _ in rows] == [*(str(number) for number in range(1, 14)), *"abcdefghijklmn"]
    assert [number for number, text in rows if "::" not in text] == ["12"]


def test_every_message_that_is_explained_is_said() -> None:
    said = programs("beegfs-node", "node-*", "rebuild-module")
    # Rows that begin with a word are about the output of the cluster itself.
    messages = re.findall(r"^\| (`.+?) \| ", text_of(TROUBLES), re.MULTILINE)
    assert len(messages) >= 10
    frequent = re.findall(r"^\| (`.+?) \| ", section(README, "Troubleshoot"), re.MULTILINE)
    assert frequent
    assert set(frequent) <= set(messages), "the page of all messages has the most frequent ones too"
    for message in messages:
        for words in re.findall(r"`([^`]+)`", message):
            assert words in said, words


def test_the_expected_output_of_info_has_the_names_that_it_prints() -> None:
    named = re.findall(r"`([a-z ]+:)[^`]*`", section(README, "Verify"))
    assert len(named) >= 5
    info = programs("beegfs-node").partition("\ninfo() {")[2].partition("\n}\n")[0]
    assert [name for name in named if f'"{name} ' not in info and f"'{name} " not in info] == []


def test_every_message_of_a_script_that_is_explained_is_said() -> None:
    rows = re.findall(r"^\| of `([\w-]+)`: `([^`]+)` \| ", text_of(TROUBLES), re.MULTILINE)
    assert {script for script, _ in rows} == {"build-in-cluster", "can-upgrade", "drain-mounted-nodes"}
    for script, words in rows:
        said = re.sub(r'" \\\n +"', " ", (ROOT / "deploy" / script).read_text(encoding="utf-8"))
        assert words in said, words


def test_every_folder_it_applies_is_rendered() -> None:
    named = set(re.findall(r"build/deploy/(\w+)/([a-z-]+)/([0-9.]+)", GUIDE))
    assert {way for _, way, _ in named} == set(folders())
    components = {path.name for path in (ROOT / "deploy" / "components").iterdir()}
    assert set(re.findall(r"components/([a-z-]+)", GUIDE)) <= components
    matrix = read_matrix((ROOT / "matrix.yaml").read_text(encoding="utf-8"))
    for profile, _, client in named:
        # 7.x is in no profile: a profile for it is made first.
        known = ["7.4.6"] if profile == "ocp7" else [str(version) for version in matrix.profile(profile).clients]
        assert client in known


SHELL = [block for block in code_blocks(ADMIN_GUIDE) if "kustomization.yaml" not in block.splitlines()[0]]


def test_every_command_is_one_that_a_shell_reads() -> None:
    assert len(SHELL) >= 12
    for block in SHELL:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block
    for script in set(re.findall(r"(?<!\.)\./deploy/([\w-]+)", GUIDE)):
        assert os.access(ROOT / "deploy" / script, os.X_OK), script


def test_every_kustomization_can_be_read_and_its_patches_find_their_place() -> None:
    """`name?}` is no plain word in YAML, and a patch that finds nothing fails only where it is applied."""
    found = re.findall(r"^    # my-client/kustomization\.yaml\n((?:    .+\n)+)", GUIDE, re.MULTILINE)
    assert len(found) == len(re.findall(r"# my-client/kustomization", GUIDE)) == 4
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
    # The image itself sets those of its client.
    settings = {name for name in re.findall(r"\$\{(BEEGFS_\w+):-", read) if not name.startswith("BEEGFS_CLIENT_")}
    assert settings
    assert settings - set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set()
    assert set(re.findall(r"\bBEEGFS_\w+(?==)", GUIDE)) <= settings


def test_nodes_are_labelled_with_the_label_that_kmm_reads() -> None:
    """GetModuleVersionLabelName, internal/utils/kmmlabels.go of rh-ecosystem-edge/kernel-module-management."""
    metadata = yaml.safe_load(folders()["kmm"]["module.yaml"])["metadata"]
    label = f"kmm.node.kubernetes.io/version-module.{metadata['namespace']}.{metadata['name']}"
    assert set(re.findall(r"kmm\.node\.kubernetes\.io/version-module[\w.-]*", GUIDE)) == {label}
    labelled = re.findall(rf"^ +oc label nodes? .*{re.escape(label)}=([0-9.]+)$", GUIDE, re.MULTILINE)
    applied = re.findall(r"^ +oc apply -k build/deploy/ocp/kmm/([0-9.]+)$", GUIDE, re.MULTILINE)
    assert set(labelled) == set(applied), "each version that is applied is one that nodes are labelled with"


@pytest.mark.parametrize("page", ["docs/publishing.md", "docs/kmm.md"])
def test_the_tag_of_a_kernels_image_for_kmm_is_the_one_that_it_gets(page: str) -> None:
    tag = image_tag(f"8.3.1-{without_arch('5.14.0-427.50.1.el9_4.x86_64', 'x86_64')}")
    assert set(re.findall(r"`(8\.3\.1-5\.14[^`]*)`", text_of(page))) == {tag}


@pytest.mark.parametrize(
    ("page", "title", "words"),
    [
        ("docs/in-cluster-build.md", "GitOps, or plain `oc apply -k`", "take it only where all pools run that release"),
        ("docs/upgrade.md", "Upgrade the cluster", "Run it again after each upgrade"),
        (README, "Upgrade", "Run `build-in-cluster` again after each upgrade"),
        (README, "Upgrade", "the node must be drained"),
        (README, "Install", "removes the folders of the others"),
        (README, "Install", "removes folders of other methods"),
        (README, "Install", "or with 2 if nothing is complete"),
        (README, "Install", "new nodes need it too"),
        ("docs/kmm.md", "Without a version", "KMM refuses that (`cannot update to or from an empty version`)"),
        ("docs/rhel-workers.md", "RHEL workers", "on all RHEL nodes at once"),
        ("docs/upgrade.md", "Change the deployment method", "on all RHEL nodes at once"),
        (README, "BeeGFS 7.x", "./deploy/drain-mounted-nodes"),
        (README, "Security", "let nobody else create pods in the namespace"),
        ("docs/publishing.md", "Images for Kernel Module Management", "clean-up must keep every manifest that a list"),
    ],
)
def test_the_guide_warns_of_the_unexpected(page: str, title: str, words: str) -> None:
    assert words in " ".join(section(page, title).split())


@pytest.mark.parametrize("script", ["build-in-cluster", "drain-mounted-nodes"])
def test_the_sections_that_scripts_name_exist(script: str) -> None:
    text = (ROOT / "deploy" / script).read_text(encoding="utf-8")
    named = re.findall(r"\(deploy/README\.md, ([^)]+)\)", text)
    assert named
    for title in named:
        assert section(README, title)
