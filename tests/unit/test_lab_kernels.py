"""The lab's kernels are chosen from the archive's; an error says where it has too few."""

from __future__ import annotations

import pytest

from kmatrix.lab.kernels import choose_kernels
from kmatrix.values.errors import ToolError


def packages(*releases: str) -> list[str]:
    return [f"linux-{part}-{release}" for release in releases for part in ("headers", "image")]


ENOUGH = packages("6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-10-rt-amd64", "6.12.9+deb12-amd64", "6.12.12+deb12-amd64")


def test_kernels_are_as_far_apart_as_the_archive_has_them() -> None:
    found = choose_kernels(ENOUGH)
    assert found.as_dict() == {
        "older": "6.1.0-9-amd64",
        "newer": "6.1.0-10-amd64",
        "real_time": "6.1.0-10-rt-amd64",
        "next_line": "6.12.12+deb12-amd64",
    }


@pytest.mark.parametrize("order", [1, -1])
def test_the_archives_order_does_not_matter(order: int) -> None:
    more = [
        *ENOUGH,
        *packages("6.1.0-22-amd64"),
        "linux-image-amd64",
        "linux-libc-dev",
        "linux-image-6.1.0-9-amd64-dbg",
    ]
    assert choose_kernels(sorted(more)[::order]) == choose_kernels(ENOUGH)


def test_a_kernel_without_headers_or_image_does_not_count() -> None:
    more = [*ENOUGH, "linux-image-6.1.0-1-amd64", "linux-headers-6.12.99+deb12-amd64"]
    more += ["linux-headers-6.1.0-2-amd64", "linux-image-6.1.0-2-amd64-dbg"]
    assert choose_kernels(more) == choose_kernels(ENOUGH)


def test_the_newest_with_a_real_time_sibling_counts() -> None:
    more = [*ENOUGH, *packages("6.1.0-99-amd64"), *packages("6.1.0-98-rt-amd64"), "linux-image-6.1.0-99-rt-amd64"]
    more += packages("6.1.0-9-rt-amd64")
    assert choose_kernels(more).newer == "6.1.0-10-amd64"


def test_other_lines_and_machines_do_not_count() -> None:
    others = packages(
        "6.10.1-1-amd64", "6.11.5+deb12-amd64", "5.10.0-1-amd64", "6.1.0-99-arm64", "6.1.0-99-cloud-amd64"
    )
    assert choose_kernels([*ENOUGH, *others]) == choose_kernels(ENOUGH)


@pytest.mark.parametrize(
    "lacking", ["6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-10-rt-amd64", "6.12"], ids=["older", "newer", "rt", "6.12"]
)
def test_an_archive_without_one_of_them_is_told_with_what_it_has(lacking: str) -> None:
    with pytest.raises(ToolError, match="lacks kernels that the lab needs") as caught:
        choose_kernels(name for name in ENOUGH if lacking not in name)
    assert "6.1.0-" in str(caught.value)
    with pytest.raises(ToolError, match="it has image and headers of: none"):
        choose_kernels([])
