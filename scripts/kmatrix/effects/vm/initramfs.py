"""The initramfs of a boot: a cell image's own root, this project's init, and in-tree modules of the kernel."""

from __future__ import annotations

import platform
from importlib import resources
from pathlib import Path

from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.inspect import unpacked_module
from kmatrix.effects.vm.boot_files import KernelFiles
from kmatrix.effects.vm.cpio import InitramfsWriter
from kmatrix.values.errors import ToolError
from kmatrix.values.mount import MountSetup
from kmatrix.values.names import Arch

_GUEST = ".kmatrix"
_MOUNT = f"{_GUEST}/mount"
# The programs that our init runs, independent of the image's own, and those that a person at its prompt needs.
_APPLETS = (
    *("cat", "cmp", "cp", "cttyhack", "dmesg", "grep", "insmod", "ip", "ls", "lsmod", "mkdir"),
    *("mount", "poweroff", "ps", "sed", "setsid", "sh", "sleep", "stat", "sync", "test", "umount"),
)
_HELD = tuple(f"{folder}/modprobe" for folder in ("usr/sbin", "sbin", "usr/bin", "bin"))
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/busybox")


def write_initramfs(
    engine: Engine,
    image: str,
    kernel: str,
    files: KernelFiles,
    target: Path,
    arch: Arch,
    mount: MountSetup | None = None,
    interactive: bool = False,
) -> int:
    """Write the initramfs of a boot: the image's own root, our init, and in-tree modules that init moves into place.

    Args:
        engine: has the image.
        image: its id or reference.
        kernel: kernel release.
        files: of the kernel.
        target: the file to write.
        arch: of the kernel.
        mount: what the guest mounts with; None for a guest that mounts nothing.
        interactive: whether a person sits at the console.

    Returns:
        its size in bytes.

    Raises:
        ToolError: there is no static busybox for our init.
    """
    busybox = _static_busybox(arch)
    init = resources.files("kmatrix").joinpath("guest/init").read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file, engine.container(image) as container:
        writer = InitramfsWriter(file)
        writer.add_file(f"{_GUEST}/busybox", busybox, 0o755)
        for name in _APPLETS:
            writer.add_link(f"{_GUEST}/bin/{name}", "../busybox")
        writer.add_folder(f"{_GUEST}/modules")
        # The kernel starts /init; the image may not have one of its own.
        writer.add_file("init", init, 0o755)
        if interactive:
            writer.add_file(f"{_GUEST}/shell", b"")
        if mount is not None:
            _add_mount(writer, mount, files.interfaces)
        for path in sorted(files.modules.rglob("*")):
            if path.is_file():
                relative = path.relative_to(files.modules).as_posix()
                writer.add_file(f"{_GUEST}/modules/{kernel}/{relative}", path.read_bytes())
        for member, archive in engine.root_files(container):
            name = member.name.strip("/")
            if name in _HELD:
                # While it starts, the kernel runs modprobe for modules that do not exist, which takes a second; without
                # the program it starts undisturbed. The guest's init then moves it to its place.
                writer.add_member(member, archive, f"{_GUEST}/held/{name}")
            elif not name.startswith(("dev/", "proc/", "sys/")):
                writer.add_member(member, archive, name)
        writer.add_file(f"{_GUEST}/whole", b"")
        writer.finish()
        return file.tell()


def _add_mount(writer: InitramfsWriter, mount: MountSetup, interfaces: Path) -> None:
    writer.add_file(f"{_MOUNT}/client.conf", mount.config.encode())
    writer.add_file(f"{_MOUNT}/limit", f"{mount.limit_seconds}\n".encode())
    kinds = b""
    for path in sorted(interfaces.iterdir()) if interfaces.is_dir() else ():
        content = path.read_bytes()
        if path.name == "list":
            kinds = content
        else:
            # Not every kernel unpacks a module itself.
            writer.add_file(f"{_MOUNT}/modules/{path.name}", unpacked_module(content, path.name))
    writer.add_file(f"{_MOUNT}/interfaces", kinds)


def write_bare_initramfs(target: Path) -> None:
    """Write a minimal initramfs, whose init powers off at once: the bench compares the boot gate with it."""
    with target.open("wb") as file:
        writer = InitramfsWriter(file)
        writer.add_file("busybox", _static_busybox(), 0o755)
        # It prints the first line of the gate's init, so that the caller can wait for both alike.
        writer.add_file("init", b"#!/busybox sh\n/busybox echo '@kmatrix init'\n/busybox poweroff -f\n", 0o755)
        writer.finish()


def _static_busybox(arch: Arch | None = None) -> bytes:
    """Return a static busybox that runs on `arch`; by default on this machine."""
    if arch is not None and arch != platform.machine():
        path = f"/usr/lib/busybox-static/busybox-{arch}"
        if Path(path).is_file():
            return Path(path).read_bytes()
        hint = f"Run `./scripts/bootstrap --arch {arch}`, which puts one at {path}."
        raise ToolError(f"there is no static busybox for {arch} for the guest", hint)
    for path in _BUSYBOX:
        if Path(path).is_file():
            content = Path(path).read_bytes()
            # A dynamic one would look for its libraries in the cell's image.
            if b"/ld-linux" not in content:
                return content
    raise ToolError("there is no static busybox for the guest", "Run ./scripts/bootstrap, or install busybox-static.")
