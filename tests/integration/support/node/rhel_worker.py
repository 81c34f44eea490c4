"""A RHEL worker in a folder, and the package of its kernel's headers on a web server, as Red Hat's network has it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kmatrix.effects.engine import Engine
from kmatrix.values.engine import Mount
from tests.integration.support.lab import Lab
from tests.unit.support.http_server import Reply, Request, WebServer, web_server

# The lab's kernels are Debian's: two dashes in the release are more than an RPM's version can have, so the release is
# part of the package's name. `dnf install kernel-devel-RELEASE` is the same either way. Red Hat's is below /usr/src
# alone; its requirements in other packages go to folders such as /usr/lib, as those that Debian keeps apart do here.
_SPEC = """\
Name: kernel-devel-{kernel}
Version: 1
Release: 1
Summary: Headers of a kernel of the lab
License: GPL-2.0-only
AutoReqProv: no
Requires: kbuild-{kernel}
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _binary_payload w1.gzdio
%description
Headers of a kernel of the lab.
%package -n kbuild-{kernel}
Summary: What the headers of a kernel of the lab need of others
AutoReqProv: no
%description -n kbuild-{kernel}
Programs that a compile runs.
%install
mkdir -p %{{buildroot}}/usr/src %{{buildroot}}/usr/lib
cp -a /usr/src/. %{{buildroot}}/usr/src/
cp -a /usr/lib/linux-kbuild-* %{{buildroot}}/usr/lib/
# Of what this module's compile does not read a guest would only have to unpack, and check, thousands of files.
cd %{{buildroot}}/usr/src
for name in dt-bindings drm media sound; do rm -rf linux-headers-*/include/$name; done
find linux-headers-*/include/config -type f -empty -delete
for arch in linux-headers-*-common*/arch/*; do
  case $(uname -m)-${{arch##*/}} in x86_64-x86 | aarch64-arm*) ;; *) rm -rf "$arch" ;; esac
done
%files
/usr/src/*
%files -n kbuild-{kernel}
/usr/lib/*
"""
_PACKAGE = "rpmbuild -bb --quiet --define '_topdir /tmp/rpm' --define '_rpmdir /out' /out/headers.spec"
# The node's own /lib/modules: the files that the compile and depmod read.
_TREE = """
cd /lib/modules
cp -a --parents "$1"/modules.* "$1/build" "$1/source" /out/
for name in ib_core rdma_cm; do modprobe -S "$1" --show-depends "$name"; done | sort -u | while read -r _ path _; do
  cp -a --parents ".${path#/lib/modules}" /out/
done
"""
_REPOSITORY = """\
[lab-baseos]
name = of this lab
baseurl = {url}
enabled = 1
gpgcheck = 0
sslverify = 1
sslcacert = /etc/rhsm/ca/redhat-uep.pem
sslclientkey = /etc/pki/entitlement/1-key.pem
sslclientcert = /etc/pki/entitlement/1.pem
gpgkey = file:///etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release

[lab-other]
name = of this lab, not used
baseurl = http://127.0.0.1:9
enabled = 0
sslclientcert = /etc/pki/entitlement/2.pem
"""
_RELEASE = re.compile(r"^/only-([0-9.]+)/\1(?=/)")
ENTITLEMENT = ("etc/rhsm/ca/redhat-uep.pem", "etc/pki/entitlement/1.pem", "etc/pki/entitlement/1-key.pem")


def make_repository(engine: Engine, lab: Lab, toolkit: str, kernel: str, folder: Path) -> None:
    """Create a package repository with the headers of a toolkit's kernel, which the toolkit packages itself."""
    folder.mkdir(parents=True)
    (folder / "headers.spec").write_text(_SPEC.format(kernel=kernel), encoding="utf-8")
    _run(engine, lab.toolkits[toolkit], folder, _PACKAGE)
    _run(engine, lab.workshop, folder, "createrepo_c -q /out")


def make_worker(engine: Engine, lab: Lab, toolkit: str, kernel: str, folder: Path) -> None:
    """Create the folder of a node that runs a kernel: its modules, its release; entitled, but without repositories."""
    for name in ("lib/modules", "etc/yum.repos.d", "etc/pki/rpm-gpg"):
        (folder / name).mkdir(parents=True)
    _run(engine, lab.toolkits[toolkit], folder / "lib" / "modules", _TREE, kernel)
    (folder / "etc/os-release").write_text('NAME="Red Hat Enterprise Linux"\nID="rhel"\nVERSION_ID="9.4"\n')
    for name in ENTITLEMENT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a certificate\n")


def add_repository(worker: Path, url: str) -> None:
    """Give a node a repository file as subscription-manager writes it."""
    (worker / "etc/yum.repos.d/redhat.repo").write_text(_REPOSITORY.format(url=url), encoding="utf-8")


@contextmanager
def served(folder: Path) -> Iterator[WebServer]:
    """Serve a folder; everything below /forbidden/ is refused, and /only-RELEASE/ has that release alone."""

    def answer(request: Request) -> Reply:
        path = folder / _RELEASE.sub("", request.path).lstrip("/")
        if request.path.startswith("/forbidden/"):
            return Reply(403)
        return Reply(200, path.read_bytes()) if path.is_file() else Reply(404)

    with web_server(answer) as server:
        yield server


def _run(engine: Engine, image: str, out: Path, script: str, *arguments: str) -> None:
    command = ["sh", "-ec", f"export HOME=/tmp; {script}", "script", *arguments]
    mounts = [Mount(str(out), "/out", writable=True)]
    with engine.container(image, command, user=f"{os.getuid()}:{os.getgid()}", mounts=mounts) as container:
        done = engine.run(container, timeout_seconds=300)
    assert done.status == 0, done.stdout + done.stderr
