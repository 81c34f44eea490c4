"""Modules that must not be published, each a real one with one fault; the other cells are published all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kmatrix.decide.formats.elf import read_module
from tests.integration.support.lab import Lab
from tests.integration.support.project import damaged_modules
from tests.integration.support.project.assertions import assert_refused
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.site import NEWER_CLIENT, Run, Site, SiteMaker
from tests.integration.support.session import Session

Published = Callable[[bytes], tuple[Site, Run, str]]


def cell_of(kernel: str) -> str:
    return f"{NEWER_CLIENT}-{kernel}"


@pytest.fixture
def module(lab: Lab, session: Session, new_site: SiteMaker) -> bytes:
    """The sound module of the kernel that the tests damage."""
    new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    return module_of(session, NEWER_CLIENT, lab.kernels.newer)


@pytest.fixture
def published(lab: Lab, new_site: SiteMaker) -> Published:
    """A function that replaces the compiled module of `newer`, and builds that cell and a sound one."""

    def build(content: bytes) -> tuple[Site, Run, str]:
        site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
        site.sabotage(lab.kernels.newer, "cp $files/beegfs.ko $ko", {"beegfs.ko": content})
        return site, site.run("build"), cell_of(lab.kernels.newer)

    return build


def test_a_module_for_another_kernel_of_the_same_line_is_refused(
    lab: Lab, session: Session, module: bytes, published: Published
) -> None:
    other = module_of(session, NEWER_CLIENT, lab.kernels.older)
    shared = read_module(module).versions.keys() & read_module(other).versions.keys()
    different = [name for name in shared if read_module(module).versions[name] != read_module(other).versions[name]]
    assert different, "the lab's two 6.1 kernels must differ, or this shows nothing"
    site, run, cell = published(other)
    crcs = "module-layout-mismatch" if "module_layout" in different else "crc-mismatch"
    assert_refused(site, run, cell, "vermagic-mismatch", crcs)


def test_real_time_and_standard_modules_are_refused_in_each_other_s_place(
    lab: Lab, session: Session, new_site: SiteMaker
) -> None:
    standard, real_time = lab.kernels.newer, lab.kernels.real_time
    site = new_site(kernels=[lab.kernels.older, standard, real_time])
    files = {name: module_of(session, NEWER_CLIENT, name) for name in (standard, real_time)}
    site.sabotage(
        "*", f"case $1 in {standard}) cp $files/{real_time} $ko ;; {real_time}) cp $files/{standard} $ko ;; esac", files
    )
    run = site.run("build")
    assert run.code == 1
    assert run.verdicts == {
        cell_of(lab.kernels.older): "passed",
        cell_of(standard): "failed",
        cell_of(real_time): "failed",
    }
    assert "built for a real-time kernel, not for a standard one" in run.cell(cell_of(standard))["reason"]
    assert "built for a standard kernel, not for a real-time one" in run.cell(cell_of(real_time))["reason"]
    assert site.tags == {cell_of(lab.kernels.older)}


def test_one_changed_crc_is_refused(module: bytes, published: Published) -> None:
    site, run, cell = published(damaged_modules.with_crc_changed(module, "register_filesystem"))
    assert_refused(site, run, cell, "crc-mismatch")
    assert "register_filesystem" in run.cell(cell)["reason"]


def test_a_module_whose_symbol_table_is_empty_is_refused(module: bytes, published: Published) -> None:
    site, run, cell = published(damaged_modules.without_symbols(module))
    assert_refused(site, run, cell, "elf-no-symbols")


def test_a_module_that_was_stripped_of_everything_is_refused(lab: Lab, new_site: SiteMaker) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    site.sabotage(lab.kernels.newer, "strip --strip-all $ko")
    assert_refused(site, site.run("build"), cell_of(lab.kernels.newer), "elf-no-symbols")


def test_a_symbol_that_nothing_exports_is_refused(module: bytes, published: Published) -> None:
    changed, name = damaged_modules.with_undefined_symbol(module, "register_filesystem")
    site, run, cell = published(changed)
    assert_refused(site, run, cell, "symbol-unknown")
    assert name in run.cell(cell)["reason"]


def test_a_module_with_another_vermagic_is_refused(module: bytes, published: Published) -> None:
    vermagic = damaged_modules.modinfo(module, "vermagic")
    changed = damaged_modules.with_modinfo(
        module, f"vermagic={vermagic}", f"vermagic={vermagic.replace('mod_unload ', '')}"
    )
    site, run, cell = published(changed)
    assert_refused(site, run, cell, "vermagic-mismatch")


def test_a_module_of_another_client_version_is_refused(module: bytes, published: Published) -> None:
    site, run, cell = published(damaged_modules.with_modinfo(module, f"version={NEWER_CLIENT}", "version=8.98.0"))
    assert_refused(site, run, cell, "version-wrong")


def test_a_module_that_lost_its_dependencies_is_refused(module: bytes, published: Published) -> None:
    depends = damaged_modules.modinfo(module, "depends")
    site, run, cell = published(damaged_modules.with_modinfo(module, f"depends={depends}", "depends="))
    assert_refused(site, run, cell, "depends-missing", "rdma-off")


def test_a_truncated_module_is_refused(module: bytes, published: Published) -> None:
    site, run, cell = published(module[: len(module) // 2])
    assert_refused(site, run, cell, "elf-truncated")
