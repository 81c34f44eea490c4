"""The files that a boot needs of a toolkit, kept between runs: its kernel, and in-tree modules."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kmatrix.decide.formats.bzimage import unpack_kernel
from kmatrix.effects.disk.files import cannot_write, write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.values.errors import ToolError

_OUT = "/kmatrix-boot"
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
    # Where a file is missing, another kind may serve.
    cp "$path" {_OUT}/{_INTERFACES}/ || continue 2
    files="$files ${{path##*/}}"
  done </tmp/depends
  printf '%s%s\n' "$kind" "$files" >>{_OUT}/{_INTERFACES}/list
done
"""
_unpacking = threading.Lock()


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
