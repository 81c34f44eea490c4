"""The toolkit's files are read as the kernel writes them; an error names a bad one, with its line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.formats.kernel_tree import (
    kernel_facts,
    parse_config,
    parse_modules_dep,
    parse_symvers,
    parse_system_map,
)
from kmatrix.values.errors import ProtocolError
from kmatrix.values.module import Export
from tests.unit.support.check_case import IN_TREE, KERNEL, TOOLKIT
from tests.unit.support.elf_maker import Ko

_GOOD = "0x9060323f\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\n"


def test_symvers_with_and_without_namespace_field() -> None:
    text = _GOOD + "0x00000001\ta\tnet/b\tEXPORT_SYMBOL_GPL\tNS\n0x00000002\tc\tvmlinux\tEXPORT_SYMBOL\t\n"
    assert parse_symvers(text) == {
        "module_layout": Export(0x9060323F, "vmlinux", gpl=False),
        "a": Export(1, "net/b", gpl=True, namespace="NS"),
        "c": Export(2, "vmlinux", gpl=False),
    }


def test_the_kernels_own_export_stands_before_that_of_a_module() -> None:
    text = "0x0000000A\ta\tvmlinux\tEXPORT_SYMBOL\t\n0x0000000b\ta\tdrivers/x/y\tEXPORT_SYMBOL\t\n"
    assert parse_symvers(text) == {"a": Export(10, "vmlinux", gpl=False)}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0x1 a vmlinux EXPORT_SYMBOL",
        "0x00000001\ta\tvmlinux",
        "0x00000001\ta\tvmlinux\tEXPORT_SYMBOL\t\t",
        "1\ta\tvmlinux\tEXPORT_SYMBOL",
        "0x123456789\ta\tvmlinux\tEXPORT_SYMBOL",
        "0x00000001\t\tvmlinux\tEXPORT_SYMBOL",
        "0x00000001\ta\t\tEXPORT_SYMBOL",
        # Linux 5.4 to 5.6 had the namespace before the module.
        "0x00000001\ta\tNS\tvmlinux\tEXPORT_SYMBOL",
    ],
)
def test_malformed_symvers_names_file_and_line(line: str) -> None:
    with pytest.raises(ProtocolError, match=r"^/k/Module\.symvers, line 2: "):
        parse_symvers(_GOOD + line + "\n" + _GOOD, "/k/Module.symvers")


def test_empty_symvers_is_refused() -> None:
    with pytest.raises(ProtocolError, match="lists no symbol"):
        parse_symvers("")


def test_config_values() -> None:
    text = '#\n# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="a \\"b\\" c"\n\nCONFIG_D=0x10\n'
    assert parse_config(text) == {"CONFIG_B": "y", "CONFIG_C": 'a "b" c', "CONFIG_D": "0x10"}


def test_malformed_config_is_named() -> None:
    with pytest.raises(ProtocolError, match="config, line 2: not a kernel setting"):
        parse_config("CONFIG_B=y\n<html>\n")
    with pytest.raises(ProtocolError, match="has no setting"):
        parse_config("# nothing\n")


def test_modules_dep() -> None:
    assert parse_modules_dep("a.ko:\n\nb.ko: a.ko c.ko\n") == {"a.ko": (), "b.ko": ("a.ko", "c.ko")}
    with pytest.raises(ProtocolError, match=r"modules\.dep, line 1: "):
        parse_modules_dep("a.ko b.ko\n")
    with pytest.raises(ProtocolError, match=r"modules\.dep, line 1: "):
        parse_modules_dep(": b.ko\n")


def test_system_map_or_stub() -> None:
    assert parse_system_map("ffffffff81 T x\nffffffff82 r __ksymtab_x\nffffffff83 R __ksymtab_y\n") == frozenset("xy")
    assert parse_system_map("ffffffffffffffff B The real System.map is in the -dbg package\n") is None
    assert parse_system_map("") is None


def test_in_tree_modules_must_agree_on_struct_module() -> None:
    other = replace(IN_TREE, raw={".gnu.linkonce.this_module": bytes(72)}).build()
    with pytest.raises(ProtocolError, match="a has 64 bytes, b has 72 bytes") as caught:
        kernel_facts(KERNEL, replace(TOOLKIT, in_tree={"a": IN_TREE.build(), "b": other}))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("in_tree", "message"),
    [
        ({}, "none was read"),
        ({"a": b"not ELF"}, "in-tree module a: "),
        ({"a": Ko().build()}, "in-tree module a has vermagic ''"),
        ({"a": Ko(modinfo=(("vermagic", "6.1.0-1-amd64 SMP "),)).build()}, "not that of"),
        ({"a": IN_TREE.build(), "b": Ko(modinfo=(("vermagic", f"{KERNEL} "),)).build()}, "b has .*, a has .* SMP "),
    ],
)
def test_in_tree_modules_must_agree_with_the_kernel(in_tree: dict[str, bytes], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        kernel_facts(KERNEL, replace(TOOLKIT, in_tree=in_tree))
