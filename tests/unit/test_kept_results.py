"""What a result keeps of an earlier run's: a run that did not look, or was not answered, makes nothing unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.kept_results import keep_known, keep_published
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import CellResult, Finding

BEFORE, NOW = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
BLANK = CellResult(cell="c", client="8.3.1", kernel="k", releases=("4.16.3",), verdict="errored", reason="no answer")
PUBLISHED = replace(
    BLANK,
    verdict="passed",
    reason="every check passed",
    image="r/beegfs-client:c",
    digest=DIGEST,
    image_id="sha256:1",
    srcversion="S",
    serial="build/logs/c.serial.log",
    booted=True,
    seen=BEFORE,
    booted_at=BEFORE,
    log="old.log",
)
KEPT_BACK = replace(PUBLISHED, digest="")
NOT_BOOTED = replace(PUBLISHED, booted=False, booted_at="", seen="", serial="", reason="NOT BOOTED (--no-boot)")


def test_a_registry_that_is_out_makes_no_published_cell_unknown() -> None:
    result = keep_known(BLANK, PUBLISHED, NOW)
    assert (result.verdict, result.reason) == ("errored", "no answer")
    known = ("image", "digest", "image_id", "srcversion", "serial", "booted", "seen", "booted_at")
    assert {name: getattr(result, name) for name in known} == {name: getattr(PUBLISHED, name) for name in known}


def test_what_a_run_found_out_is_dated() -> None:
    result = keep_known(replace(PUBLISHED, seen="", booted_at="", stages={"boot": 7.0}), PUBLISHED, NOW)
    assert (result.seen, result.booted_at) == (NOW, NOW)
    assert keep_known(BLANK, None, NOW) == BLANK


def test_a_run_without_the_boot_gate_leaves_known_that_the_image_was_booted() -> None:
    result = keep_known(replace(NOT_BOOTED, seen=NOW), PUBLISHED, NOW)
    assert (result.booted, result.booted_at, result.serial) == (True, BEFORE, PUBLISHED.serial)
    assert result.reason == f"NOT BOOTED (--no-boot); an earlier run booted it, at {BEFORE}"
    assert (result.digest, result.seen) == (DIGEST, NOW)


def test_another_image_was_not_booted_because_one_before_it_was() -> None:
    other = replace(NOT_BOOTED, digest=OTHER, image_id="sha256:2", srcversion="T")
    result = keep_known(other, PUBLISHED, NOW)
    assert (result.booted, result.booted_at, result.serial, result.srcversion) == (False, "", "", "T")


def test_a_boot_that_failed_is_not_made_good_by_an_earlier_one_and_one_without_a_verdict_is_no_failure() -> None:
    tried = replace(NOT_BOOTED, image="", stages={"boot": 1.0}, seen=NOW)
    assert not keep_known(replace(tried, verdict="failed"), PUBLISHED, NOW).booted
    assert keep_known(replace(tried, verdict="errored"), PUBLISHED, NOW).booted


def test_what_the_registry_says_now_goes_before_what_it_said() -> None:
    gone = keep_known(replace(BLANK, seen=NOW), PUBLISHED, NOW)
    assert (gone.digest, gone.seen, gone.image, gone.booted) == ("", NOW, "", False)
    other = keep_known(replace(BLANK, digest=OTHER, seen=NOW, image="r/beegfs-client:c"), PUBLISHED, NOW)
    assert (other.digest, other.booted, other.image_id) == (OTHER, False, "")


@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_build_that_asked_knows_that_nothing_of_these_inputs_is_published(verdict: str) -> None:
    result = keep_known(replace(BLANK, verdict=verdict), PUBLISHED, NOW, asked=True)  # type: ignore[arg-type]
    assert (result.digest, result.seen) == ("", NOW)


def test_a_forced_build_that_fails_leaves_known_what_is_published() -> None:
    broken = replace(BLANK, verdict="failed", reason="build: error: x", image_id="sha256:9")
    result = keep_known(broken, PUBLISHED, NOW)
    assert (result.verdict, result.image, result.digest, result.seen) == ("failed", PUBLISHED.image, DIGEST, BEFORE)
    assert (result.image_id, result.booted) == ("sha256:9", False)


def test_what_is_kept_back_anew_is_not_what_is_published() -> None:
    anew = replace(KEPT_BACK, image_id="sha256:9", seen="", booted_at="", stages={"boot": 1.0})
    assert keep_known(anew, PUBLISHED, NOW).digest == ""


def test_what_is_kept_back_stays_so_where_no_verdict_is_reached_on_it_and_not_where_it_fails() -> None:
    result = keep_known(BLANK, KEPT_BACK, NOW)
    assert (result.image, result.image_id, result.booted) == (KEPT_BACK.image, KEPT_BACK.image_id, True)
    assert keep_known(BLANK, result, NOW) == result
    failed = replace(BLANK, verdict="failed", image_id=KEPT_BACK.image_id)
    assert keep_known(failed, KEPT_BACK, NOW).image == ""
    assert keep_known(BLANK, keep_known(failed, KEPT_BACK, NOW), NOW).image == ""


def test_a_skipped_cell_keeps_what_was_found_out_when_it_was_built() -> None:
    skipped = replace(BLANK, verdict="skipped", image=PUBLISHED.image, digest=DIGEST)
    result = keep_known(skipped, PUBLISHED, NOW)
    known = (PUBLISHED.image_id, PUBLISHED.srcversion, PUBLISHED.log, True, BEFORE, NOW)
    assert (result.image_id, result.srcversion, result.log, result.booted, result.booted_at, result.seen) == known
    assert keep_known(replace(skipped, digest=OTHER), PUBLISHED, NOW).image_id == ""


BUNDLE = BundleResult(
    client="8.3.1",
    image="r/beegfs-client:8.3.1",
    verdict="passed",
    reason="loaded in its 1 kernel",
    digest=DIGEST,
    kernels=("k",),
    arches=("x86_64",),
    images=(BundleImage("x86_64", DIGEST, 1, {"k": 1}, 1),),
    modules={"k": f"r/beegfs-client@{OTHER}"},
    seen=BEFORE,
)


@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_bundle_that_was_published_stays_known_where_the_next_one_is_not(verdict: str) -> None:
    fault = Finding("boot", "no-boot", "no")
    new = BundleResult("8.3.1", BUNDLE.image, verdict, "no", kernels=("k", "l"), findings=(fault,))  # type: ignore[arg-type]
    result = keep_published(new, BUNDLE, NOW)
    assert result == replace(BUNDLE, verdict=verdict, reason="no", findings=(fault,))  # type: ignore[arg-type]
    assert result.is_published == (verdict == "errored")
    assert keep_published(new, None, NOW) == new


def test_a_bundle_that_is_published_now_is_dated_and_keeps_nothing_of_the_last() -> None:
    new = replace(BUNDLE, digest=OTHER, modules={}, seen="")
    assert keep_published(new, BUNDLE, NOW) == replace(new, seen=NOW)
