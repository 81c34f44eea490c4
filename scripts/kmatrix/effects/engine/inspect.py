"""Reads images for the checks: a toolkit's files about one kernel, and a built cell image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmatrix.decide.features import parse_features
from kmatrix.decide.formats import compression
from kmatrix.effects.engine.protocol import Engine
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.module import (
    CLIENT_CONFIG,
    HELPERD_CONFIG,
    IMAGE_MODULES,
    RDMA_MODULES,
    ImageFacts,
    ToolkitFiles,
    ToolOutput,
    certificate_path,
    features_path,
)

_FACTS = "/kmatrix-facts"
_MARK = "@kmatrix-status "
# A shell, and the engine for a container's own program, report 128 and the signal's number for a killed program.
_LAST_OF_ITS_OWN = 128
_KILLED_HINT = "Look in the kernel's log for processes that ran out of memory, then run the command again."
_DAMAGED_HINT = "Rebuild or pull the image that holds the file; if that does not help, its publisher must fix it."
# kmod goes by these, not by the suffix, and knows no other form: no bzip2, no zstd that begins with a frame to skip
# (kmod-project/kmod, libkmod/libkmod-file.c, comp_types).
_PACKED = (b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x1f\x8b")
# Collected by the toolkit's own tools in one container; missing files are left out and judged later.
TOOLKIT_SCRIPT = f"""
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
  # Not found is an answer; killed is none.
  path=$(modinfo -k "$kernel" -n "$name" 2>/dev/null || [ $? -le 128 ])
  case $path in /*) cp "$path" {_FACTS}/in-tree/ ;; esac
done
# A kernel that has RDMA built in, or none, still has modules to compare with.
if [ -z "$(ls {_FACTS}/in-tree)" ]; then
  path=$(sort {_FACTS}/present | grep -m 1 '^[.]/kernel/' || true)
  if [ -n "$path" ]; then cp "$path" {_FACTS}/in-tree/; fi
fi
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
    """Read the facts that the checks need about one kernel of a toolkit.

    Args:
        engine: has the toolkit.
        toolkit: its reference by digest.
        kernel: kernel release.

    Raises:
        ToolError: the toolkit lacks the kernel, or a file cannot be read.
    """
    command = ["sh", "-c", TOOLKIT_SCRIPT, "toolkit-facts", kernel, *RDMA_MODULES]
    with engine.container(toolkit, command) as container:
        done = engine.run(container)
        if done.status != 0:
            raise ToolError(
                f"the toolkit {toolkit} cannot be read for kernel {kernel}: {done.stderr.strip()[-300:]}",
                "Check that it has /lib/modules and /usr/src/kernels of that kernel, and that the engine can run it.",
            )
        files = engine.read_tree(container, _FACTS)
    texts = {path.partition("/")[2]: content for path, content in files.items()}

    def text(name: str) -> str:
        return texts.get(name, b"").decode("utf-8", "replace")

    in_tree = {
        name.removeprefix("in-tree/"): unpacked_module(content, name)
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
    """Read a built cell image: its complete file list, its module, and the output of its own kmod about that.

    Args:
        engine: has the image.
        image: its id.
        kernel: the cell's kernel release.

    Raises:
        ToolError: the engine cannot run or read it, or its kmod was killed.
    """
    inspected = engine.image(image)
    if inspected is None:
        raise ToolError(
            f"the engine has no image {image}",
            "Something removed it since it was built or pulled; run the command again.",
        )
    with engine.container(image, ["sh", "-c", _MODINFO_SCRIPT, "modinfo", kernel]) as container:
        done = engine.run(container)
        listing = _scan(engine, container, kernel)
    first, second = _two_outputs(done.stdout, done.status)
    return ImageFacts(
        labels=inspected.labels,
        module_paths=tuple(sorted(listing.modules)),
        ko=next((content for _, content in sorted(listing.modules.items())), None),
        modinfo=first,
        modversions=second,
        modules_dep=listing.text(_dep_path(kernel)),
        host_link=listing.host_link,
        has_cp=listing.has_cp,
        features=parse_features(listing.text(features_path(kernel))),
        client_config=listing.text(CLIENT_CONFIG),
        helperd_config=listing.text(HELPERD_CONFIG),
        certificate=listing.others.get(certificate_path(kernel)),
    )


@dataclass
class _Listing:
    """The files of an image: modules, and others by absolute path; None is a link that leads to no file."""

    modules: dict[str, bytes]
    others: dict[str, bytes | None]
    host_link: str | None = None
    has_cp: bool = False

    def text(self, path: str) -> str | None:
        content = self.others.get(path)
        return None if content is None else content.decode("utf-8", "replace")


def _scan(engine: Engine, container: str, kernel: str) -> _Listing:
    """Read every file of an image in one pass; nothing in it needs to work for that."""
    host = f"{IMAGE_MODULES}/{kernel}/host"
    wanted = {_dep_path(kernel), features_path(kernel), certificate_path(kernel), CLIENT_CONFIG, HELPERD_CONFIG}
    found = _Listing({}, {})
    contents: dict[str, bytes | None] = {}
    for member, archive in engine.root_files(container):
        path = f"/{member.name}"
        if _CP.fullmatch(member.name):
            found.has_cp = True
        elif path == host and member.issym():
            found.host_link = member.linkname
        elif (path in wanted or _MODULE_FILE.fullmatch(member.name)) and not member.isdir():
            file = archive.extractfile(member) if member.isfile() else None
            contents[path] = file.read() if file else None
    for path, read in contents.items():
        # A stream cannot go back to the file that a link leads to; the engine can read it.
        content = engine.read_file(container, path) if read is None else read
        if path in wanted:
            found.others[path] = content
        else:
            found.modules[path] = _module_content(content or b"", path.lstrip("/"))
    return found


def _dep_path(kernel: str) -> str:
    return f"{IMAGE_MODULES}/{kernel}/modules.dep"


def _module_content(content: bytes, name: str) -> bytes:
    try:
        return unpacked_module(content, name)
    except ProtocolError:
        # The image itself is examined: a damaged module in it is for the checks to find, not a failure to read it.
        return content


def _two_outputs(text: str, status: int) -> tuple[ToolOutput, ToolOutput]:
    """Split the output of modinfo and modprobe; raise ToolError if one was killed, or if output was lost."""
    outputs: list[ToolOutput] = []
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            outputs.append(ToolOutput(int(line.removeprefix(_MARK)), "\n".join(lines) + "\n"))
            lines = []
        else:
            lines.append(line)
    programs = ("`modinfo`", "`modprobe --dump-modversions`")
    ended = [*zip(programs, (output.exit_code for output in outputs), strict=False), ("its shell", status)]
    for program, code in ended:
        if code > _LAST_OF_ITS_OWN:
            raise ToolError(
                f"{program} was killed by signal {code - _LAST_OF_ITS_OWN} while it read the module in the image",
                _KILLED_HINT,
            )
    if len(outputs) < len(programs) and status == 0:
        raise ToolError(
            "the engine lost the output of modinfo and modprobe about the module in the image",
            "Check that the engine's disk has room (`docker info` names its folder), then run the command again.",
        )
    # No shell, or no kmod: then the program's own failure is judged.
    outputs += [ToolOutput(status, "")] * (len(programs) - len(outputs))
    return outputs[0], outputs[1]


def unpacked_module(content: bytes, name: str) -> bytes:
    """Return a kernel module's ELF file, packed or not; its first bytes say which.

    All members of a gzip file, streams of an xz file and frames of a zstd file are read, as kmod does
    (libkmod/libkmod-file-zlib.c, -xz.c, -zstd.c), and the last of them must be complete.

    Args:
        content: the file.
        name: its name in errors.

    Raises:
        ProtocolError: its suffix says that it is packed and its content does not, or it is incomplete.
    """
    if not content.startswith(_PACKED):
        if name.endswith((".xz", ".zst", ".gz")) and not content.startswith(b"\x7fELF"):
            raise ProtocolError(f"{name} cannot be decompressed: it is neither packed nor ELF", _DAMAGED_HINT)
        return content
    try:
        return b"".join(compression.decompressed((content,)))
    except compression.DamagedError as error:
        raise ProtocolError(f"{name} cannot be decompressed: {error}", _DAMAGED_HINT) from error
