"""The profile of a lab at its usual addresses."""

from __future__ import annotations

from kmatrix.values.matrix import Profile
from kmatrix.values.names import ImageRef
from tests.unit.support.made_up_profile import profile


def lab_profile(**changes: object) -> Profile:
    """Return the profile, with some keys changed."""
    values: dict[str, object] = {
        "graph": "http://127.0.0.1:5081/graph",
        "packages": "http://127.0.0.1:5081/release",
        "base": ImageRef.parse("127.0.0.1:5080/lab/runtime:12"),
    }
    return profile(**{**values, **changes})
