"""RPMs that real rpmbuild builds and real rpmsign signs while the tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.unit.support.openpgp_keys import Gpg
from tests.unit.support.programs import needs

needs_rpm = needs("rpmbuild", "rpmsign", "rpmkeys", "gpg")
_SPEC = """\
Name: {name}
Version: {version}
Release: {release}
{epoch}
Summary: made by a test
License: none
BuildArch: noarch
%description
Made by a test.
%install
mkdir -p %{{buildroot}}/opt/beegfs/src %{{buildroot}}/etc/beegfs
echo {name} {release} > %{{buildroot}}/opt/beegfs/src/{name}
echo {name} > %{{buildroot}}/etc/beegfs/{name}
%files
/opt/beegfs/src/{name}
/etc/beegfs/{name}
"""


def build_rpm(
    folder: Path,
    name: str = "beegfs-client",
    version: str = "8.98.1",
    release: str = "el9",
    epoch: str = "",
    signer: tuple[Gpg, str] | None = None,
) -> Path:
    """Build a noarch RPM in a folder, signed if a key is given, and return its path."""
    work = folder / "rpmbuild"
    work.mkdir(parents=True, exist_ok=True)
    spec = work / "x.spec"
    line = f"Epoch: {epoch}" if epoch else ""
    spec.write_text(_SPEC.format(name=name, version=version, release=release, epoch=line), encoding="utf-8")
    file = f"{name}-{version}-{release}.noarch.rpm"
    defines = {"_topdir": str(work), "_rpmdir": str(folder), "_build_name_fmt": file, "_tmppath": str(work)}
    options = [word for key, value in defines.items() for word in ("--define", f"{key} {value}")]
    subprocess.run(["rpmbuild", "-bb", "--quiet", *options, str(spec)], check=True, capture_output=True)
    shutil.rmtree(work)
    if signer is not None:
        gpg, key = signer
        program = shutil.which("gpg")
        signing = {"__gpg": f"{program}", "_gpg_path": str(gpg.home), "_gpg_name": key}
        options = [word for name_, value in signing.items() for word in ("--define", f"{name_} {value}")]
        subprocess.run(
            ["rpmsign", "--addsign", *options, str(folder / file)],
            check=True,
            capture_output=True,
            env={**os.environ, "GNUPGHOME": str(gpg.home)},
        )
    return folder / file
