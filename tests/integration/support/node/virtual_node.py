"""A node in a virtual machine: a real kernel, a host's folders, and pods that a real OCI runtime runs from a manifest.

A test gives images, pods and a scenario (shell; its functions are those of guest/node-init) and gets the
output of the scenario's sections.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.formats.transcript import read_transcript
from kmatrix.effects.engine import Engine
from kmatrix.effects.vm.boot_files import KernelFiles, kernel_files
from kmatrix.effects.vm.cpio import InitramfsWriter
from kmatrix.effects.vm.qemu import Guest, Machines
from kmatrix.values.boot import Section, Transcript
from tests.integration.support.node.pod_spec import Pod, Root, translate
from tests.integration.support.node.pod_volumes import Folder, HostPath, Tmpfs
from tests.integration.support.project.images import configuration_of

NODE = "node-1"
PLUGIN = "/var/lib/kubelet/plugins/beegfs.csi.netapp.com"
CLIENT = f"{PLUGIN}/client"
# The in-tree modules that the client's module needs, and those that a runtime needs for writable roots.
DEPENDS = ("ib_core", "rdma_cm")
_WRITABLE = ("overlay",)
_GUEST = Path(__file__).parent / "guest"
_OWN = ".node"
_BUSYBOX = Path("/bin/busybox")
_BOOT_SECONDS = 120.0
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


@dataclass(frozen=True)
class Wish:
    """A pod that a test wants: image (a name of the node's images), DaemonSet, existing Secrets, init images."""

    image: str
    daemonset: Mapping[str, Any]
    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    init_images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """The output of a scenario, section by section."""

    transcript: Transcript
    serial: tuple[str, ...]

    def text(self, section: str) -> str:
        """Return the output of a section."""
        return "\n".join(self._found(section).lines)

    def status(self, section: str) -> int | None:
        """Return its exit status."""
        return self._found(section).status

    def lines(self, section: str) -> tuple[str, ...]:
        """Return its output, line by line."""
        return tuple(self._found(section).lines)

    def _found(self, section: str) -> Section:
        found = self.transcript.sections.get(section)
        if found is None:
            pytest.fail(f"the scenario has no section {section}; the serial line:\n" + "\n".join(self.serial[-150:]))
        return found


class Node:
    """One kernel and its host; each boot starts from the same fresh host."""

    def __init__(self, engine: Engine, machines: Machines, kernels: KernelFiles, kernel: str, folder: Path) -> None:
        self.kernel = kernel
        self._engine = engine
        self._machines = machines
        self._kernels = kernels
        self._folder = folder

    @classmethod
    def of(cls, engine: Engine, toolkit: str, kernel: str, folder: Path, *, writable: bool = False) -> Node:
        """Return a node that runs a kernel of a toolkit; its files are kept in `folder`.

        Args:
            engine: has the toolkit.
            toolkit: the toolkit's reference by digest.
            kernel: kernel release.
            folder: for its files.
            writable: there are containers that may write to their roots.
        """
        depends = (*DEPENDS, *_WRITABLE) if writable else DEPENDS
        files = kernel_files(engine, toolkit, kernel, depends, folder / toolkit.rpartition(":")[2][:16] / kernel)
        return cls(engine, Machines("tcg"), files, kernel, folder)

    def run(
        self,
        images: Mapping[str, str],
        pods: Mapping[str, Wish],
        scenario: str,
        seconds: float = 400.0,
        host: Path | None = None,
    ) -> Shown:
        """Boot, run a scenario and return its output.

        Args:
            images: references of images that the engine has, by the names that pods use.
            pods: by name.
            scenario: shell, with the functions of guest/node-init.
            seconds: its limit once the machine is up.
            host: more files of the host.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        initramfs = self._folder / f"node-{secrets.token_hex(4)}.cpio"
        try:
            size = self._write(initramfs, images, pods, scenario, host)
            lines: list[str] = []
            # The archive is in memory twice while it is unpacked.
            kernels = self._kernels
            memory = 384 + 3 * size // 2**20
            guest = Guest("x86_64", kernels.vmlinuz, initramfs, memory, unpacked=kernels.unpacked)
            end = self._machines.boot(guest, _BOOT_SECONDS, seconds, lines.append)
        finally:
            initramfs.unlink(missing_ok=True)
        shown = Shown(read_transcript(lines), tuple(lines))
        if end.end != "powered-off" or not shown.transcript.done:
            pytest.fail(f"the node ended by {end.end} {end.stderr}; its serial line:\n" + "\n".join(lines[-150:]))
        return shown

    def _write(
        self, target: Path, images: Mapping[str, str], pods: Mapping[str, Wish], scenario: str, host: Path | None
    ) -> int:
        with target.open("wb") as file:
            writer = InitramfsWriter(file)
            writer.add_file("init", (_GUEST / "node-init").read_bytes(), 0o755)
            writer.add_file(f"{_OWN}/scenario", scenario.encode())
            writer.add_file(f"{_OWN}/busybox", _BUSYBOX.read_bytes(), 0o755)
            for applet in _applets():
                writer.add_link(f"{_OWN}/bin/{applet}", "../busybox")
            for path in _runtime():
                writer.add_file(path.lstrip("/"), Path(path).read_bytes(), 0o755)
            for module in sorted(self._kernels.modules.rglob("*.ko*")):
                relative = module.relative_to(self._kernels.modules).as_posix()
                writer.add_file(f"lib/modules/{self.kernel}/{relative}", module.read_bytes())
            for interface in sorted(self._kernels.interfaces.iterdir()):
                writer.add_file(f"{_OWN}/interfaces/{interface.name}", interface.read_bytes())
            if host:
                _add_folder(writer, host)
            for name, reference in images.items():
                self._add_root(writer, reference, f"images/{name}")
            for name, wish in pods.items():
                folder = f"/pods/{name}"
                names = (wish.image, *wish.init_images)
                root, *others = (Root(configuration_of(images[image]), f"/images/{image}") for image in names)
                pod = translate(wish.daemonset, root, folder, NODE, wish.secrets, others)
                for path, content in _pod_files(name, pod):
                    writer.add_file(f"{folder}/{path}".lstrip("/"), content)
                for volume in pod.volumes:
                    if isinstance(volume, Folder):
                        for key, content in volume.files.items():
                            writer.add_file(f"{volume.path}/{key}".lstrip("/"), content, volume.mode)
            writer.finish()
            return file.tell()

    def _add_root(self, writer: InitramfsWriter, reference: str, root: str) -> None:
        with self._engine.container(reference) as container:
            for member, archive in self._engine.root_files(container):
                name = member.name.strip("/")
                # These two are the engine's, not the image's.
                if name != ".dockerenv" and not name.startswith("dev/"):
                    writer.add_member(member, archive, f"{root}/{name}")


def _applets() -> Sequence[str]:
    listed = subprocess.run([_BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    # A host's kernel would run this for modules that the pod has not loaded.
    return [name for name in listed if name not in ("modprobe", "busybox")]


def _runtime() -> Sequence[str]:
    """Return the paths of crun and its libraries on this machine."""
    crun = shutil.which("crun")
    assert crun, "there is no crun: run ./scripts/bootstrap"
    told = subprocess.run(["ldd", crun], check=True, capture_output=True, text=True).stdout
    return ["/usr/bin/crun", *_LIBRARY.findall(told)]


def _add_folder(writer: InitramfsWriter, folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            writer.add_link(name, str(path.readlink()))
        elif path.is_dir():
            writer.add_folder(name)
        else:
            writer.add_file(name, path.read_bytes(), path.stat().st_mode & 0o777)


def _pod_files(name: str, pod: Pod) -> Iterator[tuple[str, bytes]]:
    image, root = pod.config["root"]["path"], "true"
    config = pod.config
    if not config["root"]["readonly"]:
        # The image stays unchanged: each container gets a layer of its own on top.
        config = {**config, "root": {**config["root"], "path": f"/pods/{name}/root"}}
        root = shlex.join(["writable_root", name, image])
    yield "config.json", json.dumps(config, indent=1).encode()
    for number, init in enumerate(pod.init):
        yield f"init-{number}/config.json", json.dumps(init, indent=1).encode()
    if pod.ready:
        yield "ready.json", json.dumps(pod.ready).encode()
    if pod.pre_stop:
        yield "pre-stop.json", json.dumps(pod.pre_stop).encode()
    steps = []
    for volume in pod.volumes:
        if isinstance(volume, HostPath):
            steps.append(shlex.join(["host_path", volume.kind, volume.path]))
        elif isinstance(volume, Tmpfs):
            steps.append(shlex.join(["memory", volume.path, str(volume.size)]))
        else:
            steps.append(shlex.join(["folder", volume.path]))
    volumes = " && ".join(steps or ["true"])
    yield "settings", f"grace={pod.grace}\nvolumes() {{\n{volumes}\n}}\nroot() {{\n{root}\n}}\n".encode()
