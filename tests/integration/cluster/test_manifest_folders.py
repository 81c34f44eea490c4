"""The command `manifests`: every folder it writes is one that kubectl accepts, whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import textwrap
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.cli import main
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.disk.bundles import write_bundles
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.errors import Exit
from kmatrix.values.lock import KernelPin, Lock, ProfileLock, ReleasePin, inputs_digest, read_lock, write_lock
from kmatrix.values.names import ClientVersion, ImageRef, ReleaseVersion
from tests.unit.support.documents import ADMIN_GUIDE, text_of
from tests.unit.support.schemas import CORE, OPENSHIFT, VERSIONS, core_faults, other_faults
from tests.unit.test_render import FINGERPRINT, KERNELS, client_pin, digest

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = ("7.4.6", "8.2.2")
RELEASE, RHEL, KERNEL = KERNELS["el9"]
REPOSITORY = "registry.example/team/beegfs-client"
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmade up\n-----END PGP PUBLIC KEY BLOCK-----\n"
MATRIX = f"""
schema: 1
default_profile: here
profiles:
  here:
    about: a profile for tests
    graph: https://graph.example/graph
    packages: packages
    key_fingerprint: {FINGERPRINT}
    base: registry.example/base/minimal:latest
    base_line: el9
    target: registry.example/team
    channels: [{{name: stable-4.16}}]
    arches: [x86_64]
    flavours: [standard, rt]
    clients: [{", ".join(CLIENTS)}]
    max_unavailable: 10%
"""
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")


def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False, timeout=60)


def kustomized(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What kubectl would apply, by kind and name."""
    done = kubectl("kustomize", str(folder))
    assert (done.returncode, done.stderr) == (0, ""), f"{folder}: {done.stderr}"
    made = [document for document in yaml.safe_load_all(done.stdout) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in made}


@cache
def knows_components() -> bool:
    """Whether kubectl's kustomize has Components: kubectl 1.21 and newer, every supported oc."""
    version = json.loads(kubectl("version", "--client", "--output=json").stdout)["clientVersion"]
    return (int(version["major"]), int(version["minor"].rstrip("+"))) >= (1, 21)


def bundle(client: str, **changes: Any) -> BundleResult:
    made = BundleResult(
        client=client,
        image=f"{REPOSITORY}:{client}",
        verdict="passed",
        reason="booted with each kernel",
        digest=digest("b"),
        kernels=(KERNEL,),
        arches=("x86_64",),
        images=(BundleImage("x86_64", digest("b"), 1, {KERNEL: 1}, 1),),
        modules={KERNEL: f"{REPOSITORY}@{digest(client[0])}"},
    )
    return replace(made, **changes)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose bundle command has run, as far as its file says."""
    for name in ("GRAPH", "PACKAGES", "TARGET", "LOCK", "MIRRORS", "PROFILE", "ROOT", "BASE", "KEY_FINGERPRINT"):
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = tmp_path / "project"
    for folder in ("deploy", "images"):
        shutil.copytree(ROOT / folder, root / folder)
    (root / "matrix.yaml").write_text(MATRIX)
    profile = read_matrix(MATRIX).profile("here")
    pins = []
    for client in profile.clients:
        pin = client_pin(client, "el9")
        key = pin.key.model_copy(update={"sha256": hashlib.sha256(KEY.encode()).hexdigest()})
        pins.append(pin.model_copy(update={"key": key}))
        path = root / "packages" / client.repository_directory / key.location
        path.parent.mkdir(parents=True)
        path.write_text(KEY)
    lock = ProfileLock(
        inputs=inputs_digest(profile),
        base=ImageRef.parse(f"registry.example/base/minimal@{digest('a')}"),
        releases=(
            ReleasePin(
                version=ReleaseVersion.parse(RELEASE),
                arch="x86_64",
                channels=("stable-4.16",),
                payload=ImageRef.parse(f"registry.example/release@{digest('c')}"),
                toolkit=ImageRef.parse(f"registry.example/toolkit@{digest('d')}"),
                rhel=RHEL,
                kernels=(KernelPin(release=KERNEL, flavour="rt"),),
            ),
        ),
        clients=tuple(pins),
    )
    (root / "matrix.lock").write_text(write_lock(Lock().with_profile("here", lock)))
    write_file(root, [bundle(client) for client in CLIENTS])
    return root


def write_file(root: Path, bundles: list[BundleResult], profile: str = "here") -> None:
    """What `bundle` leaves; of `build` nothing is needed, which may have run on another machine."""
    write_bundles(root / "build" / "bundles.json", profile, bundles)


def run(root: Path, *arguments: str) -> int:
    return main(["manifests", "--root", str(root), *arguments])


def rendered(folder: Path) -> list[Path]:
    """Every folder that can be applied."""
    return sorted(path.parent for path in folder.glob("*/*/kustomization.yaml") if path.parts[-3] != "components")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_kubectl
def test_kubectl_accepts_every_folder_and_the_cluster_every_field(project: Path) -> None:
    assert run(project) == Exit.OK
    found = rendered(project / "build" / "deploy" / "here")
    ways = ("in-cluster-build", "in-cluster-build-rhel-workers", "kmm", "prebuilt")
    assert [f"{path.parent.name}/{path.name}" for path in found] == [f"{way}/{c}" for way in ways for c in CLIENTS]
    for folder in found:
        documents = kustomized(folder)
        assert ("DaemonSet", "beegfs-client") in documents
        for (kind, _), document in documents.items():
            if kind == "DaemonSet":
                assert document["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}
            if kind in CORE:
                assert [fault for version in VERSIONS for fault in core_faults(document, version)] == []
            elif OPENSHIFT.is_file():
                assert other_faults(document) == []


@needs_kubectl
@pytest.mark.parametrize("way", ["prebuilt", "kmm", "in-cluster-build", "in-cluster-build-rhel-workers"])
@pytest.mark.parametrize(
    "component", ["helperd-without-authentication", "off-mofed-nodes", "privileged", "unload-on-stop"]
)
def test_a_component_changes_what_it_says_and_nothing_else(project: Path, way: str, component: str) -> None:
    if not knows_components():
        pytest.skip("this kubectl is older than 1.21: its kustomize has no Components")
    assert run(project, "--client", "7.4.6") == Exit.OK
    deploy = project / "build" / "deploy" / "here"
    own = project / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text(
        f"resources: [../build/deploy/here/{way}/7.4.6]\ncomponents: [../build/deploy/here/components/{component}]\n"
    )
    before, after = kustomized(deploy / way / "7.4.6"), kustomized(own)
    names = ["beegfs-client", *(["beegfs-client-rhel"] if way.endswith("rhel-workers") else [])]
    assert [name for kind, name in before if kind == "DaemonSet"] == names
    for name in names:
        old, new = (known.pop(("DaemonSet", name)) for known in (before, after))
        assert core_faults(new, VERSIONS[0]) == []
        (was,), (now,) = (each["spec"]["template"]["spec"]["containers"] for each in (old, new))
        if component == "privileged":
            assert before.pop(("SecurityContextConstraints", name))
            (rule,) = after.pop(("Role", name))["rules"]
            assert rule["resourceNames"] == ["privileged"]
            before.pop(("Role", name))
            annotations = new["spec"]["template"]["metadata"]["annotations"]
            assert annotations.pop("openshift.io/required-scc") == "privileged"
            old["spec"]["template"]["metadata"]["annotations"].pop("openshift.io/required-scc")
            # dnf of RHEL workers writes the root, privileged or not.
            read_only = name == "beegfs-client"
            wanted = {"privileged": True, "runAsUser": 0, "runAsNonRoot": False, "readOnlyRootFilesystem": read_only}
            assert now.pop("securityContext") == wanted
            was.pop("securityContext")
            assert old["spec"]["template"]["spec"]["securityContext"].pop("seLinuxOptions")
        elif component == "off-mofed-nodes":
            label = {"key": "network.nvidia.com/operator.mofed.wait", "operator": "DoesNotExist"}
            assert expressions(new).pop() == label
        elif component == "unload-on-stop":
            command = ["/usr/local/sbin/beegfs-node", "unload"]
            assert now.pop("lifecycle") == {"preStop": {"exec": {"command": command}}}
        else:
            (setting,) = [entry for entry in now["env"] if entry["name"] == "BEEGFS_HELPERD_AUTH"]
            assert setting["value"] == "disabled"
            setting["value"] = "secret"
            assert by_name(now["env"]) == by_name(was["env"])
            now["env"] = was["env"]
        assert new == old
    assert after == before


def expressions(daemonset: dict[str, Any]) -> list[dict[str, Any]]:
    """What a node must be for a DaemonSet's pods."""
    affinity = daemonset["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found: list[dict[str, Any]] = term["matchExpressions"]
    return found


def by_name(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: str(entry["name"]))


def test_images_are_what_the_bundles_say(project: Path) -> None:
    assert run(project) == Exit.OK
    deploy = project / "build" / "deploy" / "here"
    for client in CLIENTS:
        daemonset = yaml.safe_load((deploy / "prebuilt" / client / "daemonset.yaml").read_text())
        (only,) = daemonset["spec"]["template"]["spec"]["containers"]
        assert only["image"] == f"{REPOSITORY}@{digest('b')}"
        module = yaml.safe_load((deploy / "kmm" / client / "module.yaml").read_text())
        assert module["spec"]["moduleLoader"]["container"]["kernelMappings"] == [
            {"literal": KERNEL, "containerImage": f"{REPOSITORY}@{digest(client[0])}"}
        ]
        files = yaml.safe_load((deploy / "in-cluster-build" / client / "files.yaml").read_text())["data"]
        assert files["package-key"] == KEY
        assert files["beegfs-node"] == (ROOT / "images" / "beegfs-client" / "beegfs-node").read_text()


def test_a_build_in_the_cluster_fetches_with_nothing_that_the_toolkit_lacks(project: Path) -> None:
    assert run(project, "--way", "in-cluster-build") == Exit.OK
    for folder in rendered(project / "build" / "deploy" / "here"):
        config = yaml.safe_load((folder / "buildconfig.yaml").read_text())
        files = yaml.safe_load((folder / "files.yaml").read_text())["data"]
        assert files["fetch-packages"].startswith("#!/usr/bin/env python3\n")
        for text in (config["spec"]["source"]["dockerfile"], *files.values()):
            assert not re.search(r"\b(wget|curl)\b", text)


@needs_kubectl
def test_the_kustomizations_of_the_guide_are_as_it_says(project: Path) -> None:
    if not knows_components():
        pytest.skip("this kubectl is older than 1.21: its kustomize has no Components")
    assert run(project) == Exit.OK
    guide = text_of(*ADMIN_GUIDE)
    found = re.findall(r"^    # my-client/kustomization\.yaml.*\n((?:    .+\n)+)", guide, re.MULTILINE)
    made = []
    for number, block in enumerate(found):
        own = project / f"own-{number}"
        own.mkdir()
        text = re.sub(r"build/deploy/\w+/", "build/deploy/here/", textwrap.dedent(block)).replace("8.3.1", "8.2.2")
        (own / "kustomization.yaml").write_text(text)
        made.append(kustomized(own))
    open_, at_once, kept_off, off_mofed = made
    assert "version" not in at_once["Module", "beegfs"]["spec"]["moduleLoader"]["container"]
    added = {"key": "beegfs-client", "operator": "NotIn", "values": ["off"]}
    assert expressions(kept_off["DaemonSet", "beegfs-client"])[-1] == added
    label = {"key": "network.nvidia.com/operator.mofed.wait", "operator": "DoesNotExist"}
    assert expressions(off_mofed["DaemonSet", "beegfs-client"])[-1] == label
    (only,) = open_["DaemonSet", "beegfs-client"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "BEEGFS_HELPERD_AUTH", "value": "disabled"} in only["env"]


def test_again_is_the_same_and_what_is_not_asked_for_goes_and_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = project / "build" / "deploy" / "here"
    assert run(project) == Exit.OK
    before = content(deploy)
    assert run(project) == Exit.OK
    assert content(deploy) == before
    assert run(project, "--client", "8.2.2", "--way", "prebuilt") == Exit.OK
    assert [path.relative_to(deploy).as_posix() for path in rendered(deploy)] == ["prebuilt/8.2.2"]
    assert "removed prebuilt/7.4.6, which was not asked for" in capsys.readouterr().err
    assert [path.name for path in deploy.parent.iterdir()] == ["here"], "something temporary is left"


def test_what_fails_leaves_the_folder_as_it_was(project: Path) -> None:
    deploy = project / "build" / "deploy" / "here"
    assert run(project) == Exit.OK
    before = content(deploy)
    (project / "deploy" / "kmm" / "module.yaml.j2").write_text("{{ nothing }}")
    assert run(project) == Exit.USAGE
    assert content(deploy) == before


def test_a_folder_of_somebody_elses_is_not_replaced(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("mine")
    assert run(project, "--out", str(other)) == Exit.USAGE
    assert content(other) == {"precious": b"mine"}
    (other / "precious").unlink()
    assert run(project, "--out", str(other)) == Exit.OK
    assert rendered(other)


@pytest.mark.parametrize(
    ("bundles", "profile", "says"),
    [
        ([], "here", "has no bundle of client 8.2.2"),
        ([bundle(client) for client in CLIENTS], "elsewhere", "has no bundle of client 7.4.6"),
        ([bundle("8.2.2", verdict="failed", reason="kernel panic", digest="")], "here", "8.2.2: failed: kernel panic"),
        ([bundle("8.2.2", digest="")], "here", "client 8.2.2"),
    ],
)
def test_without_any_bundle_it_writes_nothing_and_says_how_to_get_one(
    project: Path, capsys: pytest.CaptureFixture[str], bundles: list[BundleResult], profile: str, says: str
) -> None:
    # Bundles of the profile that are known already would stay.
    (project / "build" / "bundles.json").unlink(missing_ok=True)
    write_file(project, bundles, profile)
    assert run(project, "--way", "prebuilt", "--way", "kmm") == Exit.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert "nox -s bundle -- --profile here" in said
    assert "--way in-cluster-build" in said
    assert not (project / "build" / "deploy").exists()


def test_a_client_without_a_bundle_keeps_no_other_back_and_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(project, [bundle("7.4.6"), bundle("8.2.2", verdict="errored", reason="no boot", digest="")])
    assert run(project) == Exit.FAILED
    written = rendered(project / "build" / "deploy" / "here")
    complete = {f"{path.parent.name}/{path.name}" for path in written}
    ways = ("in-cluster-build", "in-cluster-build-rhel-workers")
    assert complete == {"prebuilt/7.4.6", "kmm/7.4.6", *(f"{way}/{client}" for way in ways for client in CLIENTS)}
    told = capsys.readouterr()
    for way in ("prebuilt", "kmm"):
        assert f"not written: {way}/8.2.2: build/bundles.json says of client 8.2.2: errored: no boot\n" in told.err
    assert "nox -s bundle -- --profile here" in told.err
    assert "8.2.2" not in "".join(line for line in told.out.splitlines() if "in-cluster" not in line)


def test_a_client_without_packages_keeps_no_other_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = read_lock((project / "matrix.lock").read_text(), "matrix.lock")
    pins = lock.profiles["here"]
    fewer = pins.model_copy(update={"clients": pins.clients[:1]})
    (project / "matrix.lock").write_text(write_lock(lock.with_profile("here", fewer)))
    assert run(project, "--way", "in-cluster-build") == Exit.FAILED
    written = rendered(project / "build" / "deploy" / "here")
    assert {path.name for path in written} == {CLIENTS[0]}
    said = capsys.readouterr().err
    for way in ("in-cluster-build", "in-cluster-build-rhel-workers"):
        assert f"not written: {way}/8.2.2: matrix.lock has no packages of client 8.2.2\n" in said
    assert "nox -s discover -- --profile here" in said


def test_a_key_that_is_not_the_pinned_one_keeps_only_its_builds_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in (path for path in (project / "packages").rglob("*") if path.is_file()):
        key.write_text("another key")
    assert run(project) == Exit.FAILED
    written = {f"{path.parent.name}/{path.name}" for path in rendered(project / "build" / "deploy" / "here")}
    assert written == {f"{way}/{client}" for way in ("prebuilt", "kmm") for client in CLIENTS}
    assert "not written: in-cluster-build/8.2.2: " in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_again_stays_as_it_was(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deploy = project / "build" / "deploy" / "here"
    assert run(project) == Exit.OK
    before = content(deploy / "prebuilt" / "8.2.2")
    write_file(project, [bundle("7.4.6", digest=digest("e"))])
    assert run(project) == Exit.FAILED
    assert content(deploy / "prebuilt" / "8.2.2") == before
    assert digest("e") in (deploy / "prebuilt" / "7.4.6" / "daemonset.yaml").read_text()
    said = capsys.readouterr().err
    assert "not written: prebuilt/8.2.2" in said
    assert "what an earlier run wrote is kept" in said


def test_an_in_cluster_build_needs_no_bundle(project: Path) -> None:
    (project / "build" / "bundles.json").unlink()
    assert run(project, "--way", "in-cluster-build") == Exit.OK


@pytest.mark.parametrize("modules", [{}, {"5.14.0-another.el9.x86_64": f"{REPOSITORY}@{digest('8')}"}])
def test_kmm_is_told_an_image_for_every_kernel_or_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], modules: dict[str, str]
) -> None:
    write_file(project, [bundle("7.4.6"), bundle("8.2.2", modules=modules)])
    assert run(project) == Exit.FAILED
    said = capsys.readouterr().err
    why = f"build/bundles.json names no image for Kernel Module Management of 8.2.2-{KERNEL}; run `nox -s bundle` again"
    assert f"not written: kmm/8.2.2: {why}\n" in said
    assert "prebuilt" not in said
    deploy = project / "build" / "deploy" / "here"
    assert (deploy / "kmm" / "7.4.6").is_dir()
    assert not (deploy / "kmm" / "8.2.2").exists()
    assert (deploy / "prebuilt" / "8.2.2").is_dir()


def test_a_client_the_matrix_does_not_have_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project, "--client", str(ClientVersion(9, 9, 9))) == Exit.USAGE
    assert "has no client 9.9.9" in capsys.readouterr().err
