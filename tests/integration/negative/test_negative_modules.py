"""Modules that must not be published, each a real one with one fault; the other cells are published all the same."""

from __future__ import annotations

import pytest

from kmatrix.decide.formats.elf import read_module
from tests.integration.support.lab import Lab
from tests.integration.support.project import damaged_modules
from tests.integration.support.project.assertions import assert_refused
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.project.spoilt_modules import Fault, SpoiltRuns, the
from tests.integration.support.session import Session


def with_another_vermagic(module: bytes) -> bytes:
    vermagic = damaged_modules.modinfo(module, "vermagic")
    assert "mod_unload " in vermagic
    return damaged_modules.with_modinfo(
        module, f"vermagic={vermagic}", f"vermagic={vermagic.replace('mod_unload ', '')}"
    )


def without_dependencies(module: bytes) -> bytes:
    return damaged_modules.with_modinfo(module, f"depends={damaged_modules.modinfo(module, 'depends')}", "depends=")


# What `with_undefined_symbol` makes of it.
_NEEDED, _UNKNOWN = "register_filesystem", "register_filesystex"
FAULTS = (
    Fault(
        "one changed CRC",
        ("crc-mismatch",),
        content=lambda module: damaged_modules.with_crc_changed(module, _NEEDED),
        words=_NEEDED,
    ),
    Fault("an empty symbol table", ("elf-no-symbols",), content=damaged_modules.without_symbols),
    Fault("stripped of everything", ("elf-no-symbols",), commands="strip --strip-all $ko"),
    Fault(
        "a symbol that nothing exports",
        ("symbol-unknown",),
        content=lambda module: damaged_modules.with_undefined_symbol(module, _NEEDED)[0],
        words=_UNKNOWN,
    ),
    Fault("another vermagic", ("vermagic-mismatch",), content=with_another_vermagic),
    Fault(
        "of another client version",
        ("version-wrong",),
        content=lambda module: damaged_modules.with_modinfo(module, f"version={NEWER_CLIENT}", "version=8.98.0"),
    ),
    Fault("without its dependencies", ("depends-missing", "rdma-off"), content=without_dependencies),
    Fault("truncated", ("elf-truncated",), content=lambda module: module[: len(module) // 2]),
)


@pytest.fixture(scope="module")
def spoilt(lab: Lab, session: Session, module_sites: SiteMaker) -> SpoiltRuns:
    """The builds of all faults."""
    return SpoiltRuns(FAULTS, lab, session, module_sites)


def cell_of(kernel: str) -> str:
    return f"{NEWER_CLIENT}-{kernel}"


@pytest.mark.parametrize("fault", FAULTS, ids=the)
def test_a_damaged_module_is_refused_for_its_damage(spoilt: SpoiltRuns, fault: Fault) -> None:
    spoilt.assert_refused(fault)


def test_a_module_for_another_kernel_of_the_same_line_is_refused(
    lab: Lab, session: Session, new_site: SiteMaker
) -> None:
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    module, other = (module_of(session, NEWER_CLIENT, kernel) for kernel in (lab.kernels.newer, lab.kernels.older))
    shared = read_module(module).versions.keys() & read_module(other).versions.keys()
    different = [name for name in shared if read_module(module).versions[name] != read_module(other).versions[name]]
    assert different, "the lab's two 6.1 kernels must differ, or this shows nothing"
    site.sabotage(lab.kernels.newer, "cp $files/beegfs.ko $ko", {"beegfs.ko": other})
    crcs = "module-layout-mismatch" if "module_layout" in different else "crc-mismatch"
    assert_refused(site, site.run("build"), cell_of(lab.kernels.newer), "vermagic-mismatch", crcs)


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
