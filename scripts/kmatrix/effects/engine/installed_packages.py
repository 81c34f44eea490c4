"""Reads which packages an image has installed, with its own package manager's records."""

from __future__ import annotations

from kmatrix.decide.formats.installed_packages import (
    RPM_FORMAT,
    MalformedPackagesError,
    distribution_of,
    dpkg_packages,
    rpm_packages,
)
from kmatrix.effects.engine.protocol import Engine
from kmatrix.values.errors import ProtocolError, ToolError
from kmatrix.values.installed import Installed

_OUT = "/kmatrix-packages"
# An image without dpkg has a file for each package, and beside it one with the sums of its files.
_SCRIPT = f"""
set -eu
mkdir {_OUT}
for file in /etc/os-release /usr/lib/os-release; do
  if [ -f "$file" ]; then cat "$file" >>{_OUT}/os-release; echo >>{_OUT}/os-release; fi
done
for file in /var/lib/dpkg/status /var/lib/dpkg/status.d/*; do
  case $file in *.md5sums) continue ;; esac
  if [ -f "$file" ]; then cat "$file" >>{_OUT}/dpkg; printf '\\n\\n' >>{_OUT}/dpkg; fi
done
if command -v rpm >/dev/null; then
  rpm -qa --qf '{RPM_FORMAT}' >{_OUT}/rpm
else
  for file in /var/lib/rpm/* /usr/lib/sysimage/rpm/*; do
    [ ! -f "$file" ] || {{ echo "$file is a database of packages, and there is no rpm to read it" >&2; exit 1; }}
  done
fi
"""


def read_installed(engine: Engine, image: str) -> Installed:
    """Return the packages that are installed in an image, and its distribution.

    Args:
        engine: has the image.
        image: its id.

    Raises:
        ToolError: its records cannot be read.
        ProtocolError: they are not as their package manager writes them.
        UnreachableError: the engine went away.
    """
    with engine.container(image, ["sh", "-c", _SCRIPT]) as container:
        done = engine.run(container)
        if done.status != 0:
            raise ToolError(
                f"the packages installed in {image} cannot be listed: {done.stderr.strip()[-300:]}",
                "Check `rpm -qa` in the base of matrix.yaml; a base with an RPM database must have the program rpm.",
            )
        files = engine.read_tree(container, _OUT)
    texts = {path.partition("/")[2]: content.decode("utf-8", "replace") for path, content in files.items()}
    try:
        packages = (*dpkg_packages(texts.get("dpkg", "")), *rpm_packages(texts.get("rpm", "")))
    except MalformedPackagesError as error:
        raise ProtocolError(
            f"the records of the packages installed in {image}: {error}",
            "Use another base in matrix.yaml, or repair the database of packages in this one.",
        ) from error
    return Installed(distribution_of(texts.get("os-release", "")), packages)
