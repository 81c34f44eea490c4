"""Read the records of installed packages: `rpm -qa`, dpkg's status files, and os-release.

dpkg's are paragraphs of fields (deb-control(5); dpkg, lib/dpkg/parse.c); an image without dpkg has one in each file of
/var/lib/dpkg/status.d, which scanners read alike (anchore/syft, syft/pkg/cataloger/debian).
"""

from __future__ import annotations

import re
import shlex

from kmatrix.values.installed import Distribution, InstalledPackage

# Of `rpm -qa`: one package a line, its fields separated by tabs.
RPM_FORMAT = r"%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\t%{VENDOR}\n"
_NONE = "(none)"
# The keys that rpm trusts are in its database as packages.
_KEYS = "gpg-pubkey"
_FIELD = re.compile(r"([A-Za-z0-9-]+):[ \t]*(.*)")
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)]+)\))?")


class MalformedPackagesError(ValueError):
    """The records of installed packages are not as their package manager writes them; the message has the line."""


def rpm_packages(text: str) -> tuple[InstalledPackage, ...]:
    """Return the packages that `rpm -qa` listed in `RPM_FORMAT`, sorted.

    Raises:
        MalformedPackagesError: a line has other fields.
    """
    packages = []
    for line in text.splitlines():
        fields = ["" if field == _NONE else field for field in line.split("\t")]
        if len(fields) != RPM_FORMAT.count("%") or not all(fields[:4]) or not fields[1].isdecimal():
            raise MalformedPackagesError(f"rpm lists a package as {line!r:.120}")
        name, epoch, version, release, arch, source, vendor = fields
        if name != _KEYS:
            packages.append(InstalledPackage("rpm", name, f"{version}-{release}", arch, int(epoch), source, vendor))
    return tuple(sorted(set(packages)))


def dpkg_packages(text: str) -> tuple[InstalledPackage, ...]:
    """Return the installed packages of dpkg's status paragraphs, sorted.

    A package whose status is not `installed` has left at most its configuration; one without a status is installed.

    Raises:
        MalformedPackagesError: a paragraph lacks a package or its version.
    """
    packages = []
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        fields = _fields(paragraph)
        if not fields or fields.get("Status", "installed").split()[-1:] != ["installed"]:
            continue
        name, version = fields.get("Package", ""), fields.get("Version", "")
        if not name or not version:
            raise MalformedPackagesError(f"dpkg has a package as {paragraph!r:.120}")
        source = _source(fields.get("Source", ""), name, version)
        packages.append(InstalledPackage("deb", name, version, fields.get("Architecture", ""), source=source))
    return tuple(sorted(set(packages)))


def distribution_of(text: str) -> Distribution:
    """Return the distribution that an os-release file names (os-release(5)); the first value of a name counts."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values.setdefault(name, _unquoted(value))
    return Distribution(values.get("ID", "").lower(), values.get("VERSION_ID", ""), values.get("NAME", ""))


def _fields(paragraph: str) -> dict[str, str]:
    # The lines of a folded field begin with a blank, and none of them is needed.
    found = (_FIELD.match(line) for line in paragraph.splitlines())
    return {match[1]: match[2].strip() for match in found if match}


def _source(field: str, name: str, version: str) -> str:
    match = _SOURCE.match(field)
    if match is None:
        return ""
    of_version = match[2] or ""
    if (match[1], of_version or version) == (name, version):
        return ""
    return match[1] + (f"@{of_version}" if of_version else "")


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value
