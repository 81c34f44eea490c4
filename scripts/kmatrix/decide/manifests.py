"""Bundles and the sources under deploy/ to folders of manifests: offline, byte-stable, every image by digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import jinja2

from kmatrix.values.errors import InputError
from kmatrix.values.matrix import MaxUnavailable
from kmatrix.values.names import GO_ARCH, Arch, ClientVersion, ImageRef
from kmatrix.values.recipe import userland_packages

NAME = "beegfs-client"
RHEL_NAME = "beegfs-client-rhel"
METHODS = ("prebuilt", "kmm", "in-cluster-build")
_ACCESS = ("serviceaccount.yaml", "role.yaml", "rolebinding.yaml", "scc.yaml")
# What a node that may compile lends to the container, besides its os-release.
_NODE_FOLDERS = (
    {"name": "entitlement", "path": "/etc/pki/entitlement"},
    {"name": "rpm-gpg", "path": "/etc/pki/rpm-gpg"},
    {"name": "rhsm", "path": "/etc/rhsm"},
    {"name": "repositories", "path": "/etc/yum.repos.d"},
)
_CLUSTER_REGISTRY = "image-registry.openshift-image-registry.svc:5000"
_OS = "node.openshift.io/os_id"
_PRINTABLE = re.compile(r"[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]*")


@dataclass(frozen=True)
class Bundle:
    """A published bundle: what it is called, by digest, and for which nodes it is.

    `modules` has, by kernel, the image from which Kernel Module Management takes the kernel's module, by digest.
    """

    client: ClientVersion
    image: ImageRef
    kernels: tuple[str, ...]
    arches: tuple[Arch, ...]
    modules: Mapping[str, ImageRef]


@dataclass(frozen=True)
class InClusterBuild:
    """What a build in the cluster is given: Dockerfile, files by name, build arguments."""

    client: ClientVersion
    dockerfile: str
    files: Mapping[str, str]
    arguments: Mapping[str, str]

    @property
    def inputs(self) -> str:
        """A short digest of all of it: other inputs are another build."""
        text = json.dumps([self.dockerfile, dict(self.files), dict(self.arguments)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """The BuildConfig's name."""
        return f"{NAME}-{self.client}-{self.inputs}"

    @property
    def tag(self) -> str:
        """The ImageStreamTag it makes."""
        return f"{NAME}:{self.client}-{self.inputs}"


# A folder of manifests: text by path below it. Sources: the same, of deploy/.
Folder = Mapping[str, str]


def prebuilt(sources: Folder, bundle: Bundle, max_unavailable: MaxUnavailable = 1) -> dict[str, str]:
    """Return the folder that runs a bundle: each node loads the bundle's module for its kernel itself.

    Args:
        sources: of deploy/.
        bundle: what is run.
        max_unavailable: how many of a DaemonSet's nodes, or which share of them, may lack a Ready pod in a roll-out.
    """
    about = f"BeeGFS client {bundle.client}: one image with the modules of {_count(len(bundle.kernels), 'kernel')}."
    files = {
        **_base(sources, ("SYS_MODULE",)),
        "daemonset.yaml": _daemonset(
            sources,
            client=bundle.client,
            image=bundle.image.pinned,
            arches=bundle.arches,
            max_unavailable=max_unavailable,
        ),
    }
    return _kustomized(sources, about, files)


def kmm(sources: Folder, bundle: Bundle, max_unavailable: MaxUnavailable = 1) -> dict[str, str]:
    """Return the folder where Kernel Module Management loads the kernels' modules, and the bundle does the rest.

    Every kernel of the bundle must be in its `modules`. Of a bundle for one architecture the namespace's pods stay on
    nodes of that architecture: Kernel Module Management starts a pod of each image on a node that the scheduler picks,
    and waits for ever if it fails there (rh-ecosystem-edge/kernel-module-management, internal/pod/imagepuller.go and
    internal/controllers/mic_reconciler.go). With more architectures each image is for all of them.
    `max_unavailable` concerns the bundle's pods alone; see `prebuilt`.
    """
    about = f"BeeGFS client {bundle.client}: Kernel Module Management loads the module, the pods install and serve."
    known = [{"kernel": kernel, "image": bundle.modules[kernel].pinned} for kernel in bundle.kernels]
    only = [f"kubernetes.io/arch={GO_ARCH[arch]}" for arch in bundle.arches] if len(bundle.arches) == 1 else []
    files = {
        **_base(sources, (), "".join(only)),
        "loader.yaml": _file(sources, "kmm/loader.yaml", {}),
        "module.yaml": _render(sources, "kmm/module.yaml.j2", client=bundle.client, modules=known),
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
        build: what is built.
        rhel_workers: RHEL nodes get a DaemonSet of their own, which may compile for a kernel that the image lacks.
        max_unavailable: of each of the DaemonSets; see `prebuilt`.
    """
    about = f"BeeGFS client {build.client}: built in the cluster, on its driver toolkit."
    named = [{"name": name, "text": text} for name, text in sorted(build.files.items())]
    arguments = [{"name": name, "value": value} for name, value in sorted(build.arguments.items())]
    values = {"name": build.name, "client": build.client, "trigger": build.tag}
    files = {
        **_base(sources, ("SYS_MODULE",)),
        "imagestream.yaml": _file(sources, "in-cluster-build/imagestream.yaml", {}),
        "files.yaml": _render(sources, "in-cluster-build/files.yaml.j2", files=named, **values),
        "buildconfig.yaml": _render(
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
    # dnf writes the container's root, whose folders are closed to root too (mode 0555).
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
    access = {name: _file(sources, f"base/{name}", values) for name in _ACCESS}
    return {f"rhel-{name}": text for name, text in {**access, "daemonset.yaml": daemonset}.items()}


def _built(build: InClusterBuild) -> str:
    """Where the cluster's own registry will have the image: its digest is known only there, after the build."""
    return f"{_CLUSTER_REGISTRY}/{NAME}/{build.tag}"


def components(sources: Folder) -> dict[str, str]:
    """Return the kustomize components that change what any of the folders asks for."""
    return {path: text for path, text in sources.items() if path.startswith("components/")}


def _base(sources: Folder, capabilities: tuple[str, ...], node_selector: str = "") -> dict[str, str]:
    values = {"name": NAME, "capabilities": capabilities, "node_selector": node_selector}
    return {name: _file(sources, f"base/{name}", values) for name in ("namespace.yaml", *_ACCESS)}


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
    return _render(
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
    text = _render(sources, "kustomization.yaml.j2", about=about, resources=list(files))
    return {**files, "kustomization.yaml": text}


def _file(sources: Folder, path: str, values: Mapping[str, object]) -> str:
    """A file that is rendered if it is written as a template, else taken as it is."""
    return sources[path] if path in sources else _render(sources, f"{path}.j2", **values)


def _render(sources: Folder, path: str, **values: object) -> str:
    if path not in sources:
        raise InputError(f"deploy/{path} is not there", "Take deploy/ from version control.")
    try:
        return _compiled(path, sources[path]).render(**values)
    except jinja2.TemplateError as error:
        raise InputError(f"deploy/{path}: {error.message}", "Correct the template.") from error


@lru_cache(maxsize=32)
def _compiled(path: str, template: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters.update({"text": _text, "block": _block})
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"deploy/{path}:{error.lineno}: {error.message}", "Correct the template.") from error


def _text(value: object) -> str:
    """A value as a YAML string, whatever is in it: 7.4 is no number, `yes` no boolean."""
    return json.dumps(str(value), ensure_ascii=True)


def _block(value: str, indent: int) -> str:
    """A text of several lines as a block that people can read; what a block cannot hold is refused."""
    if not value.endswith("\n") or value.endswith("\n\n") or not value.strip() or not _PRINTABLE.fullmatch(value):
        raise InputError(
            f"the file that begins {value[:40]!r} cannot be in a manifest",
            "It must be printable text that ends with exactly one line break.",
        )
    blanks = " " * indent
    lines = "\n".join(blanks + line if line else "" for line in value[:-1].split("\n"))
    # The 2 says where the text begins, also if its first line begins with a blank.
    return f"|2\n{lines}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
