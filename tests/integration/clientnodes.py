"""What the tests put on a node: client images of this checkout, and the DaemonSets that `deploy/` renders for them."""

from __future__ import annotations

import copy
import secrets
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from integration.labs import Lab
from integration.nodes import Node, Shown, Wish
from integration.sites import NEWER_CLIENT, OLDER_CLIENT, Site
from kmatrix.decide.manifests import Bundle, KernelImage, kmm, prebuilt
from kmatrix.effects.engine import Engine
from kmatrix.effects.folders import read_folder
from kmatrix.values.names import ClientVersion, ImageRef, image_tag

# Names of images on the node: one of each major, and one that has no module for the node's kernel.
OLD, NEW, FOREIGN = "old", "new", "foreign"
VERSIONS = {OLD: OLDER_CLIENT, NEW: NEWER_CLIENT, FOREIGN: NEWER_CLIENT}
SECRET = {"beegfs-client-auth": {"conn.auth": secrets.token_bytes(32)}}
Change = Callable[[dict[str, Any]], None]


class ClientNode:
    """A node of the kernel `newer`, and the images and manifests to put on it."""

    def __init__(self, lab: Lab, site: Site, engine: Engine, folder: Path) -> None:
        self.kernel = lab.kernels.newer
        self.foreign_kernel = lab.kernels.older
        cells = {name: f"{version}-{self.kernel}" for name, version in VERSIONS.items()}
        cells[FOREIGN] = f"{NEWER_CLIENT}-{self.foreign_kernel}"
        built = site.run("build", "--no-push", *(word for cell in cells.values() for word in ("--only", cell)))
        assert built.code == 0, built.stderr
        self._images = {name: f"{site.target}/beegfs-client:{image_tag(cell)}" for name, cell in cells.items()}
        self._node = Node.of(engine, lab.toolkits["newer"], self.kernel, folder)
        self._deploy = lab.root / "deploy"
        self._folder = folder

    def run(self, pods: Mapping[str, Wish], scenario: str) -> Shown:
        """Boot the node with the images that the pods use, and run a scenario."""
        images = {wish.image: self._images[wish.image] for wish in pods.values()}
        return self._node.run(images, pods, scenario)

    def wish(
        self,
        image: str,
        *changes: Change,
        way: str = "prebuilt",
        secrets: Mapping[str, Mapping[str, bytes]] = SECRET,
    ) -> Wish:
        """A pod of an image, as the rendered manifest has it after some changes."""
        daemonset = copy.deepcopy(rendered(self._deploy, self._folder, way, VERSIONS[image], self.kernel))
        for change in changes:
            change(daemonset["spec"]["template"]["spec"])
        return Wish(image, daemonset, secrets)


@cache
def rendered(deploy: Path, folder: Path, way: str, client: str, kernel: str) -> dict[str, Any]:
    """The DaemonSet of a way to deploy, as `kubectl kustomize` gives it to the cluster."""
    sources = read_folder(deploy, "manifest sources", (".yaml", ".yaml.j2"))
    image = ImageRef("registry.test", "beegfs-client", digest=f"sha256:{'0' * 64}")
    bundle = Bundle(ClientVersion.parse(client), image, (kernel,), ("x86_64",))
    files = prebuilt(sources, bundle) if way == "prebuilt" else kmm(sources, bundle, (KernelImage(kernel, image),))
    written = folder / f"{way}-{client}"
    for path, text in files.items():
        target = written / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    command = ["kubectl", "kustomize", str(written)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (found,) = [found for found in yaml.safe_load_all(told) if found["kind"] == "DaemonSet"]
    daemonset: dict[str, Any] = found
    return daemonset


# Changes of what a manifest says, for tests that show what it is there for


def grace(seconds: int) -> Change:
    """Another grace period."""

    def change(pod: dict[str, Any]) -> None:
        pod["terminationGracePeriodSeconds"] = seconds

    return change


def idle(pod: dict[str, Any]) -> None:
    """A container that does nothing by itself."""
    pod["containers"][0]["command"] = ["sleep", "infinity"]
    pod["containers"][0]["args"] = []


def without_capabilities(pod: dict[str, Any]) -> None:
    """A container that may load no module."""
    del pod["containers"][0]["securityContext"]["capabilities"]["add"]


def without_authentication(pod: dict[str, Any]) -> None:
    """A helper daemon that wants no secret."""
    (wish,) = [wish for wish in pod["containers"][0]["env"] if wish["name"] == "BEEGFS_HELPERD_AUTH"]
    wish["value"] = "disabled"
