"""Runs without the gates that boot push nothing; an image that lacks one of them passes it in a later run."""

from __future__ import annotations

from tests.integration.support.lab import Lab
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker

TCG = ("--accel", "tcg")
BOTH = {"static": "passed", "boot": "passed"}
ALL = {**BOTH, "mount": "passed"}


def test_an_image_that_was_not_booted_is_withheld(lab: Lab, new_site: SiteMaker) -> None:
    site = new_site(kernels=[lab.kernels.newer])
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"

    left_out = site.run("build", "--no-boot", boot=True)
    assert left_out.code == 0, left_out.stderr
    result = left_out.cell(cell)
    assert (result["verdict"], result["gates"], result["digest"]) == ("passed", {"static": "passed"}, "")
    assert "not pushed: gates boot, mount were left out (--no-boot)" in result["reason"]
    assert "warning: --no-boot: " in left_out.stderr
    assert "boot NOT RUN" in left_out.stderr
    assert "mount NOT RUN" in left_out.stderr
    assert not site.tags
    refused = site.run("push", boot=True)
    assert refused.code != 0
    assert "has not passed gates boot, mount" in refused.cell(cell)["reason"]
    assert not site.tags

    booted = site.run("build", *TCG, boot=True)
    assert booted.code == 0, booted.stderr
    assert (booted.verdicts[cell], booted.cell(cell)["gates"]) == ("passed", ALL)
    assert site.registry.digest(site.repository, cell) == booted.cell(cell)["digest"]
    for gate in ("--no-boot", "--accel=tcg"):
        again = site.run("build", gate, boot=True)
        assert (again.code, again.verdicts[cell], again.builds) == (0, "skipped", 0), again.stderr
        # On another machine the record alone says so.
        (site.root / "build" / "results.json").unlink()
        elsewhere = site.run("build", gate, boot=True)
        assert (elsewhere.verdicts[cell], elsewhere.cell(cell)["gates"]) == ("skipped", ALL)
    assert site.registry.digest(site.repository, cell) == booted.cell(cell)["digest"]


def test_a_published_image_passes_each_missing_gate_later_without_being_built_or_pushed_again(
    lab: Lab, new_site: SiteMaker
) -> None:
    site = new_site(kernels=[lab.kernels.newer], gates=["static", "boot"])
    cell = f"{NEWER_CLIENT}-{lab.kernels.newer}"
    published = site.run("build")
    assert published.code == 0, published.stderr
    assert published.cell(cell)["gates"] == {"static": "passed"}
    digest = published.cell(cell)["digest"]
    assert site.registry.digest(site.repository, cell) == digest

    booted = site.run("build", *TCG, boot=True)
    assert booted.code == 0, booted.stderr
    result = booted.cell(cell)
    assert (result["verdict"], result["gates"], result["digest"], booted.builds) == ("passed", BOTH, digest, 0)
    assert "gate boot recorded beside it" in result["reason"]
    assert set(result["stages"]) == {"prepare", "boot", "record"}
    assert site.registry.digest(site.repository, cell) == digest
    complete = site.run("build", *TCG, boot=True)
    assert (complete.code, complete.verdicts[cell]) == (0, "skipped"), complete.stderr
    assert "NOT RUN" not in complete.stderr

    site.change_profile(gates=["static", "boot", "mount"])
    mounted = site.run("build", *TCG, boot=True)
    assert mounted.code == 0, mounted.stderr
    result = mounted.cell(cell)
    assert (result["verdict"], result["gates"], result["digest"], mounted.builds) == ("passed", ALL, digest, 0)
    assert "gate mount recorded beside it" in result["reason"]
    assert set(result["stages"]) == {"prepare", "mount", "record"}
    assert site.registry.digest(site.repository, cell) == digest

    (site.root / "build" / "results.json").unlink()
    again = site.run("build", *TCG, boot=True)
    assert (again.code, again.verdicts[cell], again.builds, again.pulls) == (0, "skipped", 0, 0), again.stderr
    assert again.cell(cell)["gates"] == ALL
