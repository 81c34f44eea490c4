"""What a first run leaves: verdicts, results, published images."""

from __future__ import annotations

import pytest

from integration.sites import Run, Site, SiteMaker

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def built(module_sites: SiteMaker) -> tuple[Site, Run]:
    site = module_sites()
    return site, site.run("build")


def test_every_cell_passes_and_is_published(built: tuple[Site, Run]) -> None:
    site, run = built
    assert run.code == 0, run.stderr
    assert set(run.verdicts.values()) == {"passed"}
    assert len(site.tags) == 4
