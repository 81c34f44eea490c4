"""Builds in the cluster, done by the container engine as OpenShift does them."""

from __future__ import annotations

import io
import re
import secrets
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.protocol import Network
from kmatrix.stages.patience import patiently
from kmatrix.values.engine import Mount, RunOutput
from tests.integration.support.project.site import Site
from tests.integration.support.session import LABEL, Session

_FROM = re.compile(r"^FROM\s+(\S+)", re.MULTILINE)
# The toolkit's compiler and kernels are of no use in a guest, whose memory would hold them twice.
_SMALL = """\
FROM {image} AS whole
RUN mkdir -p /small/usr/bin /small/usr/sbin /small/usr/lib /small/usr/lib64 \\
 && cp -a /bin /sbin /lib /lib64 /small/ \\
 && cp -a --parents /opt/lib/modules /opt/beegfs/sbin /usr/local/sbin/beegfs-node \\
      /usr/local/lib/beegfs-node \\
      /usr/bin/kmod /usr/sbin/modprobe /usr/sbin/rmmod /small/ \\
 && ldd /usr/bin/kmod | grep -o '/[^ ]*' | xargs -I '{{}}' cp -L --parents '{{}}' /small/
FROM scratch
COPY --from=whole /small/ /
"""
# The files that a compile for another kernel uses stay. Python's compiled files are for any time stamp: an initramfs
# has none, and a guest would compile all of dnf again.
_COMPILING = """\
FROM {image}
RUN rm -rf /boot/* /usr/src/* /usr/lib/modules/*/kernel /usr/lib/modules/*/vmlinuz /var/cache/apt /var/lib/apt \
      /usr/share/doc /usr/share/man /usr/share/locale /usr/share/i18n /usr/share/zoneinfo /usr/lib/udev \
      /usr/lib/valgrind /usr/bin/*-lto-dump-* /usr/lib/gcc/*/*/lto1 /usr/lib/gcc/*/*/cc1plus /usr/lib/gcc/*/*/*.a \
      /usr/lib/*-linux-gnu/*.a /usr/lib/*-linux-gnu/lib?san.so* /usr/lib/*-linux-gnu/libubsan.so* \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3*
"""
# The client's sources become one unit, so the compiler reads the kernel's headers once: half the time of a compile.
_ONE_UNIT = """\
FROM {image}
RUN cd /kmatrix/source/opt/beegfs/src/client/*/source && mkdir ../parts \
 && for file in *.c; do mv $file ../parts/ && echo "#include \\"../parts/$file\\"" >>all.c; done
"""
# The modes of these folders in Red Hat's images.
_MODES = """\
FROM {image}
RUN chmod 0555 / /boot /usr/bin /usr/lib /usr/lib64 /usr/sbin
"""


@dataclass(frozen=True)
class InCluster:
    """The rendered manifests of a client version: BuildConfig, its ConfigMap's data, the DaemonSet of RHEL workers."""

    config: Mapping[str, Any]
    files: Mapping[str, str]
    daemonset: Mapping[str, Any]

    @property
    def worker(self) -> Mapping[str, Any]:
        """The pod of RHEL workers."""
        pod: Mapping[str, Any] = self.daemonset["spec"]["template"]["spec"]
        return pod

    @property
    def arguments(self) -> dict[str, str]:
        """The build's arguments."""
        return {each["name"]: each["value"] for each in self.config["spec"]["strategy"]["dockerStrategy"]["buildArgs"]}

    @property
    def dockerfile(self) -> str:
        """The Dockerfile inlined in the BuildConfig."""
        return str(self.config["spec"]["source"]["dockerfile"])


def rendered_text(site: Site, client: str) -> str:
    """Render a client version's manifests with the command line, and return `kubectl kustomize`'s output of them."""
    out = site.root / "build" / "deploy"
    made = site.run("manifests", "--method", "in-cluster-build", "--client", client, "--out", str(out))
    assert made.code == 0, made.stderr
    folder = out / "in-cluster-build-rhel-workers" / client
    return subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout


def rendered(site: Site, client: str) -> InCluster:
    """Render the manifests of a client version with the command line, and read them."""
    return read(rendered_text(site, client))


def read(text: str) -> InCluster:
    """Read the manifests of a client version, as `rendered_text` returns them."""
    found = list(yaml.safe_load_all(text))

    def one(kind: str, name: str) -> dict[str, Any]:
        (match,) = [each for each in found if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
        return dict(match)

    config = one("BuildConfig", "beegfs-client")
    (named,) = config["spec"]["source"]["configMaps"]
    assert named["destinationDir"] == "."
    files = one("ConfigMap", named["configMap"]["name"])["data"]
    return InCluster(config, files, one("DaemonSet", "beegfs-client-rhel"))


@contextmanager
def built(
    engine: Engine, session: Session, manifests: InCluster, toolkit: str, log: list[str], **arguments: str
) -> Iterator[str]:
    """Build as OpenShift's builder does and yield the image, which is removed at the end.

    Args:
        engine: builds.
        session: whose label the image has.
        manifests: Dockerfile, context, arguments.
        toolkit: takes the place of the last base image.
        log: is given the build's output.
        arguments: build arguments that an admin sets differently.
    """
    dockerfile = with_bases(manifests.dockerfile, toolkit, {})
    arguments = {**manifests.arguments, **arguments}
    with built_dockerfile(engine, session, dockerfile, manifests.files, arguments, log) as image:
        yield image


def with_bases(dockerfile: str, last: str, named: Mapping[str, str]) -> str:
    """Put images in the place of a Dockerfile's bases, as openshift/builder does.

    Its pkg/build/builder/common.go, addBuildParameters: first the strategy's `from` takes the place of the last one,
    then every base that an image source names with `as` becomes that image.

    Args:
        dockerfile: as the BuildConfig has it.
        last: the strategy's `from`; empty if it has none.
        named: image by the name that stands in the Dockerfile.
    """
    found = list(_FROM.finditer(dockerfile))
    for match in reversed(found):
        base = last if last and match is found[-1] else match[1]
        dockerfile = dockerfile[: match.start(1)] + named.get(base, base) + dockerfile[match.end(1) :]
    return dockerfile


@contextmanager
def built_dockerfile(
    engine: Engine,
    session: Session,
    dockerfile: str,
    files: Mapping[str, str],
    arguments: Mapping[str, str],
    log: list[str],
    folder: Path | None = None,
) -> Iterator[str]:
    """Build a Dockerfile whose bases are in place and yield the image, which is removed at the end.

    Args:
        engine: builds.
        session: whose label the image has.
        dockerfile: its text.
        files: the context's, out of a ConfigMap.
        arguments: the build's.
        log: is given the build's output.
        folder: more of the context, with links as they are.
    """
    # The builder adds labels of its own at the end.
    context = {**files, "Dockerfile": f"{dockerfile}LABEL {LABEL}={session.name}\n"}
    # As there, nothing is taken from an earlier build, so the log is complete.
    options = {"network": "host", "buildargs": dict(arguments), "no_cache": True}
    with _made(engine, session, context, log, folder, **options) as image:
        yield image


@contextmanager
def small_copy(engine: Engine, session: Session, image: str) -> Iterator[str]:
    """Yield a copy of an image with only the files that a boot uses: module, client, kmod."""
    with derived(engine, session, _labelled(_SMALL, session, image)) as made:
        yield made


@contextmanager
def compiling_copy(engine: Engine, session: Session, image: str) -> Iterator[str]:
    """Yield the smallest copy of an image that can still install headers and compile."""
    with derived(engine, session, _labelled(_COMPILING, session, image)) as made:
        yield made


@contextmanager
def one_unit_copy(engine: Engine, session: Session, image: str) -> Iterator[str]:
    """Yield a copy of an image whose client compiles in half the time, for tests that compile it again."""
    with derived(engine, session, _labelled(_ONE_UNIT, session, image)) as made:
        yield made


@contextmanager
def with_red_hats_modes(engine: Engine, session: Session, image: str) -> Iterator[str]:
    """Yield a copy of an image with the folders' modes of Red Hat's, where not even root may write."""
    with derived(engine, session, _labelled(_MODES, session, image)) as made:
        yield made


def _labelled(dockerfile: str, session: Session, image: str) -> str:
    return dockerfile.format(image=image) + f"LABEL {LABEL}={session.name}\n"


@contextmanager
def derived(engine: Engine, session: Session, dockerfile: str) -> Iterator[str]:
    """Build a Dockerfile that needs no context and yield the image, which is removed at the end."""
    with _made(engine, session, {"Dockerfile": dockerfile}, []) as made:
        yield made


@contextmanager
def _made(
    engine: Engine,
    session: Session,
    files: Mapping[str, str],
    log: list[str],
    folder: Path | None = None,
    **options: Any,
) -> Iterator[str]:
    # With a name, as the removal of an image removes the nameless ones that it was built from. Those that no image was
    # made from are removed with the engine's leftovers, at the end of the module.
    name = f"kmatrix-test/in-cluster:{secrets.token_hex(6)}"
    try:
        context = _context(files, folder)
        # Another worker may remove an image of equal content that the engine's cache stands on.
        patiently(lambda: engine.build(context, on_line=log.append, tag=name, **options), engine)
        yield name
    finally:
        session.note_builds("\n".join(log))
        engine.remove_image(name)


def _context(files: Mapping[str, str], folder: Path | None) -> bytes:
    """Return a build context whose `files` are not executable: those of a ConfigMap are not."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
        for path in sorted(folder.iterdir()) if folder else ():
            archive.add(path, arcname=path.name)
    return buffer.getvalue()


def run_in(
    engine: Engine, image: str, script: str, network: Network = "none", mounts: Sequence[Mount] = ()
) -> RunOutput:
    """Run a bash script in a container of an image."""
    with engine.container(image, ["bash", "-c", script], network=network, mounts=mounts) as container:
        return engine.run(container, timeout_seconds=300)


def node_mounts(worker: Mapping[str, Any], node: Path) -> list[Mount]:
    """Return the mounts that show a RHEL worker's container the node's files, of a node in a folder."""
    (container,) = worker["containers"]
    paths = [mount["mountPath"] for mount in container["volumeMounts"] if mount.get("readOnly")]
    return [
        Mount(str(node / path.removeprefix("/host").lstrip("/")), path)
        for path in paths
        if path.startswith("/host/etc/") or path == "/lib/modules"
    ]
