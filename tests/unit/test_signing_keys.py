"""Keys of the integration tests' projects: a profile accepts what names them, and the lab's own keys sign none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.signing.module_keys import load_module_signer
from kmatrix.lab.layout import layout_of
from kmatrix.values.gate_record import DEFAULT_GATES, SECURE_BOOT_GATE
from kmatrix.values.matrix import Profile
from tests.integration.support.lab import Lab
from tests.integration.support.project.signing_keys import IMAGES, MODULES, SIGNED, write_signing_keys
from tests.unit.support.lab_profile import lab_profile

ROOT = Path(__file__).resolve().parents[2]


def matrix_with(keys: dict[str, Any]) -> str:
    matrix = yaml.safe_load((ROOT / "matrix.yaml").read_text(encoding="utf-8"))
    lab = {**matrix["profiles"]["lab"], "image_signing": None, "module_signing": None, **keys}
    return yaml.safe_dump({**matrix, "profiles": {"lab": lab}})


def profile_with(keys: dict[str, Any]) -> Profile:
    return read_matrix(matrix_with(keys)).profile("lab")


@pytest.mark.parametrize("signed", [(), (IMAGES,), (MODULES,), SIGNED], ids="-".join)
def test_a_project_signs_what_it_is_told_to(tmp_path: Path, signed: tuple[str, ...]) -> None:
    profile = profile_with(write_signing_keys(tmp_path, signed))
    assert (profile.image_signing is not None) == (IMAGES in signed)
    assert (profile.module_signing is not None) == (MODULES in signed)
    assert profile.gates == ((*DEFAULT_GATES, SECURE_BOOT_GATE) if MODULES in signed else DEFAULT_GATES)


def test_its_keys_open_with_their_password(tmp_path: Path) -> None:
    profile = profile_with(write_signing_keys(tmp_path, SIGNED, "secret"))
    assert profile.module_signing
    assert load_module_signer(profile.module_signing, tmp_path, {"KMATRIX_MODULE_KEY_PASSWORD": "secret"})


def test_a_project_does_not_take_the_labs_keys(tmp_path: Path) -> None:
    keys = write_signing_keys(tmp_path, SIGNED)
    (tmp_path / "matrix.yaml").write_text(matrix_with(keys), encoding="utf-8")
    layout = layout_of(lab_profile(), tmp_path)
    lab = Lab(tmp_path, layout, lab_profile(), cast(Any, None), "", "", {}, "F" * 40)
    assert not {"image_signing", "module_signing"} & set(lab.stated())
