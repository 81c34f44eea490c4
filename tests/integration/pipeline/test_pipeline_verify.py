"""`verify` checks published images again."""

from __future__ import annotations

from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.engine.docker import DockerEngine
from tests.integration.support.lab import Lab
from tests.integration.support.project import damaged_modules
from tests.integration.support.project.build_cache import module_of
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import LABEL, Session


def test_verify_finds_what_somebody_put_into_a_published_image(lab: Lab, session: Session, new_site: SiteMaker) -> None:
    good, bad = (f"{NEWER_CLIENT}-{kernel}" for kernel in (lab.kernels.older, lab.kernels.newer))
    site = new_site(kernels=[lab.kernels.older, lab.kernels.newer])
    site.run("build")
    sound = site.run("verify")
    assert (sound.code, sound.builds) == (0, 0), sound.stderr
    assert sound.verdicts == {good: "passed", bad: "passed"}
    engine = DockerEngine("tests")
    damaged = damaged_modules.with_crc_changed(
        module_of(session, NEWER_CLIENT, lab.kernels.newer), "register_filesystem"
    )
    place = f"/opt/lib/modules/{lab.kernels.newer}/extra/"
    image = f"{site.target}/beegfs-client"
    # Its labels are those of the published image, so only its content differs.
    engine.build(
        pack_context(f"FROM {image}:{bad}\nCOPY beegfs.ko {place}\n", {"beegfs.ko": damaged}),
        on_line=lambda _: None,
        tag=f"{image}:{bad}",
        labels={LABEL: session.name},
    )
    engine.push(image, bad, None)
    engine.close()
    again = site.run("verify")
    assert again.code == 1, again.stderr
    assert again.verdicts == {good: "passed", bad: "failed"}
    assert again.cell(bad)["findings"][0]["code"] == "crc-mismatch"
