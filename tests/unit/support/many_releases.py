"""Releases in the number and with the kernels of real ones: of real samples where there are some, else made up."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.unit.support.release_images import MadeRelease

# The number of x86_64 releases of each minor in dtk_digests_x86_64.json: 258 in all.
COUNTS = {16: 63, 17: 54, 18: 42, 19: 36, 20: 30, 21: 26, 22: 7}
# A kernel of each RHEL version that OpenShift's minors are based on, where {} is the number of a build.
_KERNELS = {
    9: "4.18.0-305.{}.1.el8_4",
    12: "4.18.0-372.{}.1.el8_6",
    15: "5.14.0-284.{}.1.el9_2",
    18: "5.14.0-427.{}.1.el9_4",
    21: "5.14.0-570.{}.1.el9_6",
    99: "5.14.0-687.{}.1.el9_8",
}


def samples() -> Path | None:
    """Return the folder of real samples, or None; it is not part of this repository."""
    found = Path(os.environ.get("KMATRIX_SAMPLES", "no-samples")) / "openshift"
    return found if found.is_dir() else None


def many_releases() -> tuple[MadeRelease, ...]:
    """Return 258 releases of seven minors, with real versions and their known kernels where there are samples."""
    folder = samples()
    if folder:
        entries = json.loads((folder / "dtk_digests_x86_64.json").read_text(encoding="utf-8"))["entries"]
        return releases_of(entry["version"] for entry in entries)
    return releases_of(f"4.{minor}.{number}" for minor, count in COUNTS.items() for number in range(count))


def releases_of(versions: Iterable[str]) -> tuple[MadeRelease, ...]:
    """Return releases with their known kernels, and with made-up ones where none is known.

    Two releases in a row have one kernel, as real ones often do.
    """
    known = known_kernels()
    return tuple(MadeRelease(version, known.get(version) or _kernel(version), real_time=True) for version in versions)


def known_kernels() -> dict[str, str]:
    """Return the real kernels of x86_64 releases by version; empty without samples."""
    folder = samples()
    if folder is None:
        return {}
    with (folder / "kernels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arch"] == "x86_64" and ".el" in row["kernel"]]
    return {row["ocp_version"]: f"{row['kernel'].removesuffix('.x86_64')}.x86_64" for row in rows}


def sample_graph(name: str) -> dict[str, Any]:
    """Return a real update graph."""
    return _sample(f"cincinnati_{name}.json")


def sample_references() -> dict[str, Any] | None:
    """Return a real image-references with 183 tags, or None without samples."""
    return _sample("image-references_4.12.0-x86_64_oc-mirror.json") if samples() else None


def _sample(name: str) -> dict[str, Any]:
    folder = samples()
    assert folder
    found: dict[str, Any] = json.loads((folder / "samples" / name).read_text(encoding="utf-8"))
    return found


def _kernel(version: str) -> str:
    minor, patch = int(version.split(".")[1]), int("".join(filter(str.isdigit, version.split(".")[2])))
    form = next(form for last, form in _KERNELS.items() if minor <= last)
    return f"{form.format(100 + minor + patch // 2)}.x86_64"
