"""A feature that a kernel's headers do not show is found missing, although the module compiles, loads and is sound."""

from __future__ import annotations

from tests.integration.support.lab import Lab
from tests.integration.support.project.build_cache import stage_tag
from tests.integration.support.project.images import output_in
from tests.integration.support.project.site import NEWER_CLIENT, SiteMaker
from tests.integration.support.session import Session

MACRO = "KERNEL_HAS_INODE_CTIME_ACCESSORS"
# The sources compile without this interface; the probe for it reads the kernel's headers alone.
TAKEN_OUT = """
grep -q 'inode_set_ctime_current(' "$headers/fs.h"
sed -i '/inode_set_ctime_current(/d' "$headers/fs.h"
"""


def test_a_feature_that_the_headers_of_the_next_kernel_lack_is_found_missing(
    lab: Lab, session: Session, new_site: SiteMaker
) -> None:
    kernels = [lab.kernels.older, lab.kernels.newer]
    older, newer = (f"{NEWER_CLIENT}-{kernel}" for kernel in kernels)
    site = new_site(kernels=kernels, feature_lost="fail")
    site.change_toolkit(lab.kernels.newer, TAKEN_OUT)

    first = site.run("build", "--only", older)
    assert first.code == 0, first.stderr
    assert MACRO in first.cell(older)["features"]
    listed = f"/opt/lib/modules/{lab.kernels.older}/extra/beegfs.features"
    compiled = f"{session.warm}:{stage_tag('module', NEWER_CLIENT, lab.kernels.older)}"
    assert output_in(compiled, "cat", f"/module{listed}").split() == first.cell(older)["features"]

    refused = site.run("build")
    assert (refused.code, refused.verdicts) == (1, {older: "skipped", newer: "failed"}), refused.stderr
    assert [finding["code"] for finding in refused.cell(newer)["findings"]] == ["feature-lost"]
    assert refused.cell(newer)["findings"][0]["expected"] == MACRO
    assert MACRO not in refused.cell(newer)["features"]
    assert site.tags == {site.tag_of(older)}, "an image that lost a feature is not pushed"

    site.change_profile(feature_lost="warn")
    warned = site.run("build")
    assert (warned.code, warned.verdicts) == (0, {older: "skipped", newer: "passed"}), warned.stderr
    assert [warning["code"] for warning in warned.cell(newer)["warnings"]] == ["feature-lost"]
    assert warned.cell(older)["warnings"] == []
    assert f"{newer}: warning: feature-lost: the module of kernel {lab.kernels.older} has {MACRO}" in warned.stderr
    assert site.tags == {site.tag_of(older), site.tag_of(newer)}
