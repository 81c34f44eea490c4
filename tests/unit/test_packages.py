"""A package root, on the web or in a folder: what it has, what it has not, and what must not be believed."""

from __future__ import annotations

import gzip
import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from httpserver import Reply, Request, WebServer, closed_port, in_turn, web_server

from kmatrix.effects.packages import PackageRoot
from kmatrix.values.errors import InputError, ProtocolError, UnreachableError

DIRECTORY = "beegfs_8.98"
DATA = "dists/rhel9/repodata"
NAMESPACES = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'


def package(name: str, arch: str, checksum: str = "sha256", **left_out: str) -> str:
    fields = {
        "name": f"<name>{name}</name>",
        "arch": f"<arch>{arch}</arch>",
        "version": '<version epoch="20" ver="8.98.1" rel="el9"/>',
        "checksum": f'<checksum type="{checksum}" pkgid="YES">{"a" * 64}</checksum>',
        "size": '<size package="1234" installed="5" archive="6"/>',
        "location": f'<location href="{arch}/{name}.rpm"/>',
    }
    return f'<package type="rpm">{"".join({**fields, **left_out}.values())}</package>'


def primary(*packages: str) -> bytes:
    return f'<?xml version="1.0"?><metadata {NAMESPACES}>{"".join(packages)}</metadata>'.encode()


def repomd(content: bytes, name: str = "primary.xml.gz", checksum: str = "sha256", kind: str = "primary") -> bytes:
    found = hashlib.sha256(content).hexdigest()
    return (
        '<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo">'
        f'<data type="other"><location href="x"/></data><data type="{kind}"><checksum type="{checksum}">{found}'
        f'</checksum><location href="repodata/{name}"/></data></repomd>'
    ).encode()


GOOD = primary(package("beegfs-client", "noarch"), package("beegfs-tools", "x86_64"), package("x", "aarch64"))
COMPRESSIONS = {
    "primary.xml": GOOD,
    "primary.xml.gz": gzip.compress(GOOD, mtime=0),
    "primary.xml.xz": lzma.compress(GOOD),
    "primary.xml.zst": zstandard.compress(GOOD),
}


class Root:
    """The files of a package root, and the root opened as this test has it."""

    def __init__(self, folder: Path, where: str) -> None:
        self.folder = folder
        self.opened = PackageRoot(where, folder)

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def put_repository(self, content: bytes = gzip.compress(GOOD, mtime=0), name: str = "primary.xml.gz") -> None:
        self.put(f"{DIRECTORY}/{DATA}/repomd.xml", repomd(content, name))
        self.put(f"{DIRECTORY}/{DATA}/{name}", content)

    def names(self) -> list[str]:
        found = self.opened.packages(DIRECTORY, "el9", "x86_64")
        assert found is not None
        return [entry.name for entry in found]


@pytest.fixture(params=["web", "folder"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    folder = tmp_path / "root"
    folder.mkdir()
    if request.param == "folder":
        yield Root(folder, str(folder))
        return

    def answer(asked: Request) -> Reply:
        path = folder / asked.path.removeprefix("/release/")
        return Reply(200, path.read_bytes()) if path.is_file() else Reply(404, b"<html>Not Found</html>")

    with web_server(answer) as web:
        yield Root(folder, f"{web.url}/release/")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server(in_turn(Reply(200, b"fine"))) as server:
        yield server


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_repository_gives_the_packages_for_a_machine(root: Root, name: str) -> None:
    root.put_repository(COMPRESSIONS[name], name)
    assert root.names() == ["beegfs-client", "beegfs-tools"]
    found = root.opened.packages(DIRECTORY, "el9", "x86_64")
    assert found
    assert found[0].nevra == "beegfs-client-20:8.98.1-el9.noarch"
    assert (found[1].location, found[1].sha256, found[1].size) == (
        "dists/rhel9/x86_64/beegfs-tools.rpm",
        "a" * 64,
        1234,
    )


def test_a_line_without_a_repository_has_none(root: Root) -> None:
    root.put_repository()
    assert root.opened.packages(DIRECTORY, "el10", "x86_64") is None
    assert root.opened.packages("beegfs_7.98.1", "el9", "x86_64") is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html><body>sign in<br></body></html>", "not readable as repository metadata"),
        (b"", "not readable as repository metadata"),
        (
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><repomd>&b;</repomd>',
            "not readable as repository metadata",
        ),
        (b"<html/>", "names no primary metadata"),
        (repomd(b"", kind="filelists"), "names no primary metadata"),
        (repomd(b"", checksum="sha"), "no SHA-256 checksum for primary"),
        (repomd(b"", name="absent.xml"), "names repodata/absent.xml, which is not there"),
        (repomd(b"other"), r"primary.xml.gz is not what repomd.xml says \(a mirror in mid-update\?\)"),
    ],
)
def test_an_index_that_cannot_be_believed_is_told(root: Root, content: bytes, why: str) -> None:
    root.put_repository()
    root.put(f"{DIRECTORY}/{DATA}/repomd.xml", content)
    with pytest.raises(ProtocolError, match=f"package root .*{why}"):
        root.names()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("primary.xml.gz", b"no gzip", "not readable"),
        ("primary.xml.gz", gzip.compress(GOOD, mtime=0)[:-30], "not readable"),
        ("primary.xml.gz", gzip.compress(GOOD, mtime=0)[:10] + b"\xff" * 50, "not readable"),
        ("primary.xml.xz", b"no xz", "not readable"),
        ("primary.xml.zst", b"no zstd", "not readable"),
        ("primary.xml", b"<html><br></html>", "not readable"),
        ("primary.xml", primary(package("x", "noarch", version="")), "a package without 'version'"),
        ("primary.xml", primary(package("x", "noarch", version="<version/>")), "a package without 'ver'"),
        ("primary.xml", primary(package("x", "noarch", size='<size package="big"/>')), "a package without .*'big'"),
        ("primary.xml", primary(package("x", "noarch", checksum="md5")), "without a SHA-256 checksum"),
    ],
)
def test_package_lists_that_cannot_be_read_are_told(root: Root, name: str, content: bytes, why: str) -> None:
    root.put_repository(content, name)
    with pytest.raises(ProtocolError, match=why):
        root.names()


def test_a_file_is_brought_once(root: Root, tmp_path: Path) -> None:
    root.put("x/file", b"content")
    target, sha256 = tmp_path / "cache" / "file", hashlib.sha256(b"content").hexdigest()
    root.opened.fetch("x/file", sha256, target)
    assert target.read_bytes() == b"content"
    (root.folder / "x/file").unlink()
    root.opened.fetch("x/file", sha256, target)


def test_a_damaged_copy_is_brought_anew(root: Root, tmp_path: Path) -> None:
    root.put("x/file", b"content")
    target = tmp_path / "file"
    target.write_bytes(b"conte")
    root.opened.fetch("x/file", hashlib.sha256(b"content").hexdigest(), target)
    assert target.read_bytes() == b"content"


def test_another_file_than_pinned_is_refused(root: Root, tmp_path: Path) -> None:
    root.put("x/file", b"replaced")
    with pytest.raises(ProtocolError, match=r"package root: .*x/file has the SHA-256 .*, the pin says") as caught:
        root.opened.fetch("x/file", hashlib.sha256(b"content").hexdigest(), tmp_path / "file")
    assert "discover" in caught.value.hint
    assert not (tmp_path / "file").exists()


def test_a_pinned_file_that_is_gone_is_told(root: Root, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"package root.* x/file is pinned but not there|answers 404"):
        root.opened.fetch("x/file", "a" * 64, tmp_path / "file")


def test_what_is_not_there_is_none(root: Root) -> None:
    assert root.opened.read("gpg/GPG-KEY-beegfs") is None


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"package root packages: there is no such folder") as caught:
        PackageRoot("packages", tmp_path)
    assert "--packages" in caught.value.hint
    (tmp_path / "packages").mkdir()
    PackageRoot("packages", tmp_path)
    PackageRoot("file:packages", tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "repomd.xml").mkdir()
    with pytest.raises(InputError, match=r"package root: cannot read .*repomd\.xml: Is a directory"):
        PackageRoot(str(tmp_path), tmp_path).read("repomd.xml")


@pytest.mark.usefixtures("slept")
def test_a_server_out_of_reach_is_named(tmp_path: Path) -> None:
    gone = PackageRoot(f"http://127.0.0.1:{closed_port()}/release", tmp_path)
    with pytest.raises(UnreachableError, match=r"the package root at .* connection refused"):
        gone.packages(DIRECTORY, "el9", "x86_64")
    with pytest.raises(UnreachableError, match=r"the package root at .* connection refused"):
        gone.fetch("x", "a" * 64, tmp_path / "x")


@pytest.mark.usefixtures("slept")
def test_a_server_that_fails_is_not_one_that_has_nothing(web: WebServer, tmp_path: Path) -> None:
    web.answer = in_turn(Reply(503))
    with pytest.raises(UnreachableError, match=r"package root .* 503"):
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el9", "x86_64")
    web.answer = in_turn(Reply(403))
    with pytest.raises(ProtocolError, match=r"package root: .* answers 403 Forbidden"):
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el9", "x86_64")


@pytest.mark.usefixtures("slept")
def test_a_broken_off_index_is_asked_again(web: WebServer, tmp_path: Path) -> None:
    web.answer = in_turn(Reply(200, b"fine", cut=1), Reply(200, b"fine"))
    assert PackageRoot(web.url, tmp_path).read("x") == b"fine"
