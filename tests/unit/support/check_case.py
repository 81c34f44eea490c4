"""A cell image with module and kernel that pass every check; tests change one thing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kmatrix.decide.checks import check_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.values.cells import Cell
from kmatrix.values.labels import cell_labels
from kmatrix.values.module import CheckReport, Expectation, ImageFacts, ToolkitFiles, ToolOutput
from kmatrix.values.names import ClientVersion, ImageRef
from tests.unit.support.elf_maker import Ko

KERNEL = "5.14.0-427.50.1.el9_4.x86_64"
VERMAGIC = f"{KERNEL} SMP preempt mod_unload modversions "
COMPILER = "GCC: (GNU) 11.4.1 20231218 (Red Hat 11.4.1-3)"
NAMESPACE = "VFS_internal"
CELL = Cell(
    client=ClientVersion(7, 4, 6),
    kernel=KERNEL,
    arch="x86_64",
    flavour="standard",
    stream="el9",
    toolkit=ImageRef("127.0.0.1:5000", "toolkit", digest=f"sha256:{'d' * 64}"),
    releases=("4.16.3",),
)
# Symbol: CRC, module, export type, namespace.
EXPORTS = {
    "module_layout": (0x11111111, "vmlinux", "EXPORT_SYMBOL", ""),
    "_printk": (0x92997ED8, "vmlinux", "EXPORT_SYMBOL", ""),
    "__fentry__": (0xBDFB6DBB, "vmlinux", "EXPORT_SYMBOL", ""),
    "__x86_return_thunk": (0x5B8239CA, "vmlinux", "EXPORT_SYMBOL", ""),
    "register_filesystem": (0x0B1F2D23, "vmlinux", "EXPORT_SYMBOL", ""),
    "debugfs_create_dir": (0x12345678, "vmlinux", "EXPORT_SYMBOL_GPL", ""),
    "kernel_write": (0x0BADCAFE, "vmlinux", "EXPORT_SYMBOL", NAMESPACE),
    "crc32c": (0x15848E3D, "lib/libcrc32c", "EXPORT_SYMBOL", ""),
    "__ib_alloc_pd": (0x1C3D8A57, "drivers/infiniband/core/ib_core", "EXPORT_SYMBOL", ""),
    "rdma_connect": (0x2A7F9E11, "drivers/infiniband/core/rdma_cm", "EXPORT_SYMBOL", ""),
    "no_crc_yet": (0, "vmlinux", "EXPORT_SYMBOL", ""),
    "unused": (0x77777777, "vmlinux", "EXPORT_SYMBOL", ""),
}
_BYSTANDER = "kernel/fs/xfs/xfs.ko.xz"
_CORE = "kernel/drivers/infiniband/core"
TREE = {
    _BYSTANDER: "",
    "kernel/lib/libcrc32c.ko.xz": "",
    f"{_CORE}/ib_core.ko.xz": "",
    f"{_CORE}/iw-cm.ko.xz": f"{_CORE}/ib_core.ko.xz",
    f"{_CORE}/rdma_cm.ko.xz": f"{_CORE}/iw-cm.ko.xz {_CORE}/ib_core.ko.xz",
}
USED = tuple(name for name in EXPORTS if name not in ("module_layout", "unused"))
KO = Ko(
    modinfo=(
        ("name", "beegfs"),
        ("version", "7.4.6"),
        ("alias", "fs-beegfs"),
        ("license", "GPL v2"),
        ("srcversion", "533BB7E5866E52F63B9ACCB"),
        ("depends", "ib_core,rdma_cm,libcrc32c"),
        ("retpoline", "Y"),
        ("import_ns", NAMESPACE),
        ("vermagic", VERMAGIC),
    ),
    undefined=USED,
    weak=("perhaps_there",),
    versions={name: EXPORTS[name][0] for name in EXPORTS if name not in ("unused", "no_crc_yet")},
    comment=(COMPILER,),
)
IN_TREE = Ko(
    modinfo=(("name", "ib_core"), ("vermagic", VERMAGIC), ("retpoline", "Y"), ("intree", "Y")),
    comment=(COMPILER,),
)


def symvers(exports: Mapping[str, tuple[int, str, str, str]]) -> str:
    """Return a Module.symvers with these exports."""
    rows = (f"0x{crc:08x}\t{name}\t{rest}" for name, (crc, *others) in exports.items() for rest in ["\t".join(others)])
    return "\n".join(rows) + "\n"


def modules_dep(tree: Mapping[str, str]) -> str:
    """Return a modules.dep with these modules."""
    return "".join(f"{path}: {needs}".rstrip() + "\n" for path, needs in tree.items())


TOOLKIT = ToolkitFiles(
    symvers=symvers(EXPORTS),
    config='CONFIG_CC_VERSION_TEXT="gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)"\nCONFIG_MODVERSIONS=y\n'
    "CONFIG_STRICT_MODULE_RWX=y\n",
    modules_dep=modules_dep(TREE),
    modules_builtin="kernel/fs/ext4/ext4.ko\n",
    in_tree={"ib_core": IN_TREE.build()},
    present=frozenset(TREE),
)
OPT = f"/opt/lib/modules/{KERNEL}"
_NEEDED = " ".join(f"host/{path}" for path in TREE if path != _BYSTANDER)
IMAGE_DEP = f"host/{_BYSTANDER}:\nextra/beegfs.ko: {_NEEDED}\n"


@dataclass(frozen=True)
class Case:
    """The baseline; `image` replaces fields that were read out of the image."""

    ko: Ko = KO
    toolkit: ToolkitFiles = TOOLKIT
    cell: Cell = CELL
    rdma: bool = True
    certificate: bytes = b""
    image: Mapping[str, object] = field(default_factory=dict)

    def facts(self) -> ImageFacts:
        """Return the image's facts; its tools agree with the module, unless replaced."""
        listing = "".join(f"{key + ':':<16}{value}\n" for key, value in self.ko.modinfo)
        versions = {**(self.ko.versions or {}), **(self.ko.extended or {})}
        dump = "".join(f"0x{crc:08x}\t{name}\n" for name, crc in versions.items())
        facts = ImageFacts(
            labels=cell_labels(self.cell, "sha256:key"),
            module_paths=(f"{OPT}/extra/beegfs.ko",),
            ko=self.ko.build(),
            modinfo=ToolOutput(0, f"filename:       {OPT}/extra/beegfs.ko\n{listing}"),
            modversions=ToolOutput(0, dump),
            modules_dep=IMAGE_DEP,
            host_link=f"/lib/modules/{KERNEL}",
            has_cp=True,
        )
        return replace(facts, **self.image)  # type: ignore[arg-type]  # tests name fields by keyword

    def check(self) -> CheckReport:
        """Run every check."""
        expectation = Expectation(self.cell, "sha256:key", self.rdma, self.certificate)
        return check_module(expectation, self.facts(), kernel_facts(self.cell.kernel, self.toolkit))


def said(**changes: str | None) -> Ko:
    """Return the baseline's module with these modinfo values; None leaves the key out."""
    pairs = ((key, changes.get(key, value)) for key, value in KO.modinfo)
    return replace(KO, modinfo=tuple((key, value) for key, value in pairs if value is not None))


def versions(**changes: int | None) -> dict[str, int]:
    """Return the baseline's CRCs with these changes; None leaves the symbol out."""
    merged = {**(KO.versions or {}), **changes}
    return {name: crc for name, crc in merged.items() if crc is not None}


def exporting(**changes: tuple[int, str, str, str]) -> ToolkitFiles:
    """Return the baseline's toolkit with these exports added or replaced."""
    return replace(TOOLKIT, symvers=symvers({**EXPORTS, **changes}))
