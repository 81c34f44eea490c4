"""Turn bundles and the sources under deploy/ into folders of manifests: byte-stable, every image by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from kmatrix.decide.image_policy import is_image_policy
from kmatrix.decide.manifest_templates import Folder as Folder
from kmatrix.decide.manifest_templates import file_of, render_template
from kmatrix.values.matrix import MaxUnavailable
from kmatrix.values.names import GO_ARCH, Arch, ClientVersion, ImageRef
from kmatrix.values.recipe import userland_packages

NAME = "beegfs-client"
RHEL_NAME = "beegfs-client-rhel"
METHODS = ("prebuilt", "kmm", "in-cluster-build")
_ACCESS = ("serviceaccount.yaml", "role.yaml", "rolebinding.yaml", "scc.yaml")
# Folders of a node that may compile which its container mounts, besides os-release.
_NODE_FOLDERS = (
    {"name": "entitlement", "path": "/etc/pki/entitlement"},
    {"name": "rpm-gpg", "path": "/etc/pki/rpm-gpg"},
    {"name": "rhsm", "path": "/etc/rhsm"},
    {"name": "repositories", "path": "/etc/yum.repos.d"},
)
_CLUSTER_REGISTRY = "image-registry.openshift-image-registry.svc:5000"
_OS = "node.openshift.io/os_id"


@dataclass(frozen=True)
class Bundle:
    """A published bundle: its image by digest, and the nodes it is for.

    `modules` has, by kernel, the image from which Kernel Module Management takes the kernel's module, by digest.
    """

    client: ClientVersion
    image: ImageRef
    kernels: tuple[str, ...]
    arches: tuple[Arch, ...]
    modules: Mapping[str, ImageRef]


@dataclass(frozen=True)
class InClusterBuild:
    """The inputs of a build in the cluster: Dockerfile, files by name, build arguments."""

    client: ClientVersion
    dockerfile: str
    files: Mapping[str, str]
    arguments: Mapping[str, str]

    @property
    def inputs(self) -> str:
        """A short digest of all inputs: other inputs are another build."""
        text = json.dumps([self.dockerfile, dict(self.files), dict(self.arguments)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """The BuildConfig's name."""
        return f"{NAME}-{self.client}-{self.inputs}"

    @property
    def tag(self) -> str:
        """The ImageStreamTag that it writes."""
        return f"{NAME}:{self.client}-{self.inputs}"


def prebuilt(sources: Folder, bundle: Bundle, releases: str, max_unavailable: MaxUnavailable = 1) -> dict[str, str]:
    """Return the folder that runs a bundle: each node loads the bundle's module for its kernel itself.

    Args:
        sources: of deploy/.
        bundle: the bundle to run.
        releases: the kernels of each release, as `release_kernels` returns them.
        max_unavailable: number or share of a DaemonSet's nodes that may lack a Ready pod during a roll-out.
    """
    about = f"BeeGFS client {bundle.client}: one image with the modules of {_count(len(bundle.kernels), 'kernel')}."
    files = {
        **_base(sources, ("SYS_MODULE",)),
        "releases.yaml": _releases(sources, bundle, releases),
        "daemonset.yaml": _daemonset(
            sources,
            client=bundle.client,
            image=bundle.image.pinned,
            arches=bundle.arches,
            max_unavailable=max_unavailable,
        ),
    }
    return _kustomized(sources, about, files)


def kmm(sources: Folder, bundle: Bundle, releases: str, max_unavailable: MaxUnavailable = 1) -> dict[str, str]:
    """Return the folder where Kernel Module Management loads the module and the bundle's pods do the rest.

    Every kernel of the bundle must be in its `modules`. Of a bundle for one architecture the namespace's pods stay on
    nodes of that architecture: Kernel Module Management starts a pod of each image on a node that the scheduler picks,
    and waits forever if it fails there (rh-ecosystem-edge/kernel-module-management, internal/pod/imagepuller.go and
    internal/controllers/mic_reconciler.go). With more architectures each image is for all of them.
    `max_unavailable` concerns the bundle's pods alone; see `prebuilt`, also for `releases`.
    """
    about = f"BeeGFS client {bundle.client}: Kernel Module Management loads the module, the pods install and serve."
    known = [{"kernel": kernel, "image": bundle.modules[kernel].pinned} for kernel in bundle.kernels]
    only = [f"kubernetes.io/arch={GO_ARCH[arch]}" for arch in bundle.arches] if len(bundle.arches) == 1 else []
    files = {
        **_base(sources, (), "".join(only)),
        "releases.yaml": _releases(sources, bundle, releases),
        "loader.yaml": file_of(sources, "kmm/loader.yaml", {}),
        "module.yaml": render_template(sources, "kmm/module.yaml.j2", client=bundle.client, modules=known),
        "daemonset.yaml": _daemonset(
            sources,
            client=bundle.client,
            image=bundle.image.pinned,
            arches=bundle.arches,
            max_unavailable=max_unavailable,
            load="external",
            capabilities=(),
        ),
    }
    return _kustomized(sources, about, files)


def in_cluster_build(
    sources: Folder, build: InClusterBuild, rhel_workers: bool, max_unavailable: MaxUnavailable = 1
) -> dict[str, str]:
    """Return the folder that builds the image in the cluster and runs it.

    Args:
        sources: of deploy/.
        build: the build's inputs.
        rhel_workers: give RHEL nodes a DaemonSet of their own, which may compile for a kernel that the image lacks.
        max_unavailable: of each of the DaemonSets; see `prebuilt`.
    """
    about = f"BeeGFS client {build.client}: built in the cluster, on its driver toolkit."
    named = [{"name": name, "text": text} for name, text in sorted(build.files.items())]
    arguments = [{"name": name, "value": value} for name, value in sorted(build.arguments.items())]
    values = {"name": build.name, "client": build.client, "trigger": build.tag}
    files = {
        **_base(sources, ("SYS_MODULE",)),
        "imagestream.yaml": file_of(sources, "in-cluster-build/imagestream.yaml", {}),
        "files.yaml": render_template(sources, "in-cluster-build/files.yaml.j2", files=named, **values),
        "buildconfig.yaml": render_template(
            sources,
            "in-cluster-build/buildconfig.yaml.j2",
            dockerfile=build.dockerfile,
            arguments=arguments,
            **values,
        ),
        "daemonset.yaml": _daemonset(
            sources,
            client=build.client,
            image=_built(build),
            trigger=build.tag,
            systems=("NotIn", "rhel") if rhel_workers else None,
            max_unavailable=max_unavailable,
        ),
    }
    if rhel_workers:
        files |= _rhel_workers(sources, build, max_unavailable)
    return _kustomized(sources, about, files)


def _rhel_workers(sources: Folder, build: InClusterBuild, max_unavailable: MaxUnavailable) -> dict[str, str]:
    # dnf writes to the container's root folder, which is closed even to root (mode 0555).
    capabilities = ("SYS_MODULE", "DAC_OVERRIDE")
    values = {"name": RHEL_NAME, "capabilities": capabilities}
    daemonset = _daemonset(
        sources,
        client=build.client,
        image=_built(build),
        name=RHEL_NAME,
        systems=("In", "rhel"),
        max_unavailable=max_unavailable,
        capabilities=capabilities,
        trigger=build.tag,
        rebuild=True,
    )
    access = {name: file_of(sources, f"base/{name}", values) for name in _ACCESS}
    return {f"rhel-{name}": text for name, text in {**access, "daemonset.yaml": daemonset}.items()}


def _built(build: InClusterBuild) -> str:
    """Return the image's name in the cluster's own registry: its digest exists only after the build."""
    return f"{_CLUSTER_REGISTRY}/{NAME}/{build.tag}"


def components(sources: Folder) -> dict[str, str]:
    """Return the kustomize components that modify any of the folders; those of an image policy need a key."""
    return {
        path: text for path, text in sources.items() if path.startswith("components/") and not is_image_policy(path)
    }


def _base(sources: Folder, capabilities: tuple[str, ...], node_selector: str = "") -> dict[str, str]:
    values = {"name": NAME, "capabilities": capabilities, "node_selector": node_selector}
    return {name: file_of(sources, f"base/{name}", values) for name in ("namespace.yaml", *_ACCESS)}


def _releases(sources: Folder, bundle: Bundle, releases: str) -> str:
    """Return the statement which kernels the image has, and which each release runs.

    It is an object of its own, because a new release of known kernels changes neither the image nor a pod.
    """
    return render_template(
        sources,
        "base/releases.yaml.j2",
        client=bundle.client,
        image=bundle.image.pinned,
        kernels="".join(f"{kernel}\n" for kernel in bundle.kernels),
        releases=releases,
    )


def _daemonset(
    sources: Folder,
    *,
    client: ClientVersion,
    image: str,
    max_unavailable: MaxUnavailable,
    name: str = NAME,
    arches: tuple[Arch, ...] = (),
    systems: tuple[str, str] | None = None,
    load: str = "self",
    capabilities: tuple[str, ...] = ("SYS_MODULE",),
    trigger: str = "",
    rebuild: bool = False,
) -> str:
    placement: list[dict[str, object]] = [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
    if arches:
        go = sorted(GO_ARCH[arch] for arch in arches)
        placement.append({"key": "kubernetes.io/arch", "operator": "In", "values": go})
    if systems:
        placement.append({"key": _OS, "operator": systems[0], "values": [systems[1]]})
    return render_template(
        sources,
        "base/daemonset.yaml.j2",
        name=name,
        client=client,
        image=image,
        max_unavailable=max_unavailable,
        placement=placement,
        has_helperd="beegfs-helperd" in userland_packages(client),
        load=load,
        capabilities=capabilities,
        trigger=trigger,
        rebuild=rebuild,
        node_folders=_NODE_FOLDERS if rebuild else (),
    )


def _kustomized(sources: Folder, about: str, files: Mapping[str, str]) -> dict[str, str]:
    text = render_template(sources, "kustomization.yaml.j2", about=about, resources=list(files))
    return {**files, "kustomization.yaml": text}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
