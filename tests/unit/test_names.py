"""Names: which are accepted, which are refused, and their order."""

from __future__ import annotations

import pytest

from kmatrix.values.cells import Cell
from kmatrix.values.names import (
    ClientVersion,
    ImageRef,
    ReleaseVersion,
    fingerprint,
    image_tag,
    kernel_release,
    stream_of_rhel,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "text",
    [
        "5.14.0-427.50.1.el9_4.x86_64",
        "5.14.0-427.50.1.el9_4.x86_64+rt",
        "5.14.0-1.el9.aarch64+64k",
        "6.12.117+deb12-amd64",
    ],
)
def test_kernel_releases_of_every_kind_are_taken(text: str) -> None:
    assert kernel_release(text) == text


@pytest.mark.parametrize(
    "text", ["", "5.14", "5.14.0 x", "5.14.0\nRUN id", "../5.14.0", "5.14.0/..", "5.14.0" + "x" * 100]
)
def test_what_could_not_be_a_kernel_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="kernel release"):
        kernel_release(text)


def test_client_versions_order_as_numbers() -> None:
    texts = ["7.4.10", "7.4.9", "8.0.1", "7.10.0"]
    assert [str(version) for version in sorted(map(ClientVersion.parse, texts))] == [
        "7.4.9",
        "7.4.10",
        "7.10.0",
        "8.0.1",
    ]


@pytest.mark.parametrize(
    ("text", "directory"), [("7.4.6", "beegfs_7.4.6"), ("8.2.1", "beegfs_8.2"), ("8.10.0", "beegfs_8.10")]
)
def test_the_vendor_names_its_directories_by_full_version_until_7(text: str, directory: str) -> None:
    assert ClientVersion.parse(text).repository_directory == directory


@pytest.mark.parametrize("text", ["7", "7.4", "7.4.6.1", "7.04.6", "v7.4.6", "7.4.6-rc1", ""])
def test_what_is_no_full_client_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="client version"):
        ClientVersion.parse(text)


def test_releases_order_as_semantic_versions() -> None:
    texts = ["4.16.10", "4.16.9", "4.17.0-rc.1", "4.17.0", "4.17.0-ec.3", "4.17.0-rc.10"]
    ordered = ["4.16.9", "4.16.10", "4.17.0-ec.3", "4.17.0-rc.1", "4.17.0-rc.10", "4.17.0"]
    assert [str(version) for version in sorted(map(ReleaseVersion.parse, texts))] == ordered


def test_an_image_reference_survives_parsing() -> None:
    for text in (
        f"quay.io/a/b@{DIGEST}",
        "127.0.0.1:5080/a:tag",
        f"registry.example:5000/a/b/c:t@{DIGEST}",
        "localhost/a",
        "[::1]:5000/x",
        f"[fd00:0:0:1::2]/a/b:t@{DIGEST}",
    ):
        assert str(ImageRef.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["debian", "library/debian", "quay.io/", "quay.io/A", "quay.io/a:", "quay.io/a@sha256:12", "quay.io/a b"]
)
def test_an_image_reference_without_registry_or_with_a_malformed_part_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.split(" ")[0][:6]):
        ImageRef.parse(text)


@pytest.mark.parametrize(
    "text", ["[]/x", "[::1/x", "[::1]5000/x", "[1::2::3]/x", "[::ffff:10.0.0.1]/x", "[fe80::1%eth0]/x"]
)
def test_an_ipv6_host_is_as_the_engine_takes_it(text: str) -> None:
    """The engine's form excludes zones and mapped addresses: distribution/reference, regexp.go (ipv6address)."""
    with pytest.raises(ValueError, match="names no registry"):
        ImageRef.parse(text)


@pytest.mark.parametrize("text", ["[::ffff:127.0.0.1]:5000/x", "[fe80::1%eth0]/x"])
def test_why_a_true_address_is_no_host_of_an_image_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no registry: .*hexadecimal digits and colons alone"):
        ImageRef.parse(text)
    assert str(ImageRef.parse("[::ffff:7f00:1]:5000/x")) == "[::ffff:7f00:1]:5000/x"


@pytest.mark.parametrize(
    "text",
    [
        "s3cr3t@quay.io/team/x",
        "user:s3cr3t@quay.io/team/x",
        "https://s3cr3t@quay.io/team/x",
        "https://user:s3cr3t/y@quay.io/team/x",
        "quay.io/s3cr3t@host/x",
        "quay.io/x:s3cr3t@host",
        "quay.io/x?sig=s3cr3t",
    ],
)
def test_what_is_refused_is_shown_without_a_secret(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no|malformed") as caught:
        ImageRef.parse(text)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("docker.io/debian:13", ("registry-1.docker.io", "library/debian")),
        ("docker.io/team/image", ("registry-1.docker.io", "team/image")),
        ("index.docker.io/team/image", ("registry-1.docker.io", "team/image")),
        ("quay.io/image", ("quay.io", "image")),
        ("registry-1.docker.io/library/debian", ("registry-1.docker.io", "library/debian")),
        # The engine makes no name of this one: distribution/reference, normalize.go (splitDockerDomain).
        ("registry-1.docker.io/debian", ("registry-1.docker.io", "debian")),
        ("[::1]:5000/image", ("[::1]:5000", "image")),
    ],
)
def test_docker_hub_is_asked_under_other_names(name: str, registry: tuple[str, str]) -> None:
    assert ImageRef.parse(name).registry == registry


def test_a_reference_without_a_digest_cannot_be_pulled() -> None:
    with pytest.raises(ValueError, match="no digest"):
        _ = ImageRef.parse("quay.io/a:tag").pinned


def test_a_plus_is_an_underscore_in_tags_alone() -> None:
    toolkit = ImageRef.parse(f"quay.io/dtk@{DIGEST}")
    cell = Cell(ClientVersion(7, 4, 6), "5.14.0-1.el9.x86_64+rt", "x86_64", "rt", "el9", toolkit, ("4.16.1",))
    assert cell.id == "7.4.6-5.14.0-1.el9.x86_64+rt"
    assert cell.tag == "7.4.6-5.14.0-1.el9.x86_64_rt"


def test_what_cannot_be_a_tag_even_so_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be an image tag"):
        image_tag("a/b")


def test_rhel_versions_give_their_line() -> None:
    assert [stream_of_rhel(text) for text in ("8.6", "9", "10.2")] == ["el8", "el9", "el10"]


def test_fingerprints_are_compared_without_blanks_and_case() -> None:
    assert (
        fingerprint("0683 af2b 9ac5 bc7d 59b2 d623 40ce 4e24 3cd5 0804") == "0683AF2B9AC5BC7D59B2D62340CE4E243CD50804"
    )
    with pytest.raises(ValueError, match="fingerprint"):
        fingerprint("0683AF2B")
