"""results.json keeps what was found out; one that is damaged is told, never half believed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from kmatrix.effects.disk.results import drop_results, read_releases, read_results, results_text, write_results
from kmatrix.stages.run_context import cell_result
from kmatrix.values.cells import CellResult, Finding
from kmatrix.values.errors import InputError
from kmatrix.values.release_result import ReleaseResult
from tests.unit.support.one_recipe import RECIPE

PASSED = CellResult(
    cell="8.98.1-6.1.0-1-amd64",
    client="8.98.1",
    kernel="6.1.0-1-amd64",
    releases=("4.96.0", "4.96.1"),
    verdict="passed",
    reason="every check passed",
    image="127.0.0.1:1/x:y",
    digest="sha256:" + "a" * 64,
    stages={"build": 1.5, "push": 0.25},
    log="build/logs/x.log",
    srcversion="ABC",
    vmlinuz=f"sha256:{'7' * 64}",
    gates={"static": "passed", "boot": "passed"},
    gates_at={"static": "2026-01-01T00:00:00Z", "boot": "2026-01-01T00:00:09Z"},
    features=("KERNEL_HAS_A",),
    abi="0123456789abcdef",
    reusable_from=("8.98.1-6.1.0-2-amd64",),
    labels={"org.opencontainers.image.revision": "0123abc"},
    depends=("ib_core", "rdma_cm"),
    symbols=412,
    namespaces=("VFS_internal",),
    signed=True,
    attestations=("test result", "SBOM"),
)
FINDING = Finding("symbols", "crc-mismatch", "CRC of <printk> & co", "0x1", "0x2")
FAILED = replace(
    PASSED,
    cell="b",
    verdict="failed",
    reason="crc-mismatch",
    digest="",
    findings=(FINDING,),
    features=None,
    reusable_from=None,
)
ERRORED = replace(PASSED, cell="c", verdict="errored", reason="the registry is gone", stages={}, next_step="Start it.")
LOST = Finding("features", "feature-lost", "KERNEL_HAS_A & co are gone", "KERNEL_HAS_A", "nothing new")
SKIPPED = replace(PASSED, cell="d", verdict="skipped", reason="already published", stages={}, warnings=(LOST,))
RELEASE = ReleaseResult("4.96.0", "x86_64", "published", ("el9",), ("6.1.0-1-amd64",), published="2026-01-01T00:00:09Z")
OPEN = Finding("release", "release-unresolved", "its payload is no release payload")
UNRESOLVED = ReleaseResult("4.96.1", "x86_64", "unresolved", findings=(OPEN,), found="2026-01-01T00:00:00Z")
ALL = {result.cell: result for result in (PASSED, FAILED, ERRORED, SKIPPED)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build" / "results.json"


def test_results_come_back_as_they_were(path: Path) -> None:
    assert read_results(path, "lab") == {}
    write_results(path, "lab", ALL, list(ALL))
    assert read_results(path, "lab") == ALL


def test_cells_stand_in_the_plans_order_and_others_go(path: Path) -> None:
    write_results(path, "lab", ALL, ["d", "not run yet", "b"])
    assert list(read_results(path, "lab")) == ["d", "b"]


def test_the_file_has_what_the_contract_names(path: Path) -> None:
    write_results(path, "lab", ALL, list(ALL))
    content = json.loads(path.read_text())
    assert (content["schema"], content["profile"]) == (4, "lab")
    assert set(content["cells"][0]) >= {
        *("cell", "client", "kernel", "releases", "verdict", "reason"),
        *("image", "digest", "findings", "stages", "log"),
    }
    assert content["cells"][1]["findings"] == [
        {
            "check": "symbols",
            "code": "crc-mismatch",
            "message": "CRC of <printk> & co",
            "expected": "0x1",
            "actual": "0x2",
        }
    ]


def test_the_file_counts_the_abi_classes_of_each_line(path: Path) -> None:
    line = {"stream": "el9", "arch": "x86_64", "flavour": "standard"}
    passed = replace(PASSED, **cast("Any", line))
    cells = [passed, replace(passed, cell="2"), replace(passed, cell="3", abi="f"), replace(passed, cell="4", abi="")]
    refused = replace(passed, cell="5", abi="e", gates=cast("Any", {"static": "failed"}))
    known = {cell.cell: cell for cell in (*cells, refused)}
    write_results(path, "lab", known, list(known))

    def counted(text: str) -> Any:
        return json.loads(text)["abi_classes"]

    assert counted(path.read_text()) == [{"client": "8.98.1", **line, "cells": 3, "classes": 2}]
    drop_results(path, "lab", ["3"])
    assert counted(path.read_text()) == [{"client": "8.98.1", **line, "cells": 2, "classes": 1}]
    write_results(path, "okd", {}, [])
    assert (counted(path.read_text()), counted(results_text(path, "lab"))[0]["cells"]) == ([], 2)


def test_each_cell_is_one_line_of_the_file(path: Path) -> None:
    write_results(path, "okd", {"b": FAILED}, ["b"])
    write_results(path, "lab", ALL, list(ALL), engine={"name": "docker"})
    lines = path.read_text().splitlines()
    for cell in ALL:
        [line] = [line for line in lines if f'"cell": "{cell}"' in line and line.startswith("  {")]
        assert json.loads(line.removesuffix(","))["cell"] == cell
    assert '  "name": "docker"' in lines
    # A profile's cells stand one level deeper in the object of all others.
    assert [line[:5] for line in lines if '"cell": "b"' in line] == ['  {"c', "    {"]


def test_features_that_many_cells_have_are_in_the_file_once(path: Path) -> None:
    other = replace(PASSED, cell="o", features=("KERNEL_HAS_A", "KERNEL_HAS_B"))
    without = replace(PASSED, cell="w", features=())
    write_results(path, "okd", {"o": other}, ["o"])
    write_results(path, "lab", {**ALL, "w": without}, [*ALL, "w"])
    content = json.loads(path.read_text())
    names = [cell["features"] for cell in content["cells"]]
    assert [names[0], names[1], len({*names})] == [names[2], None, 3]
    assert content["feature_sets"][names[0]] == ["KERNEL_HAS_A"]
    assert content["feature_sets"][names[-1]] == []
    assert len(content["feature_sets"]) == 3
    assert (read_results(path, "lab"), read_results(path, "okd")) == ({**ALL, "w": without}, {"o": other})
    shown = json.loads(results_text(path, "okd"))
    assert shown["feature_sets"][shown["cells"][0]["features"]] == list(other.features or ())
    drop_results(path, "okd", ["o"])
    content = json.loads(path.read_text())
    assert sorted(content["feature_sets"].values()) == [[], ["KERNEL_HAS_A"]], "sets of no cell are dropped"
    assert [cell["features"] for cell in content["cells"]] == names, "names do not depend on other cells"


def test_a_run_replaces_what_it_changed_and_nothing_else(path: Path) -> None:
    """A run that read before another wrote must not take the other's results away."""
    order = [PASSED.cell, "b", "c"]
    write_results(path, "lab", {PASSED.cell: PASSED}, order)
    write_results(path, "lab", {"b": FAILED}, order)
    assert read_results(path, "lab") == {PASSED.cell: PASSED, "b": FAILED}
    now = replace(FAILED, verdict="errored")
    write_results(path, "lab", {"b": now, "c": ERRORED}, order)
    assert read_results(path, "lab") == {PASSED.cell: PASSED, "b": now, "c": ERRORED}
    cases = [case.attrib["name"] for case in ElementTree.parse(path.with_suffix(".xml")).getroot()]
    assert cases == order


def test_a_run_of_another_profile_keeps_the_results(path: Path) -> None:
    write_results(path, "ocp", ALL, list(ALL))
    write_results(path, "okd", {"b": FAILED}, ["b"])
    write_results(path, "lab", {"c": ERRORED}, ["c"])
    assert read_results(path, "ocp") == ALL
    assert read_results(path, "okd") == {"b": FAILED}
    content = json.loads(path.read_text())
    assert (content["profile"], [cell["cell"] for cell in content["cells"]]) == ("lab", ["c"])
    assert sorted(content["other_profiles"]) == ["ocp", "okd"]
    shown = json.loads(results_text(path, "okd"))
    assert (shown["profile"], [cell["cell"] for cell in shown["cells"]]) == ("okd", ["b"])
    write_results(path, "okd", {}, [])
    assert read_results(path, "ocp") == ALL
    assert read_results(path, "okd") == {}


def test_releases_come_back_beside_the_cells_of_their_profile(path: Path) -> None:
    assert read_releases(path, "lab") == ()
    write_results(path, "lab", ALL, list(ALL), releases=[RELEASE, UNRESOLVED])
    write_results(path, "okd", {"b": FAILED}, ["b"], releases=[UNRESOLVED])
    assert (read_releases(path, "lab"), read_releases(path, "okd")) == ((RELEASE, UNRESOLVED), (UNRESOLVED,))
    content = json.loads(path.read_text())
    assert [entry["version"] for entry in content["releases"]] == ["4.96.1"]
    assert [entry["version"] for entry in content["other_profiles"]["lab"]["releases"]] == ["4.96.0", "4.96.1"]
    write_results(path, "lab", {}, [])
    assert read_releases(path, "lab") == (RELEASE, UNRESOLVED), "a run that looks at no release changes none"
    write_results(path, "lab", {}, [], releases=[])
    assert read_releases(path, "lab") == ()


def test_another_profiles_results_are_none_of_ours(path: Path) -> None:
    write_results(path, "okd", ALL, list(ALL))
    assert read_results(path, "lab") == {}


@pytest.mark.parametrize(
    ("schema", "words", "hint"),
    [
        (99, "has schema 99, and this version of kmatrix knows 4", "Use the newer version"),
        (0, "has schema 0, and this version of kmatrix knows 4", "Delete the file"),
        (None, "has schema None, and this version of kmatrix knows 4", "Delete the file"),
        (3, "has schema 3, and this version of kmatrix knows 4", "Delete the file"),
        ("4", "has schema '4', and this version of kmatrix knows 4", "Delete the file"),
        (True, "has schema True, and this version of kmatrix knows 4", "Delete the file"),
    ],
)
def test_a_file_of_another_schema_is_refused_and_kept(path: Path, schema: object, words: str, hint: str) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"schema": schema, "profile": "lab", "cells": "of another form"}))
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        read_results(path, "lab")
    assert (words in caught.value.message, str(path) in caught.value.message) == (True, True), caught.value.message
    assert hint in caught.value.hint
    with pytest.raises(InputError, match="has schema"):
        write_results(path, "okd", ALL, list(ALL))
    assert path.read_bytes() == before


SETS: dict[str, Any] = {"one": ["KERNEL_HAS_A"], "text": "KERNEL_HAS_A", "number": [1]}


def whole(**changes: Any) -> dict[str, Any]:
    entry = {**asdict(PASSED), "features": "one", **changes}
    return {"schema": 4, "profile": "lab", "feature_sets": SETS, "cells": [entry], "releases": []}


def with_release(**changes: Any) -> dict[str, Any]:
    return {"schema": 4, "profile": "lab", "cells": [], "releases": [{**asdict(RELEASE), **changes}]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        json.dumps(whole())[:-30],
        "[]",
        "null",
        json.dumps({"schema": 4, "profile": "lab"}),
        json.dumps({"schema": 4, "profile": "lab", "cells": 7, "releases": []}),
        json.dumps({"schema": 4, "profile": "lab", "cells": ["x"], "releases": []}),
        json.dumps({"schema": 4, "profile": "lab", "cells": [{"cell": "x"}], "releases": []}),
        json.dumps({"schema": 4, "cells": []}),
        json.dumps({"schema": 4, "profile": "lab", "cells": [], "releases": [], "other_profiles": []}),
        json.dumps({"schema": 4, "profile": "lab", "cells": [], "releases": [], "other_profiles": {"okd": 7}}),
        json.dumps({"schema": 4, "profile": "lab", "cells": [], "releases": 7}),
        json.dumps({"schema": 4, "profile": "lab", "cells": [], "releases": [], "other_profiles": {"okd": []}}),
        json.dumps(whole(verdict="splendid")),
        json.dumps(whole(findings=[7])),
        json.dumps(whole(findings=[{"code": "x"}])),
        json.dumps(whole(releases=None)),
        json.dumps(whole(releases="4.96.0")),
        json.dumps(whole(warnings=None)),
        json.dumps(whole(warnings=["lost"])),
        json.dumps(whole(features="another")),
        json.dumps(whole(features="text")),
        json.dumps(whole(features="number")),
        json.dumps(whole(features=["KERNEL_HAS_A"])),
        json.dumps({**whole(), "feature_sets": None}),
        json.dumps(whole(reusable_from="8.98.1-6.1.0-2-amd64")),
        json.dumps(whole(gates={"static": "splendid"})),
        json.dumps(whole(gates=["static"])),
        json.dumps(whole(gates_at=7)),
        json.dumps(whole(labels=["a"])),
        json.dumps(whole(depends="ib_core")),
        json.dumps(whole(namespaces=[7])),
        json.dumps(whole(symbols=True)),
        json.dumps(whole(signed="yes")),
        json.dumps(whole(attestations="SBOM")),
        json.dumps(whole(cell="../../../etc/passwd")),
        json.dumps(whole(cell="/etc/passwd")),
        json.dumps(whole(cell=".hidden")),
        json.dumps(whole(cell="")),
        json.dumps(whole(cell="c" * 300)),
        json.dumps(whole(cell=["x"])),
        json.dumps(whole(client=8)),
        json.dumps(whole(digest=None)),
        json.dumps(whole(pushed=None)),
        json.dumps(whole(arch=[])),
        json.dumps(whole(log="\ud800")),
        json.dumps(whole(releases=["\ud800"])),
        json.dumps(whole(stages=None)),
        json.dumps(whole(stages={"build": "long"})),
        json.dumps(whole(stages={"build": float("nan")})),
        b"\xff",
    ],
)
def test_a_damaged_file_is_told_with_what_to_do(path: Path, content: str | bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"results file .*results\.json: not as this program writes it") as caught:
        read_results(path, "lab")
    assert "Delete the file" in caught.value.hint
    before = path.read_bytes()
    with pytest.raises(InputError, match="not as this program writes it"):
        write_results(path, "lab", ALL, list(ALL))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "splendid"},
        {"findings": [7]},
        {"kernels": 7},
        {"kernels": ["\ud800"]},
        {"version": 4.97},
        {"published": None},
        {"minutes_from_appearance": "x"},
        {"minutes_from_discovery": float("inf")},
    ],
)
def test_a_damaged_release_is_told_with_what_to_do(path: Path, changes: dict[str, Any]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(with_release(**changes)), encoding="utf-8")
    with pytest.raises(InputError, match="not as this program writes it"):
        read_releases(path, "lab")


def test_fields_of_a_later_version_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    finding = {"check": "symbols", "code": "crc-mismatch", "message": "m", "later": 1}
    path.write_text(json.dumps({**whole(later={"a": 1}, findings=[finding]), "later": []}), encoding="utf-8")
    assert read_results(path, "lab") == {
        PASSED.cell: replace(PASSED, findings=(Finding("symbols", "crc-mismatch", "m"),))
    }
    write_results(path, "lab", {}, [PASSED.cell])
    assert [*read_results(path, "lab")] == [PASSED.cell]


def test_a_file_that_an_earlier_version_wrote_lacks_later_fields_and_is_read(path: Path) -> None:
    later = ("labels", "depends", "symbols", "namespaces", "signed", "attestations")
    content = whole()
    for name in later:
        del content["cells"][0][name]
    path.parent.mkdir()
    path.write_text(json.dumps(content), encoding="utf-8")
    (result,) = read_results(path, "lab").values()
    assert [getattr(result, name) for name in later] == [{}, None, None, None, None, ()]


def test_text_of_an_image_and_its_module_is_plain() -> None:
    hostile = replace(PASSED, labels={"org.x\x1b[1m": "a\nb\u202e"}, depends=("ib_core\0",), namespaces=("A\nB",))
    assert (hostile.labels, hostile.depends, hostile.namespaces) == ({"org.x": "a b"}, ("ib_core",), ("A B",))


def test_a_place_that_cannot_be_read_is_told_without_advice_to_remove_results(path: Path) -> None:
    path.parent.write_text("in the way")
    with pytest.raises(InputError, match="Not a directory") as caught:
        read_results(path, "lab")
    assert "folder above" in caught.value.hint


def test_junit_has_one_case_for_each_cell(path: Path) -> None:
    write_results(path, "lab", ALL, list(ALL))
    suite = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert suite.attrib == {
        "name": "kmatrix.lab",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = {case.attrib["name"]: case for case in suite}
    assert cases[PASSED.cell].attrib["time"] == "1.750"
    assert list(cases[PASSED.cell]) == []
    (failure,) = cases["b"]
    assert (failure.tag, failure.attrib["message"]) == ("failure", "crc-mismatch")
    assert failure.text == "crc-mismatch: CRC of <printk> & co (expected 0x1, found 0x2)"
    assert [case[0].tag for case in (cases["c"], cases["d"])] == ["error", "skipped"]
    assert cases["c"][0].text == "Start it."


def test_junit_counts_no_seconds_of_an_earlier_run_for_a_skipped_cell(path: Path) -> None:
    write_results(path, "lab", {"d": replace(SKIPPED, stages={"build": 48.0})}, ["d"])
    (case,) = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert case.attrib["time"] == "0.000"


def test_junit_shows_a_warning_beside_the_verdict(path: Path) -> None:
    warned = replace(FAILED, warnings=(LOST,))
    write_results(path, "lab", {"b": warned, "d": replace(SKIPPED, verdict="passed")}, ["b", "d"])
    suite = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "0")
    assert [[part.tag for part in case] for case in suite] == [["failure", "system-out"], ["system-out"]]
    said = "warning: feature-lost: KERNEL_HAS_A & co are gone (expected KERNEL_HAS_A, found nothing new)"
    assert [case[-1].text for case in suite] == [said, said]


def test_junit_has_an_error_for_each_release_with_a_finding(path: Path) -> None:
    write_results(path, "lab", {PASSED.cell: PASSED}, [PASSED.cell], releases=[RELEASE, UNRESOLVED])
    suite = ElementTree.parse(path.with_suffix(".xml")).getroot()
    assert (suite.attrib["tests"], suite.attrib["errors"]) == ("2", "1")
    case = suite[1]
    assert (case.attrib["classname"], case.attrib["name"]) == ("release", "4.96.1 x86_64")
    assert (case[0].tag, case[0].attrib["message"]) == ("error", OPEN.message)
    assert case[0].text == "release-unresolved: its payload is no release payload"


def test_a_next_step_is_one_plain_line_without_secrets() -> None:
    result = cell_result(RECIPE, "errored", "gone", next_step="Start\nhttps://me:s3cret@host/x \x1b[31magain.")
    assert "s3cret" not in result.next_step
    assert result.next_step.isprintable()
    assert result.next_step.endswith("again.")


def test_a_result_says_where_its_kernel_belongs(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    result = cell_result(RECIPE, "passed", "good")
    write_results(path, "lab", {result.cell: result}, [result.cell])
    [found] = read_results(path, "lab").values()
    assert (found.kernel, found.arch, found.flavour, found.stream) == ("k", "x86_64", "standard", "el9")
