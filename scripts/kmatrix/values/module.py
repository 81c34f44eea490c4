"""Define the facts about a kernel module, its image, and the kernel it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmatrix.values.cells import Cell, Finding

MODULE_NAME = "beegfs"
THIS_MODULE = ".gnu.linkonce.this_module"
FILESYSTEM_ALIAS = "fs-beegfs"
RDMA_MODULES = ("ib_core", "rdma_cm")
IMAGE_MODULES = "/opt/lib/modules"
# The configuration templates of the vendor's packages; 7.x alone has the helper daemon.
CLIENT_CONFIG = "/etc/beegfs/beegfs-client.conf"
HELPERD_CONFIG = "/etc/beegfs/beegfs-helperd.conf"
# The path of the node's own tree in a container that loads the module, and the target of the image's `host` symlink.
# OpenShift's Kernel Module Management has the tree there alone, kubernetes-sigs' there too (both:
# internal/pod/workerpodmanager.go).
NODE_MODULES = "/lib/modules"
_COMPRESSIONS = (".xz", ".zst", ".gz")


def module_path(kernel: str) -> str:
    """Return the path of a kernel's module in cell images and bundles."""
    return f"{IMAGE_MODULES}/{kernel}/extra/{MODULE_NAME}.ko"


def features_path(kernel: str) -> str:
    """Return the path in a cell's image of the list of feature macros (images/beegfs-client/build-module)."""
    return f"{IMAGE_MODULES}/{kernel}/extra/{MODULE_NAME}.features"


def certificate_path(kernel: str) -> str:
    """Return the path in a cell's image of the certificate (DER) that its module is signed with."""
    return f"{IMAGE_MODULES}/{kernel}/extra/{MODULE_NAME}.der"


def module_name(path: str) -> str:
    """Return the name a module is loaded under: no directory, no suffix, `-` written as `_`.

    `kernel/net/nf-log.ko.xz`, `net/nf-log` and `nf_log` are one module (kmod: modname_normalize).
    """
    name = path.rsplit("/", 1)[-1]
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    return name.removesuffix(".ko").replace("-", "_")


@dataclass(frozen=True)
class Export:
    """One line of Module.symvers: a symbol that the kernel or an in-tree module offers.

    `crc` is 0 where none was computed; `module` is `vmlinux` or a path without suffix
    (drivers/infiniband/core/ib_core); `gpl` means for GPL-compatible modules only.
    """

    crc: int
    module: str
    gpl: bool
    namespace: str = ""


@dataclass(frozen=True)
class ElfSection:
    """One section of a module file.

    `size` is in bytes; `loaded` is ELF's SHF_ALLOC, without which the kernel's loader skips a section;
    `has_content` is false for one that only reserves memory; `writable_code` means both SHF_WRITE and SHF_EXECINSTR.
    """

    name: str
    size: int
    loaded: bool
    has_content: bool
    writable_code: bool


@dataclass(frozen=True)
class ModuleElf:
    """A kernel module file, read but not judged.

    `machine` is the ELF name (EM_X86_64); `bits` 32 or 64; `sections` come in the file's order, without the
    empty one at its head; `modinfo` has every value of a repeated key; `undefined` are the symbols the kernel
    must supply, `weak` those it may; `common` are variables left to the linker; `exported` the symbols that the
    module exports; `version_entries` is `__versions` as stored (symbol, CRC), `extended_entries` its successor
    with long names; `relocation_types` are ELF's numbers of those in loaded sections; `comment` are the
    compilers' own strings.
    """

    machine: str
    bits: int
    little_endian: bool
    relocatable: bool
    sections: tuple[ElfSection, ...]
    symbol_count: int
    modinfo: Mapping[str, tuple[str, ...]]
    undefined: frozenset[str]
    weak: frozenset[str]
    common: tuple[str, ...]
    exported: frozenset[str]
    version_entries: tuple[tuple[str, int], ...]
    extended_entries: tuple[tuple[str, int], ...]
    relocation_types: frozenset[int]
    comment: tuple[str, ...]

    @property
    def has_btf(self) -> bool:
        """Whether the file carries type information of its own."""
        return bool(self.named(".BTF"))

    @property
    def versions(self) -> dict[str, int]:
        """The CRC of each symbol that the kernel reads in `__versions`: the first (kernel/module/version.c)."""
        return _first_of_each(self.version_entries)

    @property
    def extended_versions(self) -> dict[str, int]:
        """The CRC of each symbol that a kernel of 6.14 or newer reads in the extended table: the first."""
        return _first_of_each(self.extended_entries)

    def named(self, name: str) -> tuple[ElfSection, ...]:
        """Return all sections of a name."""
        return tuple(section for section in self.sections if section.name == name)

    def loaded(self, name: str) -> ElfSection | None:
        """Return the section that the kernel finds by a name: the first loaded one (kernel/module/main.c, find_sec)."""
        return next((section for section in self.named(name) if section.loaded), None)

    def first(self, key: str) -> str | None:
        """Return the value of a modinfo key that the kernel reads: the first (kernel/module/main.c, get_modinfo)."""
        values = self.modinfo.get(key, ())
        return values[0] if values else None

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of the modules that must be loaded before this one, sorted."""
        return tuple(sorted({module_name(name) for name in (self.first("depends") or "").split(",") if name}))


def _first_of_each(entries: tuple[tuple[str, int], ...]) -> dict[str, int]:
    # No symbol has an empty name, so the kernel never looks for one.
    return {name: crc for name, crc in reversed(entries) if name}


@dataclass(frozen=True)
class ToolOutput:
    """The exit code and the standard output of a program that was run in the image."""

    exit_code: int
    text: str


@dataclass(frozen=True)
class ImageFacts:
    """The facts read from a built cell image.

    Attributes:
        labels: its OCI labels.
        module_paths: absolute paths of every beegfs.ko, also .xz, .zst and .gz.
        ko: content of the first of them, decompressed unless it is damaged; None if there is none.
        modinfo: `modinfo PATH`, run in the image.
        modversions: `modprobe --dump-modversions PATH`, run in the image.
        modules_dep: text of /opt/lib/modules/KERNEL/modules.dep; None if there is none.
        host_link: target of the symlink /opt/lib/modules/KERNEL/host; None if it is no symlink.
        has_cp: whether `cp` can be run.
        features: the feature macros that the module was compiled with; None if the image does not say.
        client_config: text of the client's configuration template; None if there is none.
        helperd_config: text of the helper daemon's (7.x); None if there is none.
        certificate: content of the file with the certificate of the module's signature; None if there is none.
    """

    labels: Mapping[str, str]
    module_paths: tuple[str, ...]
    ko: bytes | None
    modinfo: ToolOutput
    modversions: ToolOutput
    modules_dep: str | None
    host_link: str | None
    has_cp: bool
    features: tuple[str, ...] | None = None
    client_config: str | None = None
    helperd_config: str | None = None
    certificate: bytes | None = None


@dataclass(frozen=True)
class ModuleFile:
    """The file of a built module, as a bill of materials has it.

    `sha256` is in hexadecimal digits; the others are its modinfo's, empty where it has none. `depends` are the in-tree
    modules that it needs, in the order of its modinfo.
    """

    sha256: str
    version: str
    srcversion: str
    licence: str
    depends: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolkitFiles:
    """The files of a toolkit about one kernel, unparsed.

    Attributes:
        symvers: text of Module.symvers.
        config: text of the kernel's configuration.
        modules_dep: text of modules.dep of the in-tree modules.
        modules_builtin: text of modules.builtin.
        in_tree: some in-tree modules, at least one unless the kernel has none: path to content, decompressed.
        present: paths of all module files in the tree, seen to exist.
        system_map: text of System.map; may be a stub or empty.
    """

    symvers: str
    config: str
    modules_dep: str
    modules_builtin: str
    in_tree: Mapping[str, bytes]
    present: frozenset[str]
    system_map: str = ""


@dataclass(frozen=True)
class KernelFacts:
    """The toolkit's facts about its kernel; see `kmatrix.decide.formats.kernel_tree.kernel_facts`.

    Attributes:
        kernel: kernel release.
        exports: symbol to export, from Module.symvers.
        modversions: whether the kernel has symbol CRCs (CONFIG_MODVERSIONS).
        compiler: the compiler's own version text; empty if the configuration has none.
        dependencies: modules.dep: path of a module to the paths it needs, relative to /lib/modules/KERNEL.
        builtin: names of the modules built into the kernel.
        present: names of the module files confirmed to be in the tree.
        vermagic: the complete string of the in-tree modules, with its last blank.
        retpoline: whether the in-tree modules were built with return trampolines.
        this_module_size: bytes of `struct module` in the in-tree modules, and so in the kernel; 0 if unknown.
        loader_sections: sections that all in-tree modules have because the architecture's loader demands them.
        strict_rwx: whether the kernel refuses a section that is both writable and code (CONFIG_STRICT_MODULE_RWX).
        namespaces_enforced: whether it refuses a symbol whose namespace is not imported, or only warns.
        kernel_symbols: the kernel's own exports by System.map; None if there is no usable one.
    """

    kernel: str
    exports: Mapping[str, Export]
    modversions: bool
    compiler: str
    dependencies: Mapping[str, tuple[str, ...]]
    builtin: frozenset[str]
    present: frozenset[str]
    vermagic: str
    retpoline: bool
    this_module_size: int
    loader_sections: frozenset[str]
    strict_rwx: bool
    namespaces_enforced: bool
    kernel_symbols: frozenset[str] | None = None


@dataclass(frozen=True)
class Expectation:
    """The properties that an image must have.

    They are its cell, its cell key, whether RDMA is wanted, and the certificate (DER) that its module is signed with;
    that is empty for a module that need not be signed.
    """

    cell: Cell
    cell_key: str
    rdma: bool = True
    certificate: bytes = b""


@dataclass(frozen=True)
class CheckReport:
    """The outcome of the static checks.

    `srcversion` is the file's own digest of its sources, to compare with the loaded module's; `depends` are the
    in-tree modules that it needs; `notes` name the rules that could not be applied, so that none is skipped silently.
    """

    findings: tuple[Finding, ...]
    srcversion: str = ""
    notes: tuple[str, ...] = field(default=())
    depends: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are no findings."""
        return not self.findings
