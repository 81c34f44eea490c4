"""A tag that names another version than its image was tested as is not believed."""

from __future__ import annotations

import pytest

from kmatrix.decide.tag_of_record import foreign_tag

RHEL = "8.3.1-5.14.0-427.50.1.el9_4.x86_64+rt"
DEBIAN = "8.98.1-6.1.0-56-rt-amd64"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("8.3.1", "8.3.1"),
        ("8.3.1-5.14.0-427.50.1.el9_4.x86_64_rt", RHEL),
        ("8.3.1-5.14.0-427.50.1.el9_4_rt", RHEL),
        ("5.14.0-427.50.1.el9_4.x86_64_rt", RHEL),
        ("8.98.1-6.1.0-56-rt-amd64", DEBIAN),
        ("8.98.1-6.1.0-56-rt", DEBIAN),
        ("6.1.0-56-rt-amd64", DEBIAN),
    ],
)
def test_every_tag_of_this_project_leads_to_its_own_image(tag: str, name: str) -> None:
    assert foreign_tag(tag, ["another", name]) == ""


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("8.3.1", "8.3.0"),
        ("8.3.1", RHEL),
        ("8.3.1-5.14.0-427.50.1.el9_4.x86_64_rt", "8.3.1"),
        ("8.3.1-5.14.0-427.50.1.el9_4.x86_64", RHEL),
        ("5.14.0-427.52.1.el9_4.x86_64_rt", RHEL),
        ("8.3.1", "no tag: {}"),
    ],
)
def test_a_tag_of_another_version_or_kernel_is_named(tag: str, name: str) -> None:
    assert (
        foreign_tag(tag, [name])
        == f"the tag {tag} leads to an image that was tested as {name}: somebody may have moved it"
    )


@pytest.mark.parametrize("tag", ["latest", "stable-8", "v8.3.1", ""])
def test_a_tag_without_a_version_names_nothing(tag: str) -> None:
    assert foreign_tag(tag, [RHEL]) == ""


def test_an_image_without_a_test_result_has_other_faults() -> None:
    assert foreign_tag("8.3.1", []) == ""
