"""verify: checks again what is published."""

from __future__ import annotations

import pytest

from integration import modules
from integration.kept import module_of
from integration.labs import Lab
from integration.session import LABEL, Session
from integration.sites import NEWER_CLIENT, SiteMaker
from kmatrix.effects.context import pack_context
from kmatrix.effects.engine import Engine

pytestmark = pytest.mark.engine


def test_verify_finds_what_somebody_put_into_a_published_image(lab: Lab, session: Session, new_site: SiteMaker) -> None:
    good, bad = (f"{NEWER_CLIENT}-{kernel}" for kernel in (lab.kernels.older, lab.kernels.newer))
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    site.run("build")
    sound = site.run("verify")
    assert (sound.code, sound.builds) == (0, 0), sound.stderr
    assert sound.verdicts == {good: "passed", bad: "passed"}
    engine = Engine("tests")
    damaged = modules.with_crc_changed(module_of(session, NEWER_CLIENT, lab.kernels.newer), "register_filesystem")
    place = f"/opt/lib/modules/{lab.kernels.newer}/extra/"
    image = f"{site.target}/beegfs-client"
    # It says of itself that it is what was published, so only its content tells.
    engine.build(
        pack_context(f"FROM {image}:{bad}\nCOPY beegfs.ko {place}\n", {"beegfs.ko": damaged}),
        on_line=lambda _: None,
        tag=f"{image}:{bad}",
        labels={LABEL: session.name},
    )
    engine.push(image, bad, None)
    engine.api.close()
    again = site.run("verify")
    assert again.code == 1, again.stderr
    assert again.verdicts == {good: "passed", bad: "failed"}
    assert again.cell(bad)["findings"][0]["code"] == "crc-mismatch"
