"""A package root, on the web or in a folder: present packages, absent ones, and responses that prove nothing."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from kmatrix.decide.formats.repodata import Checksum, Package, primary_of
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.values.errors import InputError, ProtocolError, UnreachableError
from tests.unit.support.http_server import Reply, Request, WebServer, closed_port, in_turn, web_server
from tests.unit.support.programs import needs
from tests.unit.support.rpms import build_rpm, needs_rpm

DIRECTORY = "beegfs_8.98"
DATA = "dists/rhel9/repodata"
NAMES = ("beegfs-client", "beegfs-tools", "x")
NAMESPACES = 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'


def package(name: str, arch: str, checksum: str = "sha256", value: str = "a" * 64, **left_out: str) -> str:
    fields = {
        "name": f"<name>{name}</name>",
        "arch": f"<arch>{arch}</arch>",
        "version": '<version epoch="20" ver="8.98.1" rel="el9"/>',
        "checksum": f'<checksum type="{checksum}" pkgid="YES">{value}</checksum>',
        "size": '<size package="1234" installed="5" archive="6"/>',
        "location": f'<location href="{arch}/{name}.rpm"/>',
    }
    return f'<package type="rpm">{"".join({**fields, **left_out}.values())}</package>'


def primary(*packages: str) -> bytes:
    return f'<?xml version="1.0"?><metadata {NAMESPACES}>{"".join(packages)}</metadata>'.encode()


def repomd(content: bytes, name: str = "primary.xml.gz", checksum: str = "sha256", kind: str = "primary") -> bytes:
    known = checksum if checksum in hashlib.algorithms_guaranteed else "sha1"
    found = hashlib.new(known, content).hexdigest()
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
    "primary.xml.bz2": bz2.compress(GOOD),
}
# pigz, pbzip2, xz and pzstd with several threads write several members, streams or frames.
IN_PARTS = {
    "primary.xml.gz": gzip.compress(GOOD[:99], mtime=0) + gzip.compress(GOOD[99:], mtime=0),
    "primary.xml.xz": lzma.compress(GOOD[:99]) + lzma.compress(GOOD[99:]),
    "primary.xml.zst": zstandard.compress(GOOD[:99]) + zstandard.compress(GOOD[99:]),
    "primary.xml.bz2": bz2.compress(GOOD[:99]) + bz2.compress(GOOD[99:]),
}


class Root:
    """The files of a package root, and the root as a test opens it."""

    def __init__(self, folder: Path, where: str) -> None:
        self.folder = folder
        self.opened = PackageRoot(where, folder)

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def put_repository(
        self,
        content: bytes = gzip.compress(GOOD, mtime=0),
        name: str = "primary.xml.gz",
        checksum: str = "sha256",
    ) -> None:
        self.put(f"{DIRECTORY}/{DATA}/repomd.xml", repomd(content, name, checksum))
        self.put(f"{DIRECTORY}/{DATA}/{name}", content)

    def packages(self, line: str = "el9", directory: str = DIRECTORY) -> tuple[Package, ...] | None:
        return self.opened.packages(directory, line, "x86_64", NAMES)

    def found(self) -> tuple[Package, ...]:
        found = self.packages()
        assert found is not None
        return found

    def names(self) -> list[str]:
        return [entry.name for entry in self.found()]


@pytest.fixture(params=["web", "folder"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    folder = tmp_path / "root"
    folder.mkdir()
    if request.param == "folder":
        yield Root(folder, str(folder))
        return

    def answer(asked: Request) -> Reply:
        path = folder / asked.path.removeprefix("/release/")
        # As nginx answers for a folder that it may not list.
        if asked.path.endswith("/") and path.is_dir():
            return Reply(403)
        return Reply(200, path.read_bytes()) if path.is_file() else Reply(404, b"<html>Not Found</html>")

    with web_server(answer) as web:
        yield Root(folder, f"{web.url}/release/")


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server(in_turn(Reply(200, b"fine"))) as server:
        yield server


@pytest.mark.parametrize(("name", "content"), [*COMPRESSIONS.items(), *IN_PARTS.items()])
def test_a_repository_gives_the_packages_for_a_machine(root: Root, name: str, content: bytes) -> None:
    root.put_repository(content, name)
    assert root.names() == ["beegfs-client", "beegfs-tools"]
    found = root.found()
    assert found[0].nevra == "beegfs-client-20:8.98.1-el9.noarch"
    assert (found[1].location, found[1].checksum, found[1].size) == (
        "dists/rhel9/x86_64/beegfs-tools.rpm",
        Checksum("sha256", "a" * 64),
        1234,
    )


def test_packages_nobody_asked_for_may_be_as_they_like(root: Root) -> None:
    odd = package("other", "noarch", checksum="md5", location='<location href="../../x.rpm"/>')
    root.put_repository(primary(odd, package("beegfs-client", "noarch")), "primary.xml")
    assert root.names() == ["beegfs-client"]


@pytest.mark.parametrize("kind", ["sha384", "sha512"])
def test_longer_checksums_are_held_to_and_pinned_as_sha256(root: Root, kind: str) -> None:
    content = b"the package"
    value = hashlib.new(kind, content).hexdigest()
    root.put_repository(primary(package("x", "noarch", kind, value)), "primary.xml", kind)
    (found,) = root.found()
    with pytest.raises(ProtocolError, match=r"its metadata names dists/rhel9/noarch/x.rpm, which does not exist"):
        root.opened.sha256_of(DIRECTORY, found)
    root.put(f"{DIRECTORY}/dists/rhel9/noarch/x.rpm", content)
    assert root.opened.sha256_of(DIRECTORY, found) == hashlib.sha256(content).hexdigest()
    root.put(f"{DIRECTORY}/dists/rhel9/noarch/x.rpm", b"another")
    with pytest.raises(ProtocolError, match=rf"noarch/x.rpm does not have the {kind} in its metadata") as caught:
        root.opened.sha256_of(DIRECTORY, found)
    assert "run the command again" in caught.value.hint
    root.put(f"{DIRECTORY}/{DATA}/primary.xml", primary())
    with pytest.raises(ProtocolError, match=r"primary.xml does not have the checksum in repomd.xml"):
        root.found()


def test_the_usual_checksum_needs_no_look_at_the_file(root: Root) -> None:
    root.put_repository()
    assert root.opened.sha256_of(DIRECTORY, root.found()[0]) == "a" * 64


@pytest.mark.parametrize(("kind", "said"), [("sha", "a SHA-1"), ("sha1", "a SHA-1"), ("md5", "an MD5")])
def test_broken_checksums_are_refused_with_the_reason_and_the_way_out(root: Root, kind: str, said: str) -> None:
    why = rf"has only {said} checksum, which proves nothing: files that differ can be crafted to have the same one"
    root.put_repository(primary(package("x", "noarch", kind, "a" * 40)), "primary.xml")
    with pytest.raises(ProtocolError, match=rf"rhel9: package x {why}") as caught:
        root.found()
    assert "createrepo_c --checksum sha256" in caught.value.hint
    root.put_repository(GOOD, "primary.xml", kind)
    with pytest.raises(ProtocolError, match=rf"rhel9: its package list {why}") as caught:
        root.found()
    assert "createrepo_c --checksum sha256" in caught.value.hint


@pytest.mark.parametrize("version", ['<version ver="1" rel="2"/>', '<version epoch="" ver="1" rel="2"/>'])
def test_a_package_without_an_epoch_has_epoch_0(root: Root, version: str) -> None:
    root.put_repository(primary(package("x", "noarch", version=version)), "primary.xml")
    assert root.found()[0].nevra == "x-0:1-2.noarch"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ('href="../../../x.rpm"', "not below the repository"),
        ('href="noarch/%2e%2e/x.rpm"', "not below the repository"),
        ('href="/etc/x.rpm"', "not below the repository"),
        ('href="https://elsewhere.example/x.rpm"', "not below the repository"),
        ('href=""', "not below the repository"),
        ('xml:base="https://elsewhere.example/pool/" href="noarch/x.rpm"', "lies elsewhere"),
        ('xml:base="../pool" href="noarch/x.rpm"', "lies elsewhere"),
    ],
)
def test_a_package_that_lies_elsewhere_is_refused(root: Root, location: str, why: str) -> None:
    root.put_repository(primary(package("x", "noarch", location=f"<location {location}/>")), "primary.xml")
    with pytest.raises(ProtocolError, match=f"rhel9: package x .*{why}") as caught:
        root.found()
    assert "metadata regenerated" in caught.value.hint


def test_a_package_list_outside_of_the_repository_is_not_read(root: Root) -> None:
    root.put("secret", b"not for you")
    root.put_repository()
    root.put(f"{DIRECTORY}/{DATA}/repomd.xml", repomd(b"not for you", "../../../../secret"))
    with pytest.raises(ProtocolError, match="its package list is not below the repository"):
        root.found()


@pytest.mark.parametrize("port", ["", ":443"])
@pytest.mark.parametrize(
    "own", ["https://mirror.example/r/", "https://mirror.example:443/r/", "HTTPS://Mirror.Example/r/"]
)
def test_a_base_is_compared_as_an_address_and_not_as_text(own: str, port: str) -> None:
    """RFC 3986, 6.2.2.1 and 6.2.3: letters of scheme and host have no case, and a scheme has its usual port."""
    base = f'<location xml:base="https://MIRROR.example{port}/r/" href="repodata/p.xml"/>'
    index = repomd(b"", name="p.xml").replace(b'<location href="repodata/p.xml"/>', base.encode())
    assert primary_of(index, "r", own)[0] == "repodata/p.xml"


@pytest.mark.parametrize(
    "base",
    [
        "http://mirror.example/r/",
        "https://mirror.example:8443/r/",
        "https://mirror.example:x/r/",
        "https://mirror.example/R/",
        "https://mirror.example/rr/",
        "https://mirror.example@other.example/r/",
        "https://[/r/",
        "https://mirror.example/r/?x",
    ],
)
def test_another_base_is_elsewhere(base: str) -> None:
    index = repomd(b"", name="p.xml").replace(b"<location href", f'<location xml:base="{base}" href'.encode())
    with pytest.raises(ProtocolError, match="its package list lies elsewhere"):
        primary_of(index, "r", "https://mirror.example/r/")


def test_a_base_that_is_the_repositorys_own_address_is_honoured(tmp_path: Path) -> None:
    """createrepo_c --baseurl writes it, as an address (src/createrepo_c.c of rpm-software-management/createrepo_c)."""

    def answer(asked: Request) -> Reply:
        return Reply(200, files[asked.path]) if asked.path in files else Reply(404)

    with web_server(answer) as web:
        base = f"/release/{DIRECTORY}/dists/rhel9/"
        location = f'<location xml:base="{web.url}{base}noarch" href="x.rpm"/>'
        content = primary(package("x", "noarch", location=location))
        files = {f"{base}repodata/repomd.xml": repomd(content), f"{base}repodata/primary.xml.gz": content}
        files[f"{base}repodata/primary.xml.gz"] = packed = gzip.compress(content, mtime=0)
        files[f"{base}repodata/repomd.xml"] = repomd(packed)
        (found,) = PackageRoot(f"{web.url}/release", tmp_path).packages(DIRECTORY, "el9", "x86_64", NAMES) or ()
    assert found.location == "dists/rhel9/noarch/x.rpm"


def test_a_line_without_a_repository_has_none(root: Root) -> None:
    root.put_repository()
    root.put(f"{DIRECTORY}/gpg/GPG-KEY-beegfs", b"key")
    assert root.packages("el10") is None
    assert root.packages(directory="beegfs_7.98.1") is None


def test_a_line_whose_index_is_away_for_a_moment_is_not_one_that_has_nothing(root: Root) -> None:
    root.put_repository()
    root.put(f"{DIRECTORY}/gpg/GPG-KEY-beegfs", b"key")
    (root.folder / DIRECTORY / DATA).rename(root.folder / DIRECTORY / "dists/rhel9/.olddata")
    with pytest.raises(ProtocolError, match=r"dists/rhel9 exists, but has no repodata/repomd\.xml") as caught:
        root.packages()
    assert "run the command again" in caught.value.hint


def test_a_server_that_knows_nothing_at_all_says_nothing_about_packages(web: WebServer, tmp_path: Path) -> None:
    web.answer = in_turn(Reply(404, b"<html>no such host behind this proxy</html>"))
    with pytest.raises(ProtocolError, match=r"answers 404 for .*rhel9, and for its own address as well") as caught:
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el9", "x86_64", NAMES)
    assert "--packages" in caught.value.hint


@pytest.mark.parametrize("index", ["", "/"])
def test_a_server_without_folders_does_not_tell_what_is_not_there(web: WebServer, tmp_path: Path, index: str) -> None:
    """An object store answers 404 for every folder, whatever it contains, also while its index is being written."""
    there = (f"/{DIRECTORY}/gpg/RPM-GPG-KEY-beegfs", index)
    web.answer = lambda asked: Reply(200, b"key") if asked.path in there else Reply(404)
    with pytest.raises(ProtocolError, match=r"rhel10.*for the folder of its own key as well") as caught:
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el10", "x86_64", NAMES)
    assert "answers for folders" in caught.value.hint


def test_a_version_whose_key_is_not_there_yet_is_no_version_without_packages(root: Root) -> None:
    root.put(f"{DIRECTORY}/dists/rhel8/repodata/repomd.xml", b"x")
    with pytest.raises(ProtocolError, match=r"beegfs_8\.98 exists, but has neither gpg/GPG-KEY-beegfs") as caught:
        root.packages()
    assert "run the command again" in caught.value.hint


@pytest.mark.parametrize("encoding", ["x-gzip", "gzip"])
def test_a_servers_word_of_an_encoding_is_held_to_the_checksums(web: WebServer, tmp_path: Path, encoding: str) -> None:
    """The content is held to its checksum whether an encoding was applied or only named.

    `AddEncoding x-gzip .gz` names it for files that are as they were published (apache/httpd,
    docs/conf/httpd.conf.in); a proxy may also compress files that nobody asked it to.
    """
    rpm = gzip.compress(b"its own compression", mtime=0)
    listed = gzip.compress(
        primary(package("beegfs-client", "noarch", "sha512", hashlib.sha512(rpm).hexdigest())), mtime=0
    )
    plain = {"repomd.xml": repomd(listed), "GPG-KEY-beegfs": b"key"}
    stored = {"primary.xml.gz": listed, "beegfs-client.rpm": rpm}

    def answer(asked: Request) -> Reply:
        name = asked.path.rpartition("/")[2]
        content = gzip.compress(plain[name]) if name in plain else stored[name]
        return Reply(200, content, {"Content-Encoding": encoding})

    web.answer = answer
    opened = PackageRoot(web.url, tmp_path)
    (found,) = opened.packages(DIRECTORY, "el9", "x86_64", NAMES) or ()
    assert opened.sha256_of(DIRECTORY, found) == hashlib.sha256(rpm).hexdigest()
    assert opened.read(f"{DIRECTORY}/gpg/GPG-KEY-beegfs") == b"key"


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
        (repomd(b"", checksum="crc32"), "its package list has a checksum of type 'crc32', not one of sha256"),
        (
            repomd(b"").replace(b"sha256", b"sha512"),
            "its package list has the sha512 checksum '.*', which is malformed",
        ),
        (repomd(b"", name="absent.xml"), "names repodata/absent.xml, which does not exist"),
        (repomd(b"other"), "primary.xml.gz does not have the checksum in repomd.xml"),
    ],
)
def test_an_index_that_cannot_be_believed_is_told(root: Root, content: bytes, why: str) -> None:
    root.put_repository()
    root.put(f"{DIRECTORY}/{DATA}/repomd.xml", content)
    with pytest.raises(ProtocolError, match=f"package root .*{why}") as caught:
        root.names()
    assert caught.value.hint


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
        ("primary.xml.bz2", b"no bzip2", "not readable"),
        ("primary.xml.bz2", bz2.compress(GOOD)[:-5], "not readable"),
        ("primary.xml.zst", zstandard.compress(GOOD)[:-5], "its zstd data breaks off"),
        (
            "primary.xml",
            primary(package("x", "noarch", value="beef")),
            "the sha256 checksum 'beef', which is malformed",
        ),
    ],
)
def test_package_lists_that_cannot_be_read_are_told(root: Root, name: str, content: bytes, why: str) -> None:
    root.put_repository(content, name)
    with pytest.raises(ProtocolError, match=why) as caught:
        root.names()
    assert caught.value.hint


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
    with pytest.raises(ProtocolError, match=r"package root: .*x/file has the SHA-256 .* is pinned$") as caught:
        root.opened.fetch("x/file", hashlib.sha256(b"content").hexdigest(), tmp_path / "file")
    assert "discover" in caught.value.hint
    assert not (tmp_path / "file").exists()


def test_a_pinned_file_that_is_gone_is_told(root: Root, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"package root.* x/file is pinned but does not exist|answers 404"):
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
    with pytest.raises(InputError, match=r"package root: cannot read .*repomd\.xml: Is a directory") as caught:
        PackageRoot(str(tmp_path), tmp_path).read("repomd.xml")
    assert "vendor's layout" in caught.value.hint


@pytest.mark.usefixtures("slept")
def test_a_server_out_of_reach_is_named(tmp_path: Path) -> None:
    gone = PackageRoot(f"http://127.0.0.1:{closed_port()}/release", tmp_path)
    with pytest.raises(UnreachableError, match=r"the package root at .* connection refused"):
        gone.packages(DIRECTORY, "el9", "x86_64", NAMES)
    with pytest.raises(UnreachableError, match=r"the package root at .* connection refused"):
        gone.fetch("x", "a" * 64, tmp_path / "x")


@pytest.mark.usefixtures("slept")
def test_a_server_that_fails_is_not_one_that_has_nothing(web: WebServer, tmp_path: Path) -> None:
    web.answer = in_turn(Reply(503))
    with pytest.raises(UnreachableError, match=r"package root .* 503"):
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el9", "x86_64", NAMES)
    web.answer = in_turn(Reply(403))
    with pytest.raises(ProtocolError, match=r"package root: .* answers 403 Forbidden"):
        PackageRoot(web.url, tmp_path).packages(DIRECTORY, "el9", "x86_64", NAMES)


@pytest.mark.usefixtures("slept")
def test_a_broken_off_index_is_asked_again(web: WebServer, tmp_path: Path) -> None:
    web.answer = in_turn(Reply(200, b"fine", cut=1), Reply(200, b"fine"))
    assert PackageRoot(web.url, tmp_path).read("x") == b"fine"


@needs_rpm
@needs("createrepo_c")
@pytest.mark.parametrize(
    "options",
    [
        ("--checksum", "sha512", "--general-compress-type", "bz2"),
        ("--checksum", "sha384", "--general-compress-type", "xz"),
        (),
    ],
)
def test_what_createrepo_makes_is_read(root: Root, options: tuple[str, ...]) -> None:
    repository = root.folder / DIRECTORY / "dists/rhel9"
    rpm = build_rpm(repository / "noarch", "x")
    subprocess.run(["createrepo_c", "--quiet", *options, repository], check=True)
    (found,) = root.found()
    assert (found.nevra, found.location) == ("x-0:8.98.1-el9.noarch", f"dists/rhel9/noarch/{rpm.name}")
    assert root.opened.sha256_of(DIRECTORY, found) == hashlib.sha256(rpm.read_bytes()).hexdigest()
