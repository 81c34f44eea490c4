"""The packages of an image, from the records of its package manager."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from kmatrix.decide.formats.installed_packages import (
    RPM_FORMAT,
    MalformedPackagesError,
    distribution_of,
    dpkg_packages,
    rpm_packages,
)
from kmatrix.decide.formats.nevra import package_of
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.installed_packages import read_installed
from kmatrix.values.engine import RunOutput
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.installed import Distribution, InstalledPackage
from kmatrix.values.pins import PackagePin
from tests.unit.support.rpms import build_rpm, needs_rpm

BASH = """Package: bash
Essential: yes
Status: install ok installed
Maintainer: Matthias Klose <doko@debian.org>
Architecture: amd64
Source: bash (5.2.15-2)
Version: 5.2.15-2+b13
Conffiles:
 /etc/bash.brc 89269e1298235f1b12b4c16e4065ad0d
Description: GNU Bourne Again SHell
 Version: none of this is a field.
 .
 It has an empty line.
"""
RELEASE = """# a comment
ID=debian
NAME="Debian GNU/Linux"
VERSION_ID="12"
"""
RPMS = """bash\t0\t5.1.8\t9.el9\tx86_64\tbash-5.1.8-9.el9.src.rpm\tRed Hat, Inc.
gpg-pubkey\t0\t5a6340b3\t6229229e\t(none)\t(none)\t(none)
openssl\t1\t3.0.7\t27.el9\tx86_64\topenssl-3.0.7-27.el9.src.rpm\t(none)
"""


def test_rpm_lists_packages_without_the_keys_that_it_trusts() -> None:
    assert rpm_packages(RPMS) == (
        InstalledPackage("rpm", "bash", "5.1.8-9.el9", "x86_64", 0, "bash-5.1.8-9.el9.src.rpm", "Red Hat, Inc."),
        InstalledPackage("rpm", "openssl", "3.0.7-27.el9", "x86_64", 1, "openssl-3.0.7-27.el9.src.rpm", ""),
    )
    assert RPM_FORMAT.count("\\t") == RPMS.splitlines()[0].count("\t")


@pytest.mark.parametrize("line", ["bash", "bash\tone\t5\t9\tx\ts\tv", "\t0\t5\t9\tx\ts\tv", "error: rpmdb: damaged"])
def test_another_line_of_rpm_is_no_package(line: str) -> None:
    with pytest.raises(MalformedPackagesError, match=r"rpm lists"):
        rpm_packages(f"{RPMS}{line}\n")


def test_dpkg_has_a_paragraph_for_each_package() -> None:
    others = """Package: libtinfo6
Status: install ok installed
Architecture: amd64
Source: ncurses
Version: 6.4-4

Package: gone
Status: deinstall ok config-files
Version: 1

Package: base-files
Architecture: amd64
Source: base-files
Version: 12.4+deb12u12
"""
    assert dpkg_packages(f"{BASH}\n\n \n{others}") == (
        InstalledPackage("deb", "base-files", "12.4+deb12u12", "amd64"),
        InstalledPackage("deb", "bash", "5.2.15-2+b13", "amd64", source="bash@5.2.15-2"),
        InstalledPackage("deb", "libtinfo6", "6.4-4", "amd64", source="ncurses"),
    )
    assert dpkg_packages("") == dpkg_packages("\n\n") == ()


@pytest.mark.parametrize("paragraph", ["Package: bash\n", "Version: 1\n"])
def test_a_paragraph_without_name_or_version_is_no_package(paragraph: str) -> None:
    with pytest.raises(MalformedPackagesError, match="dpkg has"):
        dpkg_packages(f"{BASH}\n{paragraph}")


def test_the_first_value_of_os_release_counts() -> None:
    """As of a link that leads to the same file, or of a file of the administrator's before the distribution's."""
    assert distribution_of(RELEASE + 'ID="other"\n') == Distribution("debian", "12", "Debian GNU/Linux")
    assert distribution_of("NAME='un\nID=RHEL") == Distribution("rhel", "", "'un")
    assert distribution_of("") == Distribution()


def test_a_pinned_package_has_the_parts_of_its_nevra() -> None:
    def pin(name: str, nevra: str) -> PackagePin:
        return PackagePin(name=name, nevra=nevra, location="x.rpm", sha256="5" * 64, size=1)

    client = package_of(pin("beegfs-client", "beegfs-client-20:7.2.8-el8.noarch"))
    assert client == InstalledPackage("rpm", "beegfs-client", "7.2.8-el8", "noarch", 20)
    assert package_of(pin("a", "a-1-2.x86_64")) == InstalledPackage("rpm", "a", "1-2", "x86_64")
    with pytest.raises(ValueError, match="not the NEVRA"):
        package_of(pin("other", "beegfs-client-20:7.2.8-el8.noarch"))


class Reading:
    """An engine with one image, whose packages are listed so."""

    def __init__(self, files: Mapping[str, str], status: int = 0, stderr: str = "") -> None:
        self.files = files
        self.output = RunOutput(status, "", stderr)

    @contextmanager
    def container(self, image: str, command: Any) -> Any:
        assert command[0] == "sh"
        yield image

    def run(self, _: str) -> RunOutput:
        return self.output

    def read_tree(self, _: str, path: str) -> dict[str, bytes]:
        return {f"{path.strip('/')}/{name}": text.encode() for name, text in self.files.items()}


def reading(files: Mapping[str, str], **more: Any) -> Engine:
    return cast("Engine", Reading(files, **more))


def test_an_image_may_have_the_records_of_both_package_managers() -> None:
    installed = read_installed(reading({"dpkg": BASH, "rpm": RPMS, "os-release": RELEASE}), "sha256:1")
    assert [(each.kind, each.name) for each in installed.packages] == [
        ("deb", "bash"),
        ("rpm", "bash"),
        ("rpm", "openssl"),
    ]
    assert installed.distribution.id == "debian"
    assert read_installed(reading({}), "sha256:1").packages == ()


def test_packages_that_cannot_be_listed_are_no_absence() -> None:
    with pytest.raises(ToolError, match="sha256:1 cannot be listed: error: rpmdb"):
        read_installed(reading({}, status=1, stderr="error: rpmdb open failed"), "sha256:1")
    with pytest.raises(ProtocolError, match="sha256:1: rpm lists"):
        read_installed(reading({"rpm": "damaged"}), "sha256:1")


@needs_rpm
def test_a_real_rpm_prints_a_package_so(tmp_path: Path) -> None:
    package = build_rpm(tmp_path, epoch="20")
    command = ["rpm", "--query", "--queryformat", RPM_FORMAT, "--package", str(package)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    source = "beegfs-client-8.98.1-el9.src.rpm"
    assert rpm_packages(printed) == (InstalledPackage("rpm", "beegfs-client", "8.98.1-el9", "noarch", 20, source),)
