"""The build in the cluster: the rendered BuildConfig, built as OpenShift builds it, checked and booted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmatrix.decide.boot import Booted
from kmatrix.decide.formats.elf import read_module
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.errors import StepFailedError
from kmatrix.effects.vm.qemu import Machines
from kmatrix.stages.boot import boot_image
from kmatrix.stages.subject import Subject
from tests.integration.support.cluster.openshift import InCluster, built, one_unit_copy, rendered, run_in, small_copy
from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, Site, SiteMaker
from tests.integration.support.session import Session


@pytest.fixture(scope="module")
def site(lab: Lab, module_sites: SiteMaker) -> Site:
    """A project of both clients, whose builds are not in the engine's cache."""
    return module_sites(clients=[OLDER_CLIENT, NEWER_CLIENT], kernels=[lab.kernels.next_line], warm=False)


@pytest.fixture(scope="module")
def manifests(site: Site) -> InCluster:
    """The rendered manifests of the newer client."""
    return rendered(site, NEWER_CLIENT)


@pytest.fixture(scope="module")
def log() -> list[str]:
    """The output of the build of `image`."""
    return []


@pytest.fixture(scope="module")
def image(engine: Engine, lab: Lab, session: Session, manifests: InCluster, log: list[str]) -> Iterator[str]:
    """The image of the newer client, built on the toolkit of the 6.12 line."""
    try:
        with built(engine, session, manifests, lab.toolkits["next-line"], log) as made:
            yield made
    except StepFailedError as error:
        pytest.fail(f"{error}\n" + "\n".join(log[-40:]))


@pytest.fixture(scope="module")
def quick(engine: Engine, session: Session, image: str) -> Iterator[str]:
    """A copy of the image that compiles again in half the time."""
    with one_unit_copy(engine, session, image) as copy:
        yield copy


def test_the_image_loads_in_the_kernel_of_its_toolkit(
    engine: Engine, lab: Lab, session: Session, image: str, tmp_path: Path
) -> None:
    kernel = lab.kernels.next_line
    machines = Machines("tcg")
    lines: list[str] = []
    with small_copy(engine, session, image) as small:
        with engine.container(small) as container:
            ko = engine.read_file(container, f"/opt/lib/modules/{kernel}/extra/beegfs.ko")
        module = read_module(ko or b"")
        booted = Booted(kernel, module.first("version") or "", module.first("srcversion") or "")
        subject = Subject("in-cluster", small, lab.toolkits["next-line"], "x86_64", booted, module.depends)
        report = boot_image(engine, machines, subject, tmp_path, 120.0, lines.append)
    assert (report.verdict, report.code) == ("passed", "booted"), "\n".join([report.message, *lines[-40:]])
    assert booted.version == NEWER_CLIENT
    assert set(module.depends) == {"ib_core", "rdma_cm"}


def test_it_has_the_userland_and_keeps_sources_and_compiler_but_no_packages(engine: Engine, image: str) -> None:
    script = """
    /opt/beegfs/sbin/beegfs --help >/dev/null; echo "tool $?"
    for path in /sbin/mount.beegfs /etc/beegfs/beegfs-client.conf /kmatrix/source/opt/beegfs/src; do
      [ -e "$path" ] || echo "no $path"
    done
    command -v gcc make dnf >/dev/null || echo "no compiler"
    find / -xdev -name 'beegfs-*.rpm'
    beegfs-node info >/dev/null; echo "info $?"
    """
    done = run_in(engine, image, script)
    assert done.stdout.split("\n") == ["tool 0", "info 0", ""], done.stderr


@pytest.fixture(scope="module")
def two_kernels(engine: Engine, lab: Lab, session: Session, site: Site) -> Iterator[tuple[str, list[str]]]:
    """The image of the older client on a toolkit that also has a real-time kernel, and the output of its build.

    It compiles again in half the time.
    """
    log: list[str] = []
    with (
        built(engine, session, rendered(site, OLDER_CLIENT), lab.toolkits["newer"], log) as made,
        one_unit_copy(engine, session, made) as quick,
    ):
        yield quick, log


def test_every_kernel_of_the_toolkit_has_a_module_and_another_line_its_own_packages(
    engine: Engine, lab: Lab, two_kernels: tuple[str, list[str]]
) -> None:
    image, log = two_kernels
    done = run_in(engine, image, "modinfo -F vermagic /opt/lib/modules/*/extra/beegfs.ko; cd /opt/beegfs/sbin; ls")
    kernels = [line.split()[0] for line in done.stdout.splitlines() if " " in line]
    assert sorted(kernels) == sorted([lab.kernels.newer, lab.kernels.real_time])
    assert {"beegfs-ctl", "beegfs-helperd"} <= set(done.stdout.split())
    # This toolkit says that it is RHEL 9.4.
    assert any(f"/beegfs_{OLDER_CLIENT}/dists/rhel9/" in line for line in log)


# As a package with the fault no-compile does.
_UNCOMPILABLE = "export BEEGFS_FAULT=no-compile BEEGFS_FAULT_KERNELS="
_COMPILE_ALL = "export MAKE_JOBS=2; rm -rf /opt/lib/modules; rebuild-module --toolkit; echo $?; ls /opt/lib/modules"


def test_a_kernel_that_does_not_compile_takes_no_module_from_the_standard_one(
    engine: Engine, lab: Lab, two_kernels: tuple[str, list[str]]
) -> None:
    done = run_in(engine, two_kernels[0], f"{_UNCOMPILABLE}{lab.kernels.real_time}; {_COMPILE_ALL}")
    assert done.stdout.split() == ["0", lab.kernels.newer], done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rebuild-module: warning: no module for a kernel of this toolkit: compile-failed: ")
    assert lab.kernels.real_time in last


def test_a_build_without_a_module_for_the_standard_kernel_fails(
    engine: Engine, lab: Lab, two_kernels: tuple[str, list[str]]
) -> None:
    done = run_in(engine, two_kernels[0], f"{_UNCOMPILABLE}{lab.kernels.newer}; {_COMPILE_ALL}")
    assert done.stdout.split() == ["1", lab.kernels.real_time], done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rebuild-module: error: compile-failed: ")
    assert f"kernel {lab.kernels.newer};" in last


# Where a program comes before the toolkit's own of that name.
_SHADOWS = "/usr/local/sbin"
_DO_NOTHING = "echo '#!/bin/bash'"
_CORE = "/lib/modules/*/kernel/drivers/infiniband/core"


def another_answer(field: str, answer: str) -> str:
    """Commands after which modinfo has another answer to a question."""
    program = f'if [ "$2" = {field} ]; then echo "{answer}"; else exec /usr/sbin/modinfo "$@"; fi'
    path = f"{_SHADOWS}/modinfo"
    return f"{_DO_NOTHING} >{path}; echo {shlex.quote(program)} >>{path}; chmod 755 {path}"


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (another_answer("name", "other"), "is named other, not beegfs"),
        ("export BEEGFS_FAULT=wrong-version", f"is of version 0.0.1, not {NEWER_CLIENT}"),
        (another_answer("vermagic", "5.14.0-1.el9.x86_64 SMP"), "is for 5.14.0-1.el9.x86_64, not {kernel}"),
        ("export BEEGFS_FAULT=no-rdma", "does not need ib_core: it was compiled without RDMA"),
        (another_answer("depends", "ib_core"), "does not need rdma_cm: it was compiled without RDMA"),
        ("sed -i '\\#/rdma_cm.ko#d' /lib/modules/*/modules.dep", "needs rdma_cm, which is not in {tree}/modules.dep"),
        (f"rm {_CORE}/ib_core.ko*", "/core/ib_core.ko.xz, which is not in {tree}. "),
        # Needed by rdma_cm, not by the client itself.
        (f"rm {_CORE}/iw_cm.ko*", "/core/iw_cm.ko.xz, which is not in {tree}. "),
        (f"{_DO_NOTHING} >{_SHADOWS}/depmod; chmod 755 {_SHADOWS}/depmod", "would be loaded without "),
    ],
)
def test_a_module_that_is_not_right_fails_the_build(
    engine: Engine, lab: Lab, quick: str, spoil: str, wrong: str
) -> None:
    done = run_in(engine, quick, f"{spoil}; {_COMPILE_ALL}")
    assert done.stdout.split() == ["1"], done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rebuild-module: error: module-wrong: ")
    kernel = lab.kernels.next_line
    assert wrong.format(kernel=kernel, tree=f"/lib/modules/{kernel}") in last


def test_the_packages_are_those_of_the_toolkits_rhel_line(image: str, log: list[str]) -> None:
    # This toolkit says that it is RHEL 10.0.
    assert any("/beegfs_8.98/dists/rhel10/" in line for line in log), image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"CLIENT_VERSION": "8.98.9"}, r"version-missing: .* has no beegfs-client 8\.98\.9 .* only: .*8\.98\.1"),
        ({"CLIENT_VERSION": "8.99.0"}, r"repository-unreadable: cannot fetch client 8\.99\.0 from .*beegfs_8\.99/"),
        ({"CLIENT_VERSION": "latest"}, r"version-invalid: CLIENT_VERSION is 'latest'"),
        ({"KEY_FINGERPRINT": "0" * 40}, r"package-key-mismatch: .* 0{40}"),
        ({"PACKAGES": "http://127.0.0.1:9/release"}, r"repository-unreadable: .*127\.0\.0\.1:9"),
    ],
)
def test_a_build_that_cannot_be_right_fails_and_says_why(
    engine: Engine, lab: Lab, session: Session, manifests: InCluster, arguments: dict[str, str], message: str
) -> None:
    log: list[str] = []
    with (
        pytest.raises(StepFailedError),
        built(engine, session, manifests, lab.toolkits["next-line"], log, **arguments),
    ):
        pytest.fail("it was built")
    assert re.search(f"error: {message}", "\n".join(log)), "\n".join(log[-20:])


def test_a_package_of_another_key_fails_the_build(
    engine: Engine, lab: Lab, session: Session, manifests: InCluster
) -> None:
    # The key that is inlined and the fingerprint agree; the packages are signed with another one.
    client = (
        "export GNUPGHOME=$(mktemp -d); gpg --batch --quiet --passphrase '' --quick-gen-key other rsa2048 sign never"
    )
    made = run_in(engine, lab.workshop, f"{client} 2>/dev/null; gpg --armor --export; gpg --with-colons --list-keys")
    armored, records = made.stdout.split("-----END PGP PUBLIC KEY BLOCK-----\n")
    (fingerprint,) = re.findall(r"^fpr:.*:([0-9A-F]{40}):$", records, re.MULTILINE)
    key = armored + "-----END PGP PUBLIC KEY BLOCK-----\n"
    other = InCluster(manifests.config, {**manifests.files, "package-key": key}, manifests.daemonset)
    log: list[str] = []
    with (
        pytest.raises(StepFailedError),
        built(engine, session, other, lab.toolkits["next-line"], log, KEY_FINGERPRINT=fingerprint),
    ):
        pytest.fail("it was built")
    assert "unpack-packages: error: package-signature-" in "\n".join(log)
