"""Client packages that must not become an image: faulty sources, bad signatures, other contents than stated.

The package root is a plain local folder here. The client of the other version in it is sound, and is published.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.support.lab import Lab
from tests.integration.support.project.assertions import assert_refused
from tests.integration.support.project.package_roots import PackageFolder
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Run, Site, SiteMaker


@pytest.fixture
def folder(tmp_path: Path, lab: Lab) -> PackageFolder:
    """A package root with the lab's newer client and room for a faulty older one."""
    return PackageFolder(tmp_path / "release", lab)


def built(lab: Lab, new_site: SiteMaker, folder: PackageFolder, *kernels: str) -> tuple[Site, Run, str]:
    """Build the folder's two clients, and return the run and the cell of the faulty one."""
    # The faulty package is not the lab's, so only the sound client can be compiled beforehand.
    kernels = kernels or (lab.kernels.newer,)
    new_site(kernels=kernels)
    clients = [OLDER_CLIENT, NEWER_CLIENT]
    packages = str(folder.root)
    site = new_site(warm=False, own_packages=[OLDER_CLIENT], clients=clients, kernels=kernels, packages=packages)
    only = [f"{client}-{kernel}" for client in clients for kernel in kernels]
    return site, site.run("build", *[word for cell in only for word in ("--only", cell)]), only[0]


def test_sources_that_use_a_symbol_nothing_exports_are_refused(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder
) -> None:
    folder.make("--fault", "undefined-symbol")
    site, run, cell = built(lab, new_site, folder)
    assert_refused(site, run, cell, "symbol-unknown")
    assert "beegfs_exported_by_nothing" in run.cell(cell)["reason"]


def test_sources_of_another_version_than_their_package_are_refused(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder
) -> None:
    folder.make("--fault", "wrong-version")
    assert_refused(*built(lab, new_site, folder), "version-wrong")


def test_sources_that_build_without_rdma_are_refused(lab: Lab, new_site: SiteMaker, folder: PackageFolder) -> None:
    folder.make("--fault", "no-rdma")
    assert_refused(*built(lab, new_site, folder), "rdma-off")


def test_sources_that_do_not_compile_for_one_kernel_fail_there_with_the_compiler_s_words(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder
) -> None:
    folder.make("--fault", "no-compile", "--fault-kernels", lab.kernels.newer)
    site, run, cell = built(lab, new_site, folder, lab.kernels.newer, lab.kernels.older)
    assert_refused(site, run, cell, "compile-error")
    assert "error: implicit declaration of function 'beegfs_declared_nowhere'" in run.cell(cell)["reason"]
    log = (site.root / run.cell(cell)["log"]).read_text(encoding="utf-8")
    assert run.cell(cell)["reason"].removeprefix("build: ") in log


def test_a_package_without_a_signature_is_refused(lab: Lab, new_site: SiteMaker, folder: PackageFolder) -> None:
    folder.make("--unsigned")
    site, run, cell = built(lab, new_site, folder)
    assert_refused(site, run, cell, "package-signature-missing")


def test_a_package_signed_with_another_key_is_refused(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder, tmp_path: Path
) -> None:
    folder.make(gnupg=tmp_path / "gnupg")
    folder.take_key_of_the_lab()
    site, run, cell = built(lab, new_site, folder)
    assert_refused(site, run, cell, "package-signature-bad")


def test_a_repository_with_another_key_is_refused_before_anything_is_built(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder, tmp_path: Path
) -> None:
    folder.make(gnupg=tmp_path / "gnupg")
    site = new_site(warm=False, clients=[NEWER_CLIENT], kernels=[lab.kernels.newer])
    site.change_profile(packages=str(folder.root), clients=[OLDER_CLIENT])
    run = site.run("discover")
    assert run.code == 3
    assert f"the matrix names {lab.fingerprint}" in run.stderr


def test_a_package_whose_payload_was_changed_is_refused(lab: Lab, new_site: SiteMaker, folder: PackageFolder) -> None:
    folder.make()
    # The repository's metadata is right about the file, so only the signature reveals it.
    folder.alter("beegfs-client", lambda rpm: rpm[:-100] + bytes([rpm[-100] ^ 1]) + rpm[-99:])
    site, run, cell = built(lab, new_site, folder)
    assert_refused(site, run, cell, "package-signature-bad")


def test_a_package_of_another_version_than_the_repository_says_is_refused(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder
) -> None:
    other = "7.98.0"
    folder.make(version=other)
    (folder.root / f"beegfs_{other}").rename(folder.repository)
    folder.alter_metadata(lambda text: text.replace(f'ver="{other}"', f'ver="{OLDER_CLIENT}"'))
    site, run, cell = built(lab, new_site, folder)
    assert_refused(site, run, cell, "package-version-wrong")
    assert f"-20:{other}-" in run.cell(cell)["reason"]


def test_a_package_that_changed_since_it_was_pinned_is_not_built(
    lab: Lab, new_site: SiteMaker, folder: PackageFolder
) -> None:
    folder.make()
    clients = [OLDER_CLIENT, NEWER_CLIENT]
    site = new_site(warm=False, clients=clients, kernels=[lab.kernels.newer], packages=str(folder.root))
    folder.alter("beegfs-client", lambda rpm: rpm + b"\0")
    run = site.run("build", "--only", f"{OLDER_CLIENT}-*")
    assert run.code == 3
    assert "the pin says" in run.results["cells"][0]["reason"]
    assert not site.tags
