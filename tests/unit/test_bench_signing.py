"""The bench of signing: what counts, and which of its projects sign."""

from __future__ import annotations

import pytest

from bench.aims import seconds_per_cell
from bench.site import stated_by
from kmatrix.values.gate_record import DEFAULT_GATES, GATE_NAMES
from kmatrix.values.matrix import ImageSigning, ModuleSigning, Profile
from tests.unit.support.made_up_profile import profile


def with_keys() -> Profile:
    """Return a profile that signs, as the lab's does."""
    images = ImageSigning(key="file:build/lab/keys/images.key", public_keys=("build/lab/keys/images.pub",))
    modules = ModuleSigning(key="file:build/lab/keys/modules.key", certificate="build/lab/keys/modules.pem")
    return profile().model_copy(update={"image_signing": images, "module_signing": modules, "gates": GATE_NAMES})


def test_what_a_stage_takes_per_cell_is_the_mean_of_the_cells() -> None:
    cells = [{"build": 9.0, "sign": 1.5}, {"build": 9.0, "sign": 2.0}]
    assert seconds_per_cell(cells, "sign") == pytest.approx(1.75)
    assert seconds_per_cell(cells, "secure-boot") == 0


def test_other_parts_of_the_bench_sign_nothing_though_the_lab_has_keys() -> None:
    read = Profile.model_validate(stated_by(with_keys(), signed=False))
    assert (read.image_signing, read.module_signing, read.gates) == (None, None, DEFAULT_GATES)


def test_a_signed_project_has_its_keys_in_its_own_folder() -> None:
    read = Profile.model_validate(stated_by(with_keys(), signed=True))
    assert read.image_signing is not None
    assert read.module_signing is not None
    assert (read.image_signing.key, read.image_signing.public_keys) == ("file:keys/images.key", ("keys/images.pub",))
    assert (read.module_signing.key, read.module_signing.certificate) == ("file:keys/modules.key", "keys/modules.pem")
    assert read.gates == GATE_NAMES
