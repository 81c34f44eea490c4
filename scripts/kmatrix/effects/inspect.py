"""Reads images for the checks: a toolkit's files about one kernel, and a built cell image."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from dataclasses import dataclass

import zstandard

from kmatrix.effects.engine import Engine
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.module import IMAGE_MODULES, RDMA_MODULES, ImageFacts, ToolkitFiles, ToolOutput

_FACTS = "/kmatrix-facts"
_MARK = "@kmatrix-status "
# Collected by the toolkit's own tools in one container; missing files are left out and judged later.
_TOOLKIT_SCRIPT = f"""
set -eu
kernel=$1; shift
tree=/lib/modules/$kernel
mkdir {_FACTS}
cd "$tree"
if [ -f "/usr/src/kernels/$kernel/Module.symvers" ]; then
  cat "/usr/src/kernels/$kernel/Module.symvers" >{_FACTS}/symvers
else
  gzip -dc symvers.gz >{_FACTS}/symvers
fi
for file in config System.map modules.dep modules.builtin; do
  if [ -f "$file" ]; then cat "$file" >"{_FACTS}/$file"; fi
done
find . -name '*.ko' -o -name '*.ko.xz' -o -name '*.ko.zst' -o -name '*.ko.gz' >{_FACTS}/present
mkdir {_FACTS}/in-tree
for name in "$@"; do
  path=$(modinfo -k "$kernel" -n "$name" 2>/dev/null || true)
  case $path in /*) cp "$path" {_FACTS}/in-tree/ ;; esac
done
"""
# With depmod's own index first, as a loader would find the module; else where this project puts it.
_MODINFO_SCRIPT = f"""
path=$(modinfo -b /opt -k "$1" -n beegfs 2>/dev/null) || path={IMAGE_MODULES}/$1/extra/beegfs.ko
modinfo "$path"
echo "{_MARK}$?"
modprobe --dump-modversions "$path"
echo "{_MARK}$?"
"""
_MODULE_FILE = re.compile(r"(.*/)?beegfs\.ko(\.xz|\.zst|\.gz)?")
_CP = re.compile(r"(usr/)?s?bin/(cp|busybox)")


def read_toolkit(engine: Engine, toolkit: str, kernel: str) -> ToolkitFiles:
    """Read what the checks need to know about one kernel of a toolkit.

    Args:
        engine: has the toolkit.
        toolkit: its reference by digest.
        kernel: kernel release.

    Raises:
        ToolError: the toolkit lacks the kernel, or a file cannot be read.
    """
    command = ["sh", "-c", _TOOLKIT_SCRIPT, "toolkit-facts", kernel, *RDMA_MODULES]
    with engine.container(toolkit, command) as container:
        done = engine.run(container)
        if done.status != 0:
            raise ToolError(f"the toolkit {toolkit} cannot be read for kernel {kernel}: {done.stderr.strip()[-300:]}")
        files = engine.read_tree(container, _FACTS)
    texts = {path.partition("/")[2]: content for path, content in files.items()}

    def text(name: str) -> str:
        return texts.get(name, b"").decode("utf-8", "replace")

    in_tree = {
        name.removeprefix("in-tree/"): decompressed(content, name)
        for name, content in texts.items()
        if name.startswith("in-tree/")
    }
    present = frozenset(line.removeprefix("./") for line in text("present").splitlines())
    return ToolkitFiles(
        symvers=text("symvers"),
        config=text("config"),
        modules_dep=text("modules.dep"),
        modules_builtin=text("modules.builtin"),
        in_tree=in_tree,
        present=present,
        system_map=text("System.map"),
    )


def read_cell_image(engine: Engine, image: str, kernel: str) -> ImageFacts:
    """Read a built cell image: its whole file list, its module, and what its own kmod says about that.

    Args:
        engine: has the image.
        image: its id.
        kernel: the cell's kernel release.

    Raises:
        ToolError: the engine cannot run or read it.
    """
    inspected = engine.image(image)
    if inspected is None:
        raise ToolError(f"the engine has no image {image}")
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    with engine.container(image, ["sh", "-c", _MODINFO_SCRIPT, "modinfo", kernel]) as container:
        done = engine.run(container)
        listing = _scan(engine, container, kernel)
    first, second = _two_outputs(done.stdout, done.status)
    return ImageFacts(
        labels=labels,
        module_paths=tuple(sorted(listing.modules)),
        ko=next((content for _, content in sorted(listing.modules.items())), None),
        modinfo=first,
        modversions=second,
        modules_dep=listing.modules_dep,
        host_link=listing.host_link,
        has_cp=listing.has_cp,
    )


@dataclass
class _Listing:
    modules: dict[str, bytes]
    modules_dep: str | None = None
    host_link: str | None = None
    has_cp: bool = False


def _scan(engine: Engine, container: str, kernel: str) -> _Listing:
    """Go through every file of an image once: nothing in it needs to work for that."""
    tree = f"{IMAGE_MODULES}/{kernel}".lstrip("/")
    found = _Listing({})
    for member, archive in engine.root_files(container):
        if _CP.fullmatch(member.name):
            found.has_cp = True
        elif _MODULE_FILE.fullmatch(member.name) and (member.isfile() or member.issym()):
            file = archive.extractfile(member) if member.isfile() else None
            found.modules[f"/{member.name}"] = decompressed(file.read(), member.name) if file else b""
        elif member.name == f"{tree}/modules.dep":
            file = archive.extractfile(member)
            found.modules_dep = file.read().decode("utf-8", "replace") if file else None
        elif member.name == f"{tree}/host" and member.issym():
            found.host_link = member.linkname
    return found


def _two_outputs(text: str, status: int) -> tuple[ToolOutput, ToolOutput]:
    outputs: list[ToolOutput] = []
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            outputs.append(ToolOutput(int(line.removeprefix(_MARK)), "\n".join(lines) + "\n"))
            lines = []
        else:
            lines.append(line)
    # No shell, or no kmod: then the program's own failure is what there is to judge.
    outputs += [ToolOutput(status or 127, "")] * (2 - len(outputs))
    return outputs[0], outputs[1]


def decompressed(content: bytes, name: str) -> bytes:
    """Return a kernel module's ELF file, whatever its suffix says it is packed with.

    Raises:
        ProtocolError: it is not packed that way.
    """
    try:
        if name.endswith(".xz"):
            return lzma.decompress(content)
        if name.endswith(".gz"):
            return gzip.decompress(content)
        if name.endswith(".zst"):
            return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise ProtocolError(f"{name}: cannot be decompressed: {error}") from error
    return content
