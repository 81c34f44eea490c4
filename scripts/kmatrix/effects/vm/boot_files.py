"""The files for a boot: a toolkit's kernel with the in-tree modules, and the initramfs from a cell image."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from kmatrix.decide.formats.bzimage import unpack_kernel
from kmatrix.effects.disk.files import cannot_write, write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.inspect import unpacked_module
from kmatrix.effects.vm.cpio import InitramfsWriter
from kmatrix.values.errors import ToolError
from kmatrix.values.mount import MountSetup
from kmatrix.values.names import Arch

_OUT = "/kmatrix-boot"
_GUEST = ".kmatrix"
_MOUNT = f"{_GUEST}/mount"
_INTERFACES = "interfaces"
_SCRIPT = f"""
set -eu
kernel=$1; shift
mkdir {_OUT}
cp "/lib/modules/$kernel/vmlinuz" {_OUT}/vmlinuz
for name in "$@"; do
  # A dependency that the toolkit lacks is skipped: the guest then fails as a node would.
  modprobe -S "$kernel" --show-depends "$name" 2>/dev/null || true
done | sort -u | while read -r word path _; do
  [ "$word" = insmod ] || continue
  relative=${{path#/lib/modules/"$kernel"/}}
  mkdir -p "{_OUT}/modules/${{relative%/*}}"
  cp "$path" "{_OUT}/modules/$relative"
done
# Network interfaces that need no hardware: for each kind, its modules in the order in which they are loaded.
mkdir {_OUT}/{_INTERFACES}
for kind in dummy veth bridge ifb; do
  modprobe -S "$kernel" --show-depends "$kind" 2>/dev/null >/tmp/depends || continue
  files=
  while read -r word path _; do
    [ "$word" = insmod ] || continue
    cp "$path" {_OUT}/{_INTERFACES}/
    files="$files ${{path##*/}}"
  done </tmp/depends
  printf '%s%s\n' "$kind" "$files" >>{_OUT}/{_INTERFACES}/list
done
"""
# The programs that our init runs, independent of the image's own, and those that a person at its prompt needs.
_APPLETS = (
    *("cat", "cmp", "cp", "cttyhack", "dmesg", "grep", "insmod", "ip", "ls", "lsmod", "mkdir"),
    *("mount", "poweroff", "ps", "sed", "setsid", "sh", "sleep", "stat", "sync", "test", "umount"),
)
_HELD = tuple(f"{folder}/modprobe" for folder in ("usr/sbin", "sbin", "usr/bin", "bin"))
_unpacking = threading.Lock()
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/busybox")


@dataclass(frozen=True)
class KernelFiles:
    """A toolkit's kernel on disk: vmlinuz, and in-tree modules below a folder by their path in the module tree.

    `interfaces` is a folder with modules of network interfaces that need no hardware, and a `list` with a line for each
    kind: its name, and the names of its files in the order in which they are loaded. `unpacked` is the same kernel
    uncompressed, if a machine can start that.
    """

    vmlinuz: Path
    modules: Path
    interfaces: Path
    unpacked: Path | None = None


def run_prefix(run_id: str) -> str:
    """Return the prefix of the names of a run's temporary boot files, so that no run uses or removes another's."""
    return f"run-{run_id}-"


def boot_folder(root: Path) -> Path:
    """Return the folder of the boot gate: kernels that are kept, and the initramfs files of boots under way."""
    return root / "build" / "boot"


def remove_boot_files(folder: Path, run_id: str) -> None:
    """Remove a finished run's temporary files below the folder of boots; complete kernels stay.

    Raises:
        InputError: one cannot be removed.
    """
    for left in sorted(folder.rglob(f"{run_prefix(run_id)}*")):
        try:
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(left, error) from error


def kernel_files(engine: Engine, toolkit: str, kernel: str, depends: Iterable[str], folder: Path) -> KernelFiles:
    """Return a kernel's files, extracted from its toolkit unless `folder` has them.

    Args:
        engine: container engine that has the toolkit.
        toolkit: its reference by digest.
        kernel: kernel release.
        depends: names of the modules that the cell's module needs.
        folder: where they are kept; its name must identify toolkit and kernel.

    Raises:
        ToolError: the toolkit has no vmlinuz of this kernel.
        InputError: the folder cannot be written.
    """
    names = sorted(depends)
    target = folder / "-".join(("with", _INTERFACES, *names))
    files = KernelFiles(target / "vmlinuz", target / "modules", target / _INTERFACES)
    if target.is_dir():
        return _with_unpacked(files, engine.run_id)
    with engine.container(toolkit, ["sh", "-c", _SCRIPT, "boot-files", kernel, *names]) as container:
        done = engine.run(container)
        if done.status != 0:
            raise ToolError(
                f"the toolkit {toolkit} has no kernel to boot for {kernel}: {done.stderr.strip()[-300:]}",
                "`nox -s plan` shows the release that the toolkit belongs to; use `--no-boot` to skip the boot gate.",
            )
        found = engine.read_tree(container, _OUT)
    try:
        _put_tree(found, target, folder, engine.run_id)
    except OSError as error:
        raise cannot_write(target, error) from error
    return _with_unpacked(files, engine.run_id)


def _put_tree(found: Mapping[str, bytes], target: Path, folder: Path, run_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=run_prefix(run_id)))
    try:
        for name in ("modules", _INTERFACES):
            (staging / name).mkdir()
        for path, content in found.items():
            write_atomically(staging / path.partition("/")[2], content)
        try:
            os.replace(staging, target)
        except OSError:
            # If another cell of the same kernel was quicker, its files are the same.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _with_unpacked(files: KernelFiles, run_id: str) -> KernelFiles:
    """Unpack the kernel unless that was done before; an empty file records that it cannot be unpacked."""
    path = files.vmlinuz.with_name("vmlinux")
    # One at a time: unpacking needs much of this program's memory limit.
    with _unpacking:
        try:
            if not path.exists() or path.stat().st_mtime_ns < files.vmlinuz.stat().st_mtime_ns:
                _unpack(files.vmlinuz, path, run_id)
            return replace(files, unpacked=path if path.stat().st_size else None)
        except OSError as error:
            raise cannot_write(path, error) from error


def _unpack(vmlinuz: Path, path: Path, run_id: str) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=run_prefix(run_id)) as temporary:
        new = Path(temporary) / path.name
        with new.open("w+b") as file:
            if not unpack_kernel(vmlinuz.read_bytes(), file):
                file.truncate(0)
        os.replace(new, path)


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
