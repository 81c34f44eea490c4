"""driver-toolkit-release.json as toolkits really have it.

openshift/driver-toolkit, Dockerfile (branches of 4.8 to 5.0) and Dockerfile.rhel10, writes into it the output of
`rpm -q --qf "%{VERSION}-%{RELEASE}.%{ARCH}"` for the kernel packages, and RHEL's version by argument or os-release.
Its pull requests: #44 (the architecture in the names), #154 (`+rt`), #168 (VERSION_ID for VERSION, "9.4 (Plow)").
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.formats.payload import read_toolkits
from kmatrix.decide.formats.toolkit_kernels import kernels_of_labels, read_toolkit_kernels
from kmatrix.values.errors import ProtocolError
from kmatrix.values.names import ARCHES, Arch, Flavour, ReleaseVersion, image_tag, stream_of_rhel
from tests.unit.support.programs import needs

SAMPLES = Path(os.environ.get("KMATRIX_SAMPLES", "no-samples")) / "openshift"
RELEASE = ReleaseVersion.parse("4.16.3")
KERNEL = "5.14.0-427.50.1.el9_4.x86_64"
NO_RT = "package kernel-rt-core is not installed"


def release(**keys: Any) -> str:
    return json.dumps({"KERNEL_VERSION": KERNEL, "RT_KERNEL_VERSION": NO_RT, "RHEL_VERSION": "9.4", **keys})


def kernels(arch: Arch = "x86_64", **keys: Any) -> list[tuple[str, str]]:
    return list(read_toolkit_kernels(release(**keys), arch, "a toolkit", RELEASE, ("standard", "rt")).kernels)


def refusal(arch: Arch = "x86_64", **keys: Any) -> str:
    with pytest.raises(ProtocolError) as caught:
        read_toolkit_kernels(release(**keys), arch, "a toolkit", RELEASE)
    assert caught.value.message.startswith("driver-toolkit-release.json of a toolkit: ")
    assert "matrix.yaml" in caught.value.hint
    return caught.value.message.partition("of a toolkit: ")[2]


# Real-time kernels


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("words", [NO_RT, f"{NO_RT}\n", "", None])
def test_a_toolkit_without_a_real_time_kernel_has_the_other(arch: Arch, words: str | None) -> None:
    kernel = f"5.14.0-427.50.1.el9_4.{arch}"
    assert kernels(arch, KERNEL_VERSION=kernel, RT_KERNEL_VERSION=words) == [(kernel, "standard")]


@needs("rpm")
def test_no_real_time_kernel_is_what_rpm_says(tmp_path: Path) -> None:
    """By the Dockerfile's own command; rpm has the message on standard output (rpm, lib/query.c: RPMLOG_NOTICE)."""
    command = ["rpm", "--dbpath", str(tmp_path), "-q", "--qf", "%{VERSION}-%{RELEASE}.%{ARCH}+rt", "kernel-rt-core"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    # $(...) removes the line's end.
    assert done.stdout.rstrip("\n") == NO_RT


@pytest.mark.parametrize("words", ["package glibc is not installed", "error: database is locked", "none", "5.14"])
def test_other_words_are_no_answer(words: str) -> None:
    assert refusal(RT_KERNEL_VERSION=words)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        # From 4.16 on, and before #154: one source for both kernels, the node's says +rt.
        (f"{KERNEL}+rt", f"{KERNEL}+rt"),
        (KERNEL, f"{KERNEL}+rt"),
        ("5.14.0-427.51.1.el9_4.x86_64", "5.14.0-427.51.1.el9_4.x86_64+rt"),
        ("5.14.0-427.50.1.el9_4", f"{KERNEL}+rt"),
        # A real-time kernel from other sources.
        ("5.14.0-284.45.1.rt14.330.el9_2.x86_64", "5.14.0-284.45.1.rt14.330.el9_2.x86_64"),
        ("4.18.0-372.36.1.rt7.193.el8_6.x86_64", "4.18.0-372.36.1.rt7.193.el8_6.x86_64"),
        ("4.18.0-305.19.1.rt7.91.el8_4", "4.18.0-305.19.1.rt7.91.el8_4.x86_64"),
        ("6.12.0-211.28.1.el10_2.x86_64", "6.12.0-211.28.1.el10_2.x86_64+rt"),
        # The lab's.
        ("6.1.0-40-rt-amd64", "6.1.0-40-rt-amd64"),
    ],
)
def test_a_real_time_kernel_has_the_name_its_node_prints(named: str, expected: str) -> None:
    found = kernels(RT_KERNEL_VERSION=named)
    assert found == [(KERNEL, "standard"), (expected, "rt")]
    assert len({image_tag(kernel) for kernel, _ in found}) == 2


@pytest.mark.parametrize("twin", ["6.1.0-40-amd64", "6.1.0-40~amd64"])
def test_one_name_for_two_kernels_is_refused(twin: str) -> None:
    """Two kernels whose cells would have one tag: of RHEL's names `+rt` tells them apart, of others nothing does."""
    message = refusal(KERNEL_VERSION="6.1.0-40+amd64" if "~" in twin else twin, RT_KERNEL_VERSION=twin)
    assert "both name 6.1.0-40" in message


# Several kernels in one field


@pytest.mark.parametrize("field", ["KERNEL_VERSION", "RT_KERNEL_VERSION"])
@pytest.mark.parametrize("between", ["", " ", ", ", ",", ";", "\n"])
@pytest.mark.parametrize("suffix", ["", "+rt"])
@pytest.mark.parametrize("arch", ["x86_64", "s390x"])
def test_several_kernels_in_one_field_are_named(field: str, between: str, suffix: str, arch: Arch) -> None:
    """The program rpm puts nothing between the packages of one name: the Dockerfile's format has no line end."""
    names = [f"5.14.0-427.{number}.1.el9_4.{arch}{suffix}" for number in (60, 50)]
    fields: dict[str, Any] = {"KERNEL_VERSION": f"5.14.0-1.el9.{arch}", field: between.join(names)}
    message = refusal(arch, **fields)
    assert message == f"{field} names 2 kernels ({', '.join(names)}), not one"


@pytest.mark.parametrize("field", ["KERNEL_VERSION", "RT_KERNEL_VERSION"])
def test_a_json_list_is_named(field: str) -> None:
    fields: dict[str, Any] = {field: [KERNEL, "other"]}
    assert refusal(**fields) == f"{field} is a list ({KERNEL}, other), not one kernel release"


def test_a_toolkit_without_any_kernel_says_so() -> None:
    message = refusal(KERNEL_VERSION="package kernel-devel is not installed")
    assert message == (
        "KERNEL_VERSION is rpm's message that kernel-devel is not installed: the toolkit has no such kernel"
    )


# The same file, read in the cluster by the script that compiles there


@pytest.mark.parametrize("real_time", ["", NO_RT, KERNEL, f"{KERNEL}+rt", "5.14.0-427.50.1.el9_4"])
def test_a_build_in_the_cluster_takes_the_same_kernels(tmp_path: Path, real_time: str) -> None:
    text = release(RT_KERNEL_VERSION=real_time)
    expected = [name for name, _ in read_toolkit_kernels(text, "x86_64", "a toolkit", RELEASE).kernels]
    (tmp_path / "release.json").write_text(text)
    for kernel in expected:
        (tmp_path / kernel).mkdir()
    script = (Path(__file__).parents[2] / "images/beegfs-client/rebuild-module").read_text()
    functions = script[script.index("value() {") : script.index("# compile KERNEL")].replace("/lib/modules", "$trees")
    done = subprocess.run(
        ["bash", "-euc", f"uname() {{ echo x86_64; }}\n{functions}\ntoolkit_kernels"],
        env={**os.environ, "trees": str(tmp_path), "toolkit_file": str(tmp_path / "release.json")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == expected


# RHEL


@pytest.mark.parametrize(
    ("kernel", "stated", "rhel"),
    [
        # CentOS Stream; an empty build argument leaves an empty field.
        ("5.14.0-570.el9.x86_64", "", "9"),
        ("5.14.0-570.el9.x86_64", None, "9"),
        ("6.12.0-55.el10.x86_64", "", "10"),
        (KERNEL, "", "9.4"),
        ("5.14.0-570.el9.x86_64", "9", "9"),
        (KERNEL, "9.2", "9.2"),
        # os-release's VERSION (#168).
        (KERNEL, "9.4 (Plow)", "9.4"),
        ("6.12.0-55.el10.x86_64", "10 (Coughlan)", "10"),
        # Dockerfile.rhel10 on a base image of RHEL 9, whose os-release it reads.
        ("6.12.0-211.28.1.el10_2.x86_64", "9.8", "10.2"),
        ("6.1.0-40-amd64", "9.96", "9.96"),
    ],
)
def test_the_rhel_version_is_that_of_the_kernels(kernel: str, stated: str | None, rhel: str) -> None:
    found = read_toolkit_kernels(release(KERNEL_VERSION=kernel, RHEL_VERSION=stated), "x86_64", "a toolkit", RELEASE)
    assert found.rhel == rhel
    assert stream_of_rhel(found.rhel) in {f"el{rhel.partition('.')[0]}"}


@pytest.mark.parametrize("stated", ["Plow", "9.4.1", "9.4 Plow", ["9.4"], 9.4])
def test_what_is_no_rhel_version_is_told(stated: Any) -> None:
    assert "RHEL" in refusal(RHEL_VERSION=stated)


def test_neither_file_nor_kernel_names_a_rhel() -> None:
    assert refusal(KERNEL_VERSION="6.1.0-40-amd64", RHEL_VERSION="") == "RHEL_VERSION is missing or is not text"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": {"tags": []}}', '{"spec": {"tags": [{"name": 1}]}}'])
def test_every_refusal_of_a_payload_says_what_to_do(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_toolkits(text, "4.97.0")
    assert "matrix.yaml" in caught.value.hint


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="KMATRIX_SAMPLES names no folder with openshift/kernels.csv")
def test_real_kernels_keep_their_names() -> None:
    seen = 0
    with (SAMPLES / "kernels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            real_time, arch = row["kernel_rt"], row["arch"]
            if not row["kernel"] or arch not in ARCHES:
                continue
            found = kernels(
                arch, KERNEL_VERSION=row["kernel"], RT_KERNEL_VERSION=real_time or NO_RT, RHEL_VERSION=row["rhel"]
            )
            assert found == [(row["kernel"], "standard")] + ([(real_time, "rt")] if real_time else []), row
            seen += 1
    assert seen > 50


# Labels of toolkits since 4.22: arguments of `dnf install`, without the architecture


def labelled(arch: Arch = "x86_64", flavours: tuple[Flavour, ...] = ("standard", "rt"), **labels: Any) -> Any:
    given = {name.replace("_", "-"): value for name, value in labels.items()}
    return kernels_of_labels(given, arch, "a toolkit", ReleaseVersion.parse("4.22.1"), flavours)


LABEL = "5.14.0-687.11.1.el9_8"


def test_labels_name_both_kernels_and_the_rhel_version() -> None:
    found = labelled(kernel_version=LABEL, kernel_rt_version=LABEL)
    assert found.rhel == "9.8"
    assert found.kernels == ((f"{LABEL}.x86_64", "standard"), (f"{LABEL}.x86_64+rt", "rt"))
    assert (
        found.kernels
        == read_toolkit_kernels(
            release(KERNEL_VERSION=f"{LABEL}.x86_64", RT_KERNEL_VERSION=f"{LABEL}.x86_64+rt", RHEL_VERSION="9.8"),
            "x86_64",
            "a toolkit",
            ReleaseVersion.parse("4.22.1"),
        ).kernels
    ), "the file says the same"


def test_the_label_of_a_real_time_kernel_counts_on_x86_64_alone() -> None:
    found = labelled("aarch64", ("standard", "64k"), kernel_version=LABEL, kernel_rt_version=LABEL)
    assert found.kernels == ((f"{LABEL}.aarch64", "standard"), (f"{LABEL}.aarch64+64k", "64k"))


@pytest.mark.parametrize(
    "labels",
    [{}, {"kernel_version": ""}, {"kernel_version": LABEL}, {"kernel_version": "latest"}, {"kernel_version": 5}],
)
def test_labels_that_leave_a_kernel_open_leave_it_to_the_file(labels: dict[str, Any]) -> None:
    assert labelled(**labels) is None


def test_without_a_wanted_real_time_kernel_its_label_may_be_empty() -> None:
    assert labelled(flavours=("standard",), kernel_version=LABEL).kernels == ((f"{LABEL}.x86_64", "standard"),)


# Node images with names that are not known


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["rhel-coreos", "fedora-coreos", "fedora-coreos-extensions"], ["rhel-coreos", ""]),
        (["fedora-coreos", "fedora-coreos-extensions"], ["fedora-coreos", ""]),
        (["fedora-coreos"], ["", ""]),
        (["fedora-coreos-10", "fedora-coreos-10-extensions"], ["", "fedora-coreos-10"]),
        (["coreos-bootimage", "coreos-bootimage-10"], ["", ""]),
    ],
)
def test_a_node_image_is_known_by_its_extensions(tags: list[str], expected: list[str]) -> None:
    every = ["driver-toolkit", "driver-toolkit-10", *tags]
    images = [{"name": tag, "from": {"name": f"r.io/a@sha256:{index:064}"}} for index, tag in enumerate(every)]
    found = read_toolkits(json.dumps({"spec": {"tags": images}}), "4.21.1")
    assert [toolkit.os_tag for toolkit in found] == expected
