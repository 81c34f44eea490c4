"""Images and pods for the tests' node: published bundles, and the DaemonSets that `manifests` renders for them."""

from __future__ import annotations

import copy
import json
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kmatrix.effects.engine import Engine
from tests.integration.support.cluster.openshift import derived
from tests.integration.support.lab import Lab
from tests.integration.support.node.virtual_node import Node, Shown, Wish
from tests.integration.support.project.granted_boots import boots_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, PROFILE, Site
from tests.integration.support.session import LABEL, Session

# Names of images on the node: one of each major, one that has no module for the node's kernel, the newer client
# compiled without RDMA, one on a base of the age of production's, one signed with a key that nobody trusts; and the
# lab's base, which has kmod and no client.
OLD, NEW, FOREIGN, PLAIN, AGED, SIGNED, BARE = "old", "new", "foreign", "plain", "aged", "signed", "bare"
SIGNER = "Somebody Else"
VERSIONS = {OLD: OLDER_CLIENT, **dict.fromkeys((NEW, FOREIGN, PLAIN, AGED, SIGNED), NEWER_CLIENT)}
SECRET = {"beegfs-client-auth": {"conn.auth": secrets.token_bytes(32)}}
_SIGNED = """\
FROM {toolkit} AS signed
COPY --from={image} /opt/lib/modules/ /opt/lib/modules/
RUN openssl req -new -x509 -newkey rsa:2048 -nodes -subj '/CN={signer}/' -keyout /key -out /certificate \\
 && $(find /usr/lib/linux-kbuild-*/scripts -name sign-file | head -n 1) sha256 /key /certificate \
      /opt/lib/modules/{kernel}/extra/beegfs.ko \
 && openssl x509 -in /certificate -outform DER -out /opt/lib/modules/{kernel}/extra/beegfs.der \
 && rm /key
FROM {image}
COPY --from=signed /opt/lib/modules/ /opt/lib/modules/
LABEL {label}={name}
"""
Change = Callable[[dict[str, Any]], None]


class ClientNode:
    """A node of the kernel `newer`, and the images and manifests to put on it.

    `plain` is a site whose modules have no RDMA: of the same sources as the others, so of the same srcversion.
    """

    def __init__(self, lab: Lab, site: Site, plain: Site, engine: Engine, folder: Path) -> None:
        self.kernel = lab.kernels.newer
        self._engine = engine
        self._toolkit = lab.toolkits["newer"]
        self.foreign_kernel = lab.kernels.older
        foreign_cell = f"{NEWER_CLIENT}-{self.foreign_kernel}"
        published(site, f"{OLDER_CLIENT}-{self.kernel}", f"{NEWER_CLIENT}-{self.kernel}", foreign_cell)
        content = json.loads((site.root / "build" / "bundles.json").read_text(encoding="utf-8"))
        bundles = {entry["client"]: entry for entry in content["bundles"]}
        assert bundles[NEWER_CLIENT]["kernels"] == [self.foreign_kernel, self.kernel], "it is to pick from several"
        digests = {
            OLD: bundles[OLDER_CLIENT]["digest"],
            NEW: bundles[NEWER_CLIENT]["digest"],
            FOREIGN: next(cell["digest"] for cell in site.results()["cells"] if cell["cell"] == foreign_cell),
        }
        self._images = {name: f"{site.target}/beegfs-client@{digest}" for name, digest in digests.items()}
        self._images[BARE] = str(lab.profile.base)
        self.add(PLAIN, plain)
        for image in self._images.values():
            engine.pull(image, None)
        self._node = Node.of(engine, lab.toolkits["newer"], self.kernel, folder, writable=True)
        self._deploy = site.root / "build" / "deploy" / PROFILE

    def add(self, name: str, site: Site) -> None:
        """Add the newer client's cell of another site under a name."""
        self._images[name] = f"{site.target}/beegfs-client@{digest_of(site, f'{NEWER_CLIENT}-{self.kernel}')}"
        self._engine.pull(self._images[name], None)

    @contextmanager
    def signed(self, session: Session) -> Iterator[None]:
        """Add the image `SIGNED`, whose key is created and deleted by its build."""
        dockerfile = _SIGNED.format(
            toolkit=self._toolkit,
            image=self._images[NEW],
            kernel=self.kernel,
            signer=SIGNER,
            label=LABEL,
            name=session.name,
        )
        with derived(self._engine, session, dockerfile) as self._images[SIGNED]:
            yield

    def run(self, pods: Mapping[str, Wish], scenario: str) -> Shown:
        """Boot the node with the images that the pods use, and run a scenario."""
        names = {name for wish in pods.values() for name in (wish.image, *wish.init_images)}
        images = {name: self._images[name] for name in sorted(names)}
        return self._node.run(images, pods, scenario)

    def wish(
        self,
        image: str,
        *changes: Change,
        way: str = "prebuilt",
        secrets: Mapping[str, Mapping[str, bytes]] = SECRET,
    ) -> Wish:
        """Return a pod of an image, as the rendered manifest describes it after some changes."""
        daemonset = copy.deepcopy(rendered(self._deploy / way / VERSIONS[image]))
        for change in changes:
            change(daemonset["spec"]["template"]["spec"])
        return Wish(image, daemonset, secrets)


def published(site: Site, *cells: str) -> None:
    """Publish cells, their bundles and manifests without booting them, which is tested elsewhere."""
    only = [word for cell in cells for word in ("--only", cell)]
    with boots_taken_for_granted():
        for arguments in (("build", *only), ("bundle",), ("manifests", "--method", "prebuilt", "--method", "kmm")):
            run = site.run(*arguments, boot=True)
            assert run.code == 0, run.stderr


def digest_of(site: Site, cell: str) -> str:
    """Publish a cell and return its digest."""
    run = site.run("build", "--only", cell)
    assert run.code == 0, run.stderr
    digest: str = run.cell(cell)["digest"]
    return digest


@cache
def rendered(folder: Path) -> dict[str, Any]:
    """Return the DaemonSet of a folder of manifests, as `kubectl kustomize` gives it to the cluster."""
    told = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout
    (found,) = [found for found in yaml.safe_load_all(told) if found["kind"] == "DaemonSet"]
    daemonset: dict[str, Any] = found
    return daemonset


# Changes of a manifest, for tests that show why it says so


def grace(seconds: int) -> Change:
    """Set another grace period."""

    def change(pod: dict[str, Any]) -> None:
        pod["terminationGracePeriodSeconds"] = seconds

    return change


def idle(pod: dict[str, Any]) -> None:
    """Start nothing in the container."""
    pod["containers"][0]["command"] = ["sleep", "infinity"]
    pod["containers"][0]["args"] = []


def unloading_on_stop(pod: dict[str, Any]) -> None:
    """Add the component `unload-on-stop`."""
    file = Path(__file__).parents[4] / "deploy" / "components" / "unload-on-stop" / "kustomization.yaml"
    (wish,) = yaml.safe_load(file.read_text(encoding="utf-8"))["patches"]
    (added,) = yaml.safe_load(wish["patch"])["spec"]["template"]["spec"]["containers"]
    assert added.pop("name") == pod["containers"][0]["name"]
    pod["containers"][0].update(added)


def without_capabilities(pod: dict[str, Any]) -> None:
    """Take the capabilities from the container."""
    del pod["containers"][0]["securityContext"]["capabilities"]["add"]


def without_the_nodes_modules(pod: dict[str, Any]) -> None:
    """Hide the node's module tree from the container."""
    mounts = pod["containers"][0]["volumeMounts"]
    mounts[:] = [mount for mount in mounts if mount["name"] != "modules"]


def without_securityfs(pod: dict[str, Any]) -> None:
    """Hide from the container whether the kernel is locked down."""
    mounts = pod["containers"][0]["volumeMounts"]
    mounts[:] = [mount for mount in mounts if mount["name"] != "security"]


def without_authentication(pod: dict[str, Any]) -> None:
    """Let the helper daemon run without a secret."""
    (wish,) = [wish for wish in pod["containers"][0]["env"] if wish["name"] == "BEEGFS_HELPERD_AUTH"]
    wish["value"] = "disabled"
