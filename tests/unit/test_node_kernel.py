"""The kernel that a node's OS image states, in the three forms that OpenShift's images have had."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmatrix.decide.formats.node_kernel import (
    META_FILE,
    as_toolkit_spells,
    has_meta_file,
    kernel_of_labels,
    kernel_of_meta,
)
from kmatrix.values.errors import ProtocolError

KERNEL = "5.14.0-570.27.1.el9_6.x86_64"


@pytest.mark.parametrize(
    ("labels", "kernel"),
    [
        ({"com.coreos.rpm.kernel": "4.18.0-305.17.1.el8_4.x86_64"}, "4.18.0-305.17.1.el8_4.x86_64"),
        ({"ostree.linux": KERNEL}, KERNEL),
        ({"ostree.linux": "true"}, None),
        ({"ostree.linux": "true", "com.coreos.rpm.kernel": KERNEL}, KERNEL),
        ({"ostree.linux": "no kernel"}, None),
        ({"ostree.linux": 5}, None),
        ({}, None),
    ],
)
def test_labels_name_the_kernel_or_nothing(labels: dict[str, Any], kernel: str | None) -> None:
    assert kernel_of_labels(labels) == kernel


def test_a_label_announces_the_list_of_packages() -> None:
    assert has_meta_file({"io.openshift.metalayer": "true"})
    assert not has_meta_file({"io.openshift.metalayer": "false"})
    assert not has_meta_file({})


def meta(*packages: Any) -> str:
    return json.dumps({"rpmdb.pkglist": list(packages)})


CORE = ["kernel-core", "0", "5.14.0", "570.27.1.el9_6", "x86_64"]


def test_the_list_of_packages_names_the_kernel() -> None:
    assert kernel_of_meta(meta(["bash", 0, "5.1.8", "9.el9", "x86_64"], CORE), "an image") == KERNEL
    assert kernel_of_meta(meta(["gpg-pubkey", 0, "fd431d51", "4ae0493b", "(none)"], CORE), "an image") == KERNEL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (meta(), "should have one kernel-core and has none"),
        (meta(CORE, [*CORE[:3], "570.28.1.el9_6", "x86_64"]), "should have one kernel-core and has 5.14.0-570.27"),
        (meta(["kernel-core", "0", "5.14.0"]), "is not [name, epoch, version, release, arch"),
        (meta([*CORE[:4], None]), "is not [name, epoch"),
        (meta("kernel-core"), "is not [name, epoch"),
        (meta([]), "is not [name, epoch"),
        (meta(["kernel-core", "0", "x", "y", "x86_64"]), "kernel-core: 'x-y.x86_64' is not a kernel release"),
        (json.dumps({}), "has no list rpmdb.pkglist"),
        ("<html>", "is not JSON"),
    ],
)
def test_another_form_is_refused_with_the_image(text: str, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        kernel_of_meta(text, "an image")
    assert f"{META_FILE} of an image" in caught.value.message
    assert message in caught.value.message
    assert caught.value.hint


def test_a_kernel_is_spelled_as_its_toolkit_spells_it() -> None:
    assert (
        as_toolkit_spells("6.1.0-56-amd64.x86_64", ["6.1.0-56-amd64", "6.1.0-56-rt-amd64"], "x86_64")
        == "6.1.0-56-amd64"
    )
    assert as_toolkit_spells(KERNEL, [KERNEL], "x86_64") == KERNEL
    assert as_toolkit_spells(KERNEL, ["5.14.0-570.28.1.el9_6.x86_64"], "x86_64") == KERNEL
