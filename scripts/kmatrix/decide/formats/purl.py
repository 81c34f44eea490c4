"""Package URLs: the names by which scanners, advisories and bills of materials know a package or an image.

Types and qualifiers are those of package-url/purl-spec (PURL-SPECIFICATION.rst; PURL-TYPES.rst: deb, oci, rpm).
`distro` and `upstream`, the package of the sources, are written as anchore/syft does (syft/pkg/url.go), because
scanners look an advisory up by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from kmatrix.values.installed import Distribution, InstalledPackage
from kmatrix.values.names import GO_ARCH, Arch, ImageRef

_VENDOR = "beegfs"


def purl(kind: str, names: tuple[str, ...], version: str = "", qualifiers: Mapping[str, str] | None = None) -> str:
    """Return a package URL.

    Args:
        kind: the type: `rpm`.
        names: the namespace, if it has one, and the name.
        version: empty if there is none.
        qualifiers: those without a value are left out.
    """
    path = "/".join(quote(name, safe="") for name in names)
    at = f"@{quote(version, safe='' if kind == 'oci' else ':')}" if version else ""
    pairs = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in sorted((qualifiers or {}).items()) if value)
    return f"pkg:{kind}/{path}{at}" + (f"?{pairs}" if pairs else "")


def image_purl(ref: ImageRef, arch: Arch | None = None) -> str:
    """Return the package URL of an image by its digest; `arch` is None for a list, or where it does not matter."""
    qualifiers = {"repository_url": ref.repository, "arch": GO_ARCH[arch] if arch else ""}
    return purl("oci", (ref.path.rpartition("/")[2],), ref.digest, qualifiers)


def package_purl(package: InstalledPackage, distribution: Distribution | None = None) -> str:
    """Return the package URL of a package, or of the client's package, which is of no distribution."""
    of = distribution or Distribution()
    # An unnamed distribution leaves out the vendor, which scanners then do not look advisories up for.
    names = (*((of.id,) if of.id else () if distribution else (_VENDOR,)), package.name)
    qualifiers = {
        "arch": package.arch,
        "epoch": str(package.epoch or ""),
        "upstream": package.source,
        "distro": f"{of.id}-{of.version}" if of.id and of.version else of.id,
    }
    return purl(package.kind, names, package.version, qualifiers)
