"""Which modules of other kernels would load in a kernel: by its own facts, and by records alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

import pytest

from kmatrix.decide import reuse
from kmatrix.decide.formats.elf import read_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.decide.reuse import (
    MOST_NAMED,
    AbiClasses,
    abi_classes,
    abi_of,
    neighbours,
    newest,
    recorded_module,
    reusable_by_records,
    reusable_in,
    would_load,
)
from kmatrix.values.cells import Cell
from kmatrix.values.gate_record import RecordedModule
from kmatrix.values.module import ToolkitFiles
from tests.unit.support.check_case import (
    CELL,
    EXPORTS,
    KERNEL,
    KO,
    NAMESPACE,
    TOOLKIT,
    Case,
    exporting,
    said,
    symvers,
    versions,
)
from tests.unit.support.elf_maker import Ko
from tests.unit.support.made_up_cells import made_up_cells

LONG = "s" * 80


def module_of(ko: Ko) -> RecordedModule:
    return recorded_module(read_module(ko.build()), ("KERNEL_HAS_A",))


MODULE = module_of(KO)


def without(*symbols: str) -> ToolkitFiles:
    return replace(TOOLKIT, symvers=symvers({name: line for name, line in EXPORTS.items() if name not in symbols}))


def loads(module: RecordedModule, toolkit: ToolkitFiles) -> bool:
    return would_load(module, kernel_facts(KERNEL, toolkit))


def test_the_recorded_facts_are_those_that_the_loader_compares() -> None:
    needs = {name: EXPORTS[name][0] for name in EXPORTS if name != "unused"}
    assert dict(MODULE.needs) == needs, "a symbol that has no CRC is needed all the same; a weak one is not"
    assert list(MODULE.needs) == sorted(needs)
    assert (MODULE.features, MODULE.namespaces, MODULE.licence) == (("KERNEL_HAS_A",), (NAMESPACE,), "GPL v2")
    assert module_of(said(license=None, import_ns=None)) == replace(MODULE, licence="", namespaces=())
    assert recorded_module(read_module(KO.build()), None).features is None


def test_symbols_with_long_names_are_in_the_extended_table_alone() -> None:
    extended = {**versions(), LONG: 0x99}
    module = module_of(replace(KO, undefined=(*KO.undefined, LONG), extended=extended))
    assert dict(module.needs) == {**MODULE.needs, LONG: 0x99}
    assert not loads(module, TOOLKIT)
    assert loads(module, exporting(**{LONG: (0x99, "vmlinux", "EXPORT_SYMBOL", "")}))
    alone = module_of(replace(KO, versions=None, extended=versions()))
    assert alone == MODULE


SOUND = {
    "the very same kernel": (KO, TOOLKIT),
    "a kernel with more symbols": (KO, exporting(more=(7, "vmlinux", "EXPORT_SYMBOL", "OTHER"))),
    "another CRC of a symbol that it does not need": (KO, exporting(unused=(8, "vmlinux", "EXPORT_SYMBOL", ""))),
    "a symbol in another module": (KO, exporting(crc32c=(0x15848E3D, "vmlinux", "EXPORT_SYMBOL", ""))),
    "a GPL-compatible licence": (
        said(license="Dual BSD/GPL"),
        exporting(_printk=(0x92997ED8, "vmlinux", "EXPORT_SYMBOL_GPL", "")),
    ),
    "a proprietary licence without GPL-only symbols": (
        said(license="Proprietary"),
        exporting(debugfs_create_dir=(0x12345678, "vmlinux", "EXPORT_SYMBOL", "")),
    ),
    "a namespace that admits it by name": (
        said(import_ns=None),
        exporting(kernel_write=(0x0BADCAFE, "vmlinux", "EXPORT_SYMBOL", "module:nfs,bee*")),
    ),
    "a namespace whose import is not enforced": (
        said(import_ns=None),
        replace(TOOLKIT, config=TOOLKIT.config + "CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y\n"),
    ),
}
REFUSED = {
    "another CRC": (KO, exporting(register_filesystem=(0x0B1F2D24, "vmlinux", "EXPORT_SYMBOL", ""))),
    "another CRC of an in-tree module": (KO, exporting(rdma_connect=(1, "drivers/rdma_cm", "EXPORT_SYMBOL", ""))),
    "another struct module": (KO, exporting(module_layout=(0x11111112, "vmlinux", "EXPORT_SYMBOL", ""))),
    "a kernel without module_layout": (KO, without("module_layout")),
    "a missing symbol": (KO, without("register_filesystem")),
    "a missing symbol that has no CRC": (KO, without("no_crc_yet")),
    "a CRC where there was none": (KO, exporting(no_crc_yet=(5, "vmlinux", "EXPORT_SYMBOL", ""))),
    "no CRC where there was one": (KO, exporting(crc32c=(0, "lib/libcrc32c", "EXPORT_SYMBOL", ""))),
    "a symbol that is in a namespace there": (
        KO,
        exporting(_printk=(0x92997ED8, "vmlinux", "EXPORT_SYMBOL", "PRINTK")),
    ),
    "a namespace that it does not import": (said(import_ns=None), TOOLKIT),
    "a namespace for other modules": (
        KO,
        exporting(kernel_write=(0x0BADCAFE, "vmlinux", "EXPORT_SYMBOL", "module:nfs")),
    ),
    "a proprietary licence": (said(license="Proprietary"), TOOLKIT),
    "no licence": (said(license=None), TOOLKIT),
    "a symbol that is GPL-only there": (
        said(license="Proprietary"),
        exporting(
            debugfs_create_dir=(0x12345678, "vmlinux", "EXPORT_SYMBOL", ""),
            _printk=(0x92997ED8, "vmlinux", "EXPORT_SYMBOL_GPL", ""),
        ),
    ),
    "a kernel without CRCs": (KO, replace(TOOLKIT, config="CONFIG_STRICT_MODULE_RWX=y\n")),
    "a module without CRCs": (replace(KO, versions=None), TOOLKIT),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_module_would_load_where_every_symbol_is_as_it_demands(case: str) -> None:
    ko, toolkit = SOUND[case]
    assert loads(module_of(ko), toolkit)


@pytest.mark.parametrize("case", REFUSED)
def test_a_module_would_not_load_where_one_thing_differs(case: str) -> None:
    ko, toolkit = REFUSED[case]
    assert not loads(module_of(ko), toolkit)


_OF_SYMBOLS = ("symbols", "crcs", "licence")


@pytest.mark.parametrize("case", [*SOUND, *REFUSED])
def test_the_static_checks_of_symbols_agree(case: str) -> None:
    """Rules 3, 4 and 7 are the same ones: where a module would load they find nothing, and else something."""
    ko, toolkit = {**SOUND, **REFUSED}[case]
    found = [finding for finding in Case(ko, toolkit).check().findings if finding.check in _OF_SYMBOLS]
    # A kernel without CRCs compares the release, and struct module is compared by its size too: other rules.
    others = ("a kernel without CRCs", "a kernel without module_layout", "no licence")
    if case not in others:
        assert bool(found) == (case in REFUSED), found


A, B, C, D = made_up_cells(1, 4)


def test_the_cells_of_the_same_client_and_architecture_are_named_in_the_order_of_their_kernels() -> None:
    kernel = kernel_facts(CELL.kernel, TOOLKIT)

    def cell(number: int, **changes: Any) -> Cell:
        return replace(CELL, kernel=f"5.14.0-{number}.1.1.el9_4.x86_64", **changes)

    same = [cell(1000), cell(99), cell(427, flavour="rt", stream="el10")]
    others = [CELL, cell(1, client=A.client), cell(2, arch="aarch64")]
    published = [(each, MODULE) for each in [*same, *others]] + [(cell(3), replace(MODULE, licence="None"))]
    expected = tuple(each.id for each in (same[1], same[2], same[0]))
    assert reusable_in(CELL, kernel, published) == expected
    assert reusable_in(CELL, kernel, reversed(published)) == expected
    many = [(cell(number), MODULE) for number in range(100)]
    assert reusable_in(CELL, kernel, many) == tuple(cell(number).id for number in range(100 - MOST_NAMED, 100))


def records(**modules: RecordedModule) -> dict[str, tuple[str, ...]]:
    """`reusable_by_records`, with the letters of the cells instead of their ids."""
    cells = {"a": A, "b": B, "c": C, "d": D}
    letters = {cell.id: letter for letter, cell in cells.items()}
    found = reusable_by_records((cells[letter], module) for letter, module in modules.items())
    return {letters[cell]: tuple(letters[each] for each in others) for cell, others in found.items()}


def needing(needs: dict[str, int], **changes: Any) -> RecordedModule:
    return replace(MODULE, needs={"module_layout": 1, **needs}, **changes)


def test_by_records_a_module_loads_where_one_that_needs_all_that_it_needs_was_published() -> None:
    small, large = needing({"x": 1}), needing({"x": 1, "y": 2})
    assert records(a=small, b=small) == {"a": ("b",), "b": ("a",)}
    assert records(a=small, b=large) == {"a": (), "b": ("a",)}, "whether the kernel of a has y is unknown"
    assert records(a=small, b=needing({"x": 2})) == {"a": (), "b": ()}
    assert records(a=large, b=needing({"x": 1, "y": 3})) == {"a": (), "b": ()}
    assert records(a=small, b=replace(small, needs={**small.needs, "module_layout": 2})) == {"a": (), "b": ()}
    assert records(a=small, b=large, c=large, d=needing({"y": 2})) == {
        "a": (),
        "b": ("a", "c", "d"),
        "c": ("a", "b", "d"),
        "d": (),
    }


def test_by_records_namespaces_and_licence_count() -> None:
    small = needing({"x": 1}, namespaces=())
    more = replace(small, namespaces=("VFS",))
    assert records(a=small, b=more) == {"a": ("b",), "b": ()}, "the symbol may be in the namespace"
    closed = replace(small, licence="Proprietary")
    assert records(a=small, b=closed) == {"a": (), "b": ("a",)}, "the symbol may be for GPL-compatible modules alone"
    assert records(a=closed, b=closed) == {"a": ("b",), "b": ("a",)}


def test_by_records_nothing_is_known_of_a_kernel_without_crcs() -> None:
    bare = replace(MODULE, needs={"x": 0})
    assert records(a=bare, b=bare) == {}


def test_by_records_other_clients_and_architectures_are_apart() -> None:
    cells = made_up_cells(2, 1, ("x86_64", "aarch64"))
    assert reusable_by_records((cell, MODULE) for cell in cells) == {cell.id: () for cell in cells}


def test_by_records_the_newest_are_named_and_never_the_cell_itself() -> None:
    cells = made_up_cells(1, 40)
    found = reusable_by_records((cell, MODULE) for cell in cells)
    ids = [cell.id for cell in cells]
    assert found[ids[0]] == tuple(ids[-MOST_NAMED:])
    assert found[ids[-1]] == tuple(ids[-MOST_NAMED - 1 : -1])
    assert found[ids[-3]] == tuple(each for each in ids[-MOST_NAMED - 1 :] if each != ids[-3])


def all_pairs(modules: Iterable[tuple[Cell, RecordedModule]]) -> dict[str, tuple[str, ...]]:
    modules = list(modules)
    found: dict[str, list[str]] = {cell.id: [] for cell, _ in modules}
    for (cell, own), (other, module) in permutations(modules, 2):
        if module.needs.items() <= own.needs.items() and set(module.namespaces) >= set(own.namespaces):
            found[cell.id].append(other.id)
    return {cell: newest(others) for cell, others in found.items()}


@pytest.mark.parametrize("most", [1, 3, 40])
@pytest.mark.parametrize("seed", range(20))
def test_the_index_finds_what_a_comparison_of_all_pairs_finds(
    monkeypatch: pytest.MonkeyPatch, seed: int, most: int
) -> None:
    monkeypatch.setattr(reuse, "MOST_NAMED", most)
    random = Random(seed)
    modules = [
        (
            cell,
            needing(
                {name: random.randint(1, 2) for name in random.sample("abcde", random.randint(0, 4))},
                namespaces=tuple(sorted(random.sample("mn", random.randint(0, 2)))),
            ),
        )
        for cell in made_up_cells(1, 30)
    ]
    found = reusable_by_records(modules)
    assert found == all_pairs(modules)
    assert any(found.values())


def test_thousands_of_cells_are_compared_without_comparing_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    loads_with = reuse._Form.loads_with

    def counted(one: reuse._Form, own: reuse._Form) -> bool:
        compared.append(one.licence)
        return loads_with(one, own)

    monkeypatch.setattr(reuse._Form, "loads_with", counted)
    found = reusable_by_records(many_modules())
    assert len(found) == 5_000
    assert sum(map(bool, found.values())) == 4_000
    assert len(compared) < 5_000 * 10


def many_modules() -> list[tuple[Cell, RecordedModule]]:
    """The modules of five clients for 200 minor lines of five kernels, whose ABI changes with every second one."""
    modules = []
    for number, cell in enumerate(made_up_cells(5, 1_000)):
        line, kernel = divmod(number % 1_000, 5)
        needs = {f"symbol_{each}": each * 1_000 + (line if each % 2 else 0) + 1 for each in range(299)}
        modules.append((cell, needing({**needs, "symbol_7": kernel // 2 + 10**6 * line})))
    return modules


def test_abi_classes_are_counted_per_client_and_line_among_the_cells_that_are_known() -> None:
    cells = made_up_cells(2, 3, ("x86_64", "aarch64"))
    one, two = abi_of(MODULE), abi_of(needing({"x": 1}))
    assert abi_of(replace(MODULE, needs=dict(sorted(MODULE.needs.items(), reverse=True)), features=None)) == one
    assert one != two
    lines = [(str(cell.client), cell.stream, cell.arch, cell.flavour) for cell in cells]
    assert abi_classes(zip(lines, [one, one, two, one, "", one, "", "", two], strict=False)) == (
        AbiClasses("8.2.0", "el9", "x86_64", "standard", 3, 2),
        AbiClasses("8.2.0", "el9", "aarch64", "standard", 2, 1),
        AbiClasses("8.2.1", "el9", "x86_64", "standard", 1, 1),
    )


def test_the_neighbours_of_cells_are_the_kernels_next_to_theirs_in_their_line() -> None:
    cells = made_up_cells(2, 40, ("x86_64", "aarch64"))
    near = neighbours([cells[20]], reversed(cells))
    assert [cell.id for cell in near] == [cell.id for cell in cells[12:25]]
    assert neighbours([cells[0], cells[2]], cells) == cells[0:7]
    real_time = replace(cells[3], flavour="rt")
    assert neighbours([real_time], [*cells[:3], real_time]) == (real_time,)
    assert neighbours([CELL], cells) == (), "a cell that is not in the plan has none there"
