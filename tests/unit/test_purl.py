"""Package URLs as package-url/purl-spec and scanners write them."""

from __future__ import annotations

from kmatrix.decide.formats.purl import image_purl, package_purl, purl
from kmatrix.values.installed import Distribution, InstalledPackage
from kmatrix.values.names import ImageRef

RHEL = Distribution("rhel", "9.4", "Red Hat Enterprise Linux")
DEBIAN = Distribution("debian", "12", "Debian GNU/Linux")


def test_an_image_is_named_by_its_digest_and_its_repository() -> None:
    """purl-spec, PURL-TYPES.rst, oci: the digest's colon is encoded, the repository is a qualifier."""
    ref = ImageRef.parse(f"127.0.0.1:5080/lab/driver-toolkit:4.96@sha256:{'2' * 64}")
    at = f"pkg:oci/driver-toolkit@sha256%3A{'2' * 64}"
    assert image_purl(ref) == f"{at}?repository_url=127.0.0.1:5080/lab/driver-toolkit"
    assert image_purl(ref, "aarch64") == f"{at}?arch=arm64&repository_url=127.0.0.1:5080/lab/driver-toolkit"


def test_a_package_has_its_distribution_and_its_sources_as_scanners_look_it_up() -> None:
    bash = InstalledPackage("rpm", "bash", "5.1.8-9.el9", "x86_64", 0, "bash-5.1.8-9.el9.src.rpm")
    of = "arch=x86_64&distro=rhel-9.4&upstream=bash-5.1.8-9.el9.src.rpm"
    assert package_purl(bash, RHEL) == f"pkg:rpm/rhel/bash@5.1.8-9.el9?{of}"
    epoch = InstalledPackage("rpm", "openssl", "3.0.7-27.el9", "x86_64", 1)
    assert package_purl(epoch, RHEL) == "pkg:rpm/rhel/openssl@3.0.7-27.el9?arch=x86_64&distro=rhel-9.4&epoch=1"
    of = "arch=amd64&distro=debian-12&upstream=bash%405.2.15-2"
    deb = InstalledPackage("deb", "bash", "5.2.15-2+b13", "amd64", source="bash@5.2.15-2")
    assert package_purl(deb, DEBIAN) == f"pkg:deb/debian/bash@5.2.15-2%2Bb13?{of}"


def test_the_epoch_of_a_debian_package_stays_in_its_version() -> None:
    """purl-spec, PURL-TYPES.rst, deb: `pkg:deb/debian/attr@1:2.4.47-2`."""
    deb = InstalledPackage("deb", "attr", "1:2.4.47-2", "amd64")
    assert package_purl(deb, Distribution("debian")) == "pkg:deb/debian/attr@1:2.4.47-2?arch=amd64&distro=debian"


def test_a_package_of_the_client_is_of_no_distribution() -> None:
    client = InstalledPackage("rpm", "beegfs-client", "8.2.2-el9", "noarch", 20)
    assert package_purl(client) == "pkg:rpm/beegfs/beegfs-client@8.2.2-el9?arch=noarch&epoch=20"
    assert package_purl(client, Distribution()).startswith("pkg:rpm/beegfs-client@")


def test_names_and_values_are_encoded() -> None:
    assert purl("generic", ("a b/c",), "1~2", {"k": "é&=", "empty": ""}) == "pkg:generic/a%20b%2Fc@1~2?k=%C3%A9%26%3D"
