"""The command `boot` on images that the static checks would refuse: the kernel itself judges each of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from kmatrix.stages.guests import Guests
from tests.integration.support.lab import Lab
from tests.integration.support.manual_boot import BootOutput, ManualBoot, other_kernel_files, vmlinuz_of
from tests.integration.support.project import damaged_modules
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import Session


@pytest.fixture(scope="module")
def manual(lab: Lab, module_sites: SiteMaker) -> ManualBoot:
    """The sound image of the kernel `newer`, booted once; its sibling is compiled, too."""
    made = ManualBoot(module_sites(kernels=[lab.kernels.older, lab.kernels.newer]), lab.kernels.newer)
    shown = made.boot()
    assert (shown.run.code, shown.verdict, shown.code) == (0, "passed", "booted"), shown.run.stderr
    assert shown.mount == ("passed", "mounted")
    assert f"{made.image}: sha256:" in shown.run.stderr, "which image it is"
    assert "@kmatrix done" in shown.run.stderr, "the serial console is shown live"
    return made


def assert_failed(shown: BootOutput, code: str) -> None:
    assert (shown.run.code, shown.verdict, shown.code) == (1, "failed", code), shown.run.stderr


def test_a_module_of_a_sibling_kernel_is_refused_by_the_kernel(manual: ManualBoot, lab: Lab, session: Session) -> None:
    shown = manual.boot(manual.changed(files={manual.module: module_of(session, NEWER_CLIENT, lab.kernels.older)}))
    assert_failed(shown, "load-refused")
    assert "disagrees about version of symbol" in shown.message


def test_a_module_with_one_changed_crc_is_refused_by_the_kernel(manual: ManualBoot, session: Session) -> None:
    sound = module_of(session, NEWER_CLIENT, manual.kernel)
    shown = manual.boot(
        manual.changed(files={manual.module: damaged_modules.with_crc_changed(sound, "register_filesystem")})
    )
    assert_failed(shown, "load-refused")
    assert "disagrees about version of symbol register_filesystem" in shown.message


def test_a_symbol_that_nothing_exports_is_refused_by_the_kernel(manual: ManualBoot, session: Session) -> None:
    changed, name = damaged_modules.with_undefined_symbol(
        module_of(session, NEWER_CLIENT, manual.kernel), "register_filesystem"
    )
    shown = manual.boot(manual.changed(files={manual.module: changed}))
    assert_failed(shown, "load-refused")
    assert name in shown.message


def test_an_in_tree_module_that_the_node_lacks_is_named(manual: ManualBoot) -> None:
    with other_kernel_files(manual) as files:
        (needed,) = files.rglob("rdma_cm.ko")
        needed.unlink()
        shown = manual.boot()
    assert_failed(shown, "dependency-missing")
    assert "rdma_cm" in shown.message


def test_an_image_without_modprobe_is_said_to_have_none(manual: ManualBoot) -> None:
    shown = manual.boot(manual.changed("rm -f /sbin/modprobe /usr/sbin/modprobe"))
    assert_failed(shown, "modprobe-missing")


def test_a_large_image_gets_the_memory_it_needs_and_with_less_there_is_no_verdict(
    manual: ManualBoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = manual.changed("head -c 200000000 /dev/urandom >/opt/large")
    shown = manual.boot(large)
    assert (shown.run.code, shown.code) == (0, "booted"), shown.run.stderr

    prepare = Guests.guest
    monkeypatch.setattr(Guests, "guest", lambda *words: replace(prepare(*words), memory_mb=450))
    shown = manual.boot(large)
    assert (shown.run.code, shown.verdict, shown.code) == (3, "errored", "root-incomplete"), shown.run.stderr


def test_a_toolkit_with_the_vmlinuz_of_another_kernel_is_found_out(manual: ManualBoot, lab: Lab) -> None:
    with other_kernel_files(manual) as files:
        (files / "vmlinuz").write_bytes(vmlinuz_of(lab, "older", lab.kernels.older))
        shown = manual.boot()
    assert_failed(shown, "wrong-kernel-booted")
    assert lab.kernels.older in shown.message


def recompressed(manual: ManualBoot, files: Path, suffix: str, pack: Callable[[bytes], bytes]) -> str:
    """Compress the node's in-tree modules, and return an image that was built for them."""
    packed: dict[str, bytes] = {}
    for path in sorted((files / "modules").rglob("*.ko")):
        content = pack(path.read_bytes())
        path.unlink()
        path.with_name(path.name + suffix).write_bytes(content)
        packed[f"/lib/modules/{manual.kernel}/{path.relative_to(files / 'modules')}{suffix}"] = content
    return manual.changed(f"depmod -b /opt {manual.kernel}; rm -r /lib/modules", packed)


def test_in_tree_modules_compressed_with_zstd_are_loaded(manual: ManualBoot) -> None:
    with other_kernel_files(manual) as files:
        shown = manual.boot(recompressed(manual, files, ".zst", zstandard.ZstdCompressor().compress))
    assert (shown.run.code, shown.code) == (0, "booted"), shown.run.stderr


def test_in_tree_modules_in_a_form_that_the_image_cannot_read_fail_it(manual: ManualBoot) -> None:
    """The lab's kmod has no zlib, so a node with such modules could not load any with it."""
    with other_kernel_files(manual) as files:
        shown = manual.boot(recompressed(manual, files, ".gz", gzip.compress))
    assert_failed(shown, "load-refused")
    assert "Unknown symbol" in shown.message


def test_in_tree_modules_compressed_with_xz_are_loaded(lab: Lab, new_site: SiteMaker) -> None:
    made = ManualBoot(new_site(kernels=[lab.kernels.next_line]), lab.kernels.next_line)
    shown = made.boot()
    assert (shown.run.code, shown.code) == (0, "booted"), shown.run.stderr
    assert list(made.kernel_files.rglob("rdma_cm.ko.xz")), "this kernel's modules are not compressed"


def test_a_name_of_neither_a_cell_nor_an_image_for_a_planned_kernel_is_a_usage_error(
    manual: ManualBoot, lab: Lab
) -> None:
    assert manual.boot("No Such Thing").run.code == 2
    shown = manual.boot(lab.toolkits["newer"])
    assert shown.run.code == 2
    assert "which no release of the profile runs" in shown.run.stderr
