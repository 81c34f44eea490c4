"""A new result keeps facts of an earlier one: a run that did not look, or was not answered, makes nothing unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.kept_results import keep_known, keep_published
from kmatrix.values.bundle import BundleImage, BundleResult
from kmatrix.values.cells import CellResult, Finding, Verdict

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
    vmlinuz="sha256:3",
    serial="build/logs/c.serial.log",
    gates={"static": "passed", "boot": "passed"},
    gates_at={"static": BEFORE, "boot": BEFORE},
    seen=BEFORE,
    log="old.log",
)
WITHHELD = replace(PUBLISHED, digest="")
BOOT_LEFT_OUT = replace(
    PUBLISHED, gates={"static": "passed"}, gates_at={"static": NOW}, seen="", serial="", reason="boot left out"
)


def test_a_registry_that_is_out_makes_no_published_cell_unknown() -> None:
    result = keep_known(BLANK, PUBLISHED, NOW)
    assert (result.verdict, result.reason) == ("errored", "no answer")
    known = ("image", "digest", "image_id", "srcversion", "vmlinuz", "serial", "gates", "seen", "gates_at")
    assert {name: getattr(result, name) for name in known} == {name: getattr(PUBLISHED, name) for name in known}


def test_an_answer_of_the_registry_is_dated_and_a_gate_has_the_time_of_its_last_pass() -> None:
    result = keep_known(replace(PUBLISHED, seen="", gates_at={"static": NOW, "boot": NOW}), PUBLISHED, NOW)
    assert (result.seen, result.gates_at) == (NOW, {"static": NOW, "boot": NOW})
    assert keep_known(BLANK, None, NOW) == BLANK


def test_the_time_of_a_push_stays_with_the_image_that_was_pushed() -> None:
    pushed = replace(PUBLISHED, pushed=BEFORE)
    skipped = replace(BLANK, verdict="skipped", digest=DIGEST)
    verified = replace(PUBLISHED, image_id="sha256:2")
    assert [keep_known(new, pushed, NOW).pushed for new in (skipped, verified, BLANK)] == [BEFORE] * 3
    assert keep_known(replace(pushed, pushed=NOW), pushed, NOW).pushed == NOW
    assert keep_known(replace(skipped, digest=OTHER), pushed, NOW).pushed == ""
    assert keep_known(BLANK, pushed, NOW, asked=True).pushed == ""


def test_a_run_that_leaves_a_gate_out_leaves_known_that_the_image_passed_it() -> None:
    result = keep_known(replace(BOOT_LEFT_OUT, seen=NOW), PUBLISHED, NOW)
    assert (result.gates, result.serial) == (PUBLISHED.gates, PUBLISHED.serial)
    assert result.gates_at == {"static": NOW, "boot": BEFORE}
    assert result.reason == f"boot left out; an earlier run passed gate boot, at {BEFORE}"
    assert (result.digest, result.seen) == (DIGEST, NOW)


def test_another_image_has_not_passed_a_gate_because_one_before_it_did() -> None:
    other = replace(BOOT_LEFT_OUT, digest=OTHER, image_id="sha256:2", srcversion="T")
    result = keep_known(other, PUBLISHED, NOW)
    assert (result.gates, result.gates_at) == ({"static": "passed"}, {"static": NOW})
    assert (result.serial, result.srcversion) == ("", "T")


@pytest.mark.parametrize(
    ("verdict", "boot", "times"),
    [("failed", "failed", {"static": NOW}), ("errored", "passed", {"static": NOW, "boot": BEFORE})],
)
def test_a_gate_that_fails_is_not_made_good_by_an_earlier_pass_and_no_verdict_is_no_failure(
    verdict: Verdict, boot: Verdict, times: dict[str, str]
) -> None:
    gates: dict[str, Verdict] = {"static": "passed", "boot": verdict}
    result = keep_known(replace(BOOT_LEFT_OUT, verdict=verdict, image="", gates=gates, seen=NOW), PUBLISHED, NOW)
    assert (result.gates["boot"], result.gates_at) == (boot, times)


def test_what_the_registry_says_now_goes_before_what_it_said() -> None:
    gone = keep_known(replace(BLANK, seen=NOW), PUBLISHED, NOW)
    assert (gone.digest, gone.seen, gone.image, gone.gates) == ("", NOW, "", {})
    other = keep_known(replace(BLANK, digest=OTHER, seen=NOW, image="r/beegfs-client:c"), PUBLISHED, NOW)
    assert (other.digest, other.gates, other.image_id) == (OTHER, {}, "")


@pytest.mark.parametrize("verdict", ["failed", "errored"])
def test_a_build_that_asked_knows_that_nothing_of_these_inputs_is_published(verdict: str) -> None:
    result = keep_known(replace(BLANK, verdict=verdict), PUBLISHED, NOW, asked=True)  # type: ignore[arg-type]
    assert (result.digest, result.seen) == ("", NOW)


def test_a_forced_build_that_fails_leaves_known_what_is_published() -> None:
    broken = replace(BLANK, verdict="failed", reason="build: error: x", image_id="sha256:9")
    result = keep_known(broken, PUBLISHED, NOW)
    assert (result.verdict, result.image, result.digest, result.seen) == ("failed", PUBLISHED.image, DIGEST, BEFORE)
    assert (result.image_id, result.gates) == ("sha256:9", {})


def test_an_image_that_is_withheld_now_is_not_the_published_one() -> None:
    anew = replace(WITHHELD, image_id="sha256:9", seen="")
    assert keep_known(anew, PUBLISHED, NOW).digest == ""


def test_a_withheld_image_stays_so_where_no_verdict_is_reached_on_it_and_not_where_it_fails() -> None:
    result = keep_known(BLANK, WITHHELD, NOW)
    assert (result.image, result.image_id, result.gates) == (WITHHELD.image, WITHHELD.image_id, WITHHELD.gates)
    assert keep_known(BLANK, result, NOW) == result
    failed = replace(BLANK, verdict="failed", image_id=WITHHELD.image_id)
    assert keep_known(failed, WITHHELD, NOW).image == ""
    assert keep_known(BLANK, keep_known(failed, WITHHELD, NOW), NOW).image == ""


def test_a_skipped_cell_keeps_what_was_found_out_when_it_was_built() -> None:
    skipped = replace(BLANK, verdict="skipped", image=PUBLISHED.image, digest=DIGEST)
    result = keep_known(skipped, PUBLISHED, NOW)
    known = ("image_id", "srcversion", "vmlinuz", "log", "gates", "gates_at")
    assert {name: getattr(result, name) for name in known} == {name: getattr(PUBLISHED, name) for name in known}
    assert result.seen == NOW
    earlier = replace(skipped, gates={"static": "passed"}, gates_at={"static": "2025-01-01T00:00:00Z"})
    assert keep_known(earlier, PUBLISHED, NOW).gates_at == PUBLISHED.gates_at, "its last pass is in the results"
    assert keep_known(replace(skipped, digest=OTHER), PUBLISHED, NOW).image_id == ""


OF_MODULE = replace(
    PUBLISHED,
    features=("KERNEL_HAS_A",),
    abi="0123456789abcdef",
    reusable_from=("d",),
    warnings=(Finding("features", "features-unknown", "m"),),
    labels={"org.opencontainers.image.revision": "0123abc"},
    depends=("ib_core",),
    symbols=412,
    namespaces=(),
)
SIGNED = replace(PUBLISHED, signed=True, attestations=("test result", "SBOM"))


def test_the_facts_about_a_module_stay_with_its_image() -> None:
    skipped = replace(BLANK, verdict="skipped", image=PUBLISHED.image, digest=DIGEST)
    names = ("features", "abi", "reusable_from", "warnings", "labels", "depends", "symbols", "namespaces")
    known = [getattr(OF_MODULE, name) for name in names]
    for new in (skipped, BLANK, replace(PUBLISHED, seen="")):
        assert [getattr(keep_known(new, OF_MODULE, NOW), name) for name in names] == known
    for new in (replace(skipped, digest=OTHER), replace(BLANK, verdict="failed", image_id="sha256:9")):
        assert [getattr(keep_known(new, OF_MODULE, NOW), name) for name in names] == [
            *(None, "", None, (), {}, None, None, None)
        ]


def test_signature_and_attestations_stay_with_the_digest() -> None:
    skipped = replace(BLANK, verdict="skipped", digest=DIGEST)
    rebuilt = replace(BLANK, verdict="failed", image_id="sha256:9")
    for new in (skipped, rebuilt, BLANK):
        kept = keep_known(new, SIGNED, NOW)
        assert (kept.digest, kept.signed, kept.attestations) == (DIGEST, True, ("test result", "SBOM"))
    other = keep_known(replace(skipped, digest=OTHER), SIGNED, NOW)
    assert (other.signed, other.attestations) == (None, ())
    refused = keep_known(replace(skipped, signed=False, attestations=("provenance",)), SIGNED, NOW)
    assert (refused.signed, refused.attestations) == (False, ("test result", "provenance", "SBOM"))


def test_a_skipped_cell_keeps_the_seconds_of_the_run_that_built_its_image() -> None:
    built = replace(PUBLISHED, stages={"build": 48.0, "boot": 9.5})
    skipped = replace(BLANK, verdict="skipped", digest=DIGEST)
    assert keep_known(skipped, built, NOW).stages == built.stages
    assert keep_known(replace(skipped, digest=OTHER), built, NOW).stages == {}


def test_what_a_run_found_out_about_a_module_goes_before_what_was_known() -> None:
    other = Finding("features", "feature-lost", "m")
    new = replace(PUBLISHED, features=(), abi="f", reusable_from=("e",), warnings=(other, *OF_MODULE.warnings))
    result = keep_known(new, OF_MODULE, NOW)
    assert (result.features, result.abi, result.reusable_from) == ((), "f", ("e",))
    assert result.warnings == new.warnings
    assert keep_known(replace(new, warnings=(other,)), OF_MODULE, NOW).warnings == new.warnings
    assert keep_known(replace(new, reusable_from=()), OF_MODULE, NOW).reusable_from == (), "the others are gone"


def test_a_warning_that_is_a_failure_now_is_none_beside_it() -> None:
    refused = replace(PUBLISHED, verdict="failed", findings=OF_MODULE.warnings)
    assert keep_known(refused, OF_MODULE, NOW).warnings == ()


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
