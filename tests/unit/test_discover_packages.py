"""From a package root to a client's pins: which package, which checksum, which key."""

from __future__ import annotations

import bz2
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.stages.discover_packages import pin_client
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ClientVersion
from kmatrix.values.pins import ClientPin, UnavailablePin
from tests.unit.support.openpgp_keys import Gpg, gpg_home, needs_gpg

CLIENT = ClientVersion(8, 98, 1)
REPOSITORY = "beegfs_8.98/dists/rhel9"
FIRST = "DBA356439DFC359097A2046769093DE9EFFCD428"
KEY = Path(__file__).parents[1] / "data" / "openpgp" / "first.asc"


def put(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def put_packages(root: Path, *packages: tuple[str, str, str, str], kind: str = "sha512", size: int = 1) -> None:
    """Put packages as (name, epoch, version, release), in metadata as a mirror has it."""
    entries = ""
    for number, (name, epoch, version, release) in enumerate(packages):
        put(root, f"{REPOSITORY}/{number}.rpm", f"{number}".encode())
        entries += (
            f'<package type="rpm"><name>{name}</name><arch>noarch</arch>'
            f'<version {epoch} ver="{version}" rel="{release}"/>'
            f'<checksum type="{kind}">{hashlib.new(kind, f"{number}".encode()).hexdigest()}</checksum>'
            f'<size package="{size}"/><location href="{number}.rpm"/></package>'
        )
    primary = bz2.compress(f'<metadata xmlns="http://linux.duke.edu/metadata/common">{entries}</metadata>'.encode())
    put(root, f"{REPOSITORY}/repodata/primary.xml.bz2", primary)
    repomd = (
        f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="{kind}">'
        f"{hashlib.new(kind, primary).hexdigest()}</checksum>"
        '<location href="repodata/primary.xml.bz2"/></data></repomd>'
    )
    put(root, f"{REPOSITORY}/repodata/repomd.xml", repomd.encode())


def pin(root: Path, line: str = "el9", key: str = FIRST) -> ClientPin | UnavailablePin:
    return pin_client(PackageRoot(str(root), root), CLIENT, line, "x86_64", key)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "beegfs_8.98/gpg/GPG-KEY-beegfs", KEY.read_bytes())
    put_packages(
        tmp_path,
        ("beegfs-client", 'epoch="20"', "8.98.1", "9.el9"),
        ("beegfs-client", 'epoch="20"', "8.98.1", "10.el9"),
        ("beegfs-client", 'epoch="20"', "8.98.2", "1.el9"),
        ("beegfs-tools", "", "8.98.1", "1~rc1.el9"),
        ("beegfs-tools", "", "8.98.1", "1.el9"),
    )
    return tmp_path


@pytest.fixture
def gpg(tmp_path: Path) -> Iterator[Gpg]:
    with gpg_home(tmp_path / "g") as home:
        yield home


def test_the_newest_release_is_pinned_by_sha256(root: Path) -> None:
    found = pin(root)
    assert isinstance(found, ClientPin)
    assert [(package.nevra, package.location, package.sha256) for package in found.packages] == [
        ("beegfs-client-20:8.98.1-10.el9.noarch", "dists/rhel9/1.rpm", hashlib.sha256(b"1").hexdigest()),
        ("beegfs-tools-0:8.98.1-1.el9.noarch", "dists/rhel9/4.rpm", hashlib.sha256(b"4").hexdigest()),
    ]
    assert (found.key.location, found.key.fingerprint) == ("gpg/GPG-KEY-beegfs", FIRST)


def test_a_line_without_packages_is_told_from_one_whose_index_is_away(root: Path) -> None:
    assert isinstance(pin(root, "el10"), UnavailablePin)
    (root / REPOSITORY / "repodata/repomd.xml").unlink()
    with pytest.raises(ProtocolError, match="exists, but has no repodata"):
        pin(root)


def test_the_versions_there_are_stand_in_their_order(root: Path) -> None:
    versions = ("8.98.10", "8.98.9", "8.98.9~rc1")
    put_packages(root, *(("beegfs-client", "", version, "1") for version in versions))
    found = pin(root)
    assert isinstance(found, UnavailablePin)
    assert found.reason.endswith("only 8.98.9~rc1, 8.98.9, 8.98.10")


def test_metadata_that_no_lock_could_hold_is_told_with_what_to_do(root: Path) -> None:
    packages = [(name, "", "8.98.1", "1") for name in ("beegfs-client", "beegfs-tools")]
    put_packages(root, *packages, size=-1)
    with pytest.raises(ProtocolError, match=r"beegfs_8\.98 \(el9, x86_64\): its metadata has size") as caught:
        pin(root)
    assert "createrepo_c" in caught.value.hint


def test_a_root_without_a_key_is_told_with_what_to_do(root: Path) -> None:
    (root / "beegfs_8.98/gpg/GPG-KEY-beegfs").unlink()
    with pytest.raises(ProtocolError, match="has none of gpg/GPG-KEY-beegfs, gpg/RPM-GPG-KEY-beegfs") as caught:
        pin(root)
    assert "copy the vendor's gpg/ folder" in caught.value.hint


@needs_gpg
def test_packages_of_a_revoked_key_are_not_pinned(root: Path, gpg: Gpg) -> None:
    key = gpg.key("vendor")
    put(root, "beegfs_8.98/gpg/GPG-KEY-beegfs", KEY.read_bytes() + gpg.export(key))
    assert isinstance(pin(root, key=key), ClientPin)
    gpg.revoke(key)
    put(root, "beegfs_8.98/gpg/GPG-KEY-beegfs", KEY.read_bytes() + gpg.export(key))
    with pytest.raises(ProtocolError, match=f"GPG-KEY-beegfs: its owner has revoked the key {key}"):
        pin(root, key=key)
