"""Runs without the boot gate: loud about it, nothing pushed unless told to, and booted the next time."""

from __future__ import annotations

from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker


def test_what_was_not_booted_is_booted_later_and_what_was_is_good_for_either(lab: Lab, new_site: SiteMaker) -> None:
    site = new_site(kernels=[lab.kernels.newer])
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    tcg = ("--accel", "tcg")

    left_out = site.run("build", "--no-boot", boot=True)
    assert left_out.code == 0, left_out.stderr
    result = left_out.cell(cell)
    assert (result["verdict"], result["booted"], result["digest"]) == ("passed", False, "")
    assert "NOT BOOTED" in result["reason"]
    assert "not pushed (--no-boot without --push-unbooted)" in result["reason"]
    assert "warning: --no-boot: what passed was not loaded in its kernel and not pushed" in left_out.stderr
    assert not site.tags
    refused = site.run("push", boot=True)
    assert refused.code != 0
    assert "was never booted" in refused.cell(cell)["reason"]
    assert not site.tags

    pushed = site.run("build", "--no-boot", "--push-unbooted", boot=True)
    assert pushed.code == 0, pushed.stderr
    assert "not loaded in its kernel and PUSHED" in pushed.stderr
    assert pushed.cell(cell)["digest"] == site.registry.digest(site.repository, cell)

    booted = site.run("build", *tcg, boot=True)
    assert booted.code == 0, booted.stderr
    assert (booted.verdicts[cell], booted.cell(cell)["booted"]) == ("passed", True), "an unbooted image is not enough"
    assert site.registry.digest(site.repository, cell) == booted.cell(cell)["digest"] != pushed.cell(cell)["digest"]

    for gate in ("--no-boot", "--accel=tcg"):
        again = site.run("build", gate, boot=True)
        assert (again.code, again.verdicts[cell], again.builds) == (0, "skipped", 0), again.stderr
    assert site.registry.digest(site.repository, cell) == booted.cell(cell)["digest"]

    # On another machine the key alone tells: it is that of an image that was booted.
    for gate, known in (("--no-boot", False), ("--accel=tcg", True)):
        (site.root / "build" / "results.json").unlink()
        elsewhere = site.run("build", gate, boot=True)
        assert (elsewhere.verdicts[cell], elsewhere.cell(cell)["booted"]) == ("skipped", known)
