"""The lab as the tests see it: its kernels by role, its images, its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.lab.kernels import LabKernels
from kmatrix.lab.layout import Layout, layout_of
from kmatrix.lab.state import lab_state
from kmatrix.lab.up import status
from kmatrix.values.errors import KmatrixError
from kmatrix.values.matrix import Profile
from kmatrix.values.overrides import override, overrides_from_environment

_SIGNING = ("image_signing", "module_signing")
BRING_UP = "these tests need the lab: run `nox -s lab -- up`"


@dataclass(frozen=True)
class Lab:
    """A lab that is up.

    Attributes:
        root: the checkout it belongs to.
        layout: its folders and addresses.
        profile: the profile `lab`, with this environment's overrides.
        kernels: its kernels by role.
        services: the image with registry and web server.
        workshop: the image in which packages are built.
        toolkits: reference by digest of each toolkit, by its name in the lab.
        fingerprint: the fingerprint of the key that signs its packages.
    """

    root: Path
    layout: Layout
    profile: Profile
    kernels: LabKernels
    services: str
    workshop: str
    toolkits: Mapping[str, str]
    fingerprint: str

    def stated(self) -> dict[str, Any]:
        """Return the profile `lab` as matrix.yaml writes it, with this lab's addresses and without its keys.

        Signing and the gate secure-boot take their time: a project of the tests has them where its test is about them.
        """
        text = (self.root / "matrix.yaml").read_text(encoding="utf-8")
        stated: dict[str, Any] = yaml.safe_load(text)["profiles"]["lab"]
        base = self.profile.base
        addresses = {"graph": self.profile.graph, "packages": self.profile.packages, "base": str(base)}
        unsigned = {key: value for key, value in stated.items() if key not in _SIGNING}
        return {**unsigned, **addresses, "key_fingerprint": self.fingerprint}


def find_lab(root: Path, environment: Mapping[str, str]) -> Lab:
    """Return the lab of a checkout, or fail the tests with the next step."""
    stated = read_matrix((root / "matrix.yaml").read_text(encoding="utf-8")).profile("lab")
    profile = override(stated, overrides_from_environment(environment))
    layout = layout_of(profile, root)
    try:
        state = lab_state(layout)
        engine = DockerEngine("tests")
        # Definitions that changed since do not matter here: `nox -s tests` brings the lab up to date first.
        stopped = [name for name, ready, _ in status(engine, layout, profile).parts if not (ready or name == "content")]
    except KmatrixError as error:
        pytest.fail(f"{error}; {BRING_UP}", pytrace=False)
    if stopped:
        pytest.fail(f"the {' and the '.join(stopped)} does not run; {BRING_UP}", pytrace=False)
    engine.close()
    return Lab(
        root=root,
        layout=layout,
        profile=profile,
        kernels=LabKernels(**state["kernels"]),
        services=state["services"],
        workshop=state["workshop"],
        toolkits=state["toolkits"],
        fingerprint=(root / str(profile.key_file)).read_text(encoding="utf-8").strip(),
    )
