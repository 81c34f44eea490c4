"""Matrix and lock to cells: golden plans, the order of cells, and refusals."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.plan import Plan, make_plan, plan_json
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import InputError
from kmatrix.values.lock import read_lock
from kmatrix.values.matrix import Profile
from tests.unit.support.plan_data import DATA, pins, profile_of

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden" / "plan"
K9 = "5.14.0-9.1.1.el9_4.x86_64"
K10 = "5.14.0-10.1.1.el9_4.x86_64"

CASES = {
    "everything": ("everything", ()),
    "excludes": ("excludes", ()),
    "only": ("everything", ("8.98.1-*", "*-9.*+rt")),
    "unwanted": ("unwanted", ()),
}


def plan_of(matrix: str, *only: str) -> Plan:
    return make_plan("one", profile_of(matrix), pins(), only)


def with_excludes(*excludes: str) -> Profile:
    text = (DATA / "everything.yaml").read_text() + "    excludes:\n"
    return read_matrix(text + "".join(f"      - {exclude}\n" for exclude in excludes)).profile("one")


def test_golden_set() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == sorted(CASES)


@pytest.mark.parametrize("case", sorted(CASES))
def test_golden(case: str) -> None:
    matrix, only = CASES[case]
    text = json.dumps(plan_json(plan_of(matrix, *only)), indent=1) + "\n"
    path = GOLDEN / f"{case}.json"
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "if meant: KMATRIX_UPDATE_GOLDEN=1 pytest, then read the diff"


ABI = "0123456789abcdef"


def with_results(**changes: object) -> dict[str, Any]:
    """The plan as JSON, with a result of its first x86_64 cell."""
    plan = plan_of("everything", "*x86_64*")
    cell = plan.cells[0]
    values: dict[str, Any] = {"client": str(cell.client), "kernel": cell.kernel, "releases": (), "reason": "good"}
    values["gates"] = {"static": "passed", "boot": "failed"}
    result = CellResult(cell.id, **{**values, "verdict": "passed", **changes})
    found = plan_json(plan, {cell.id: result, "8.98.1-gone": replace(result, cell="8.98.1-gone")})
    assert found["cells"][0]["cell"] == cell.id
    assert {(each["abi"], each["reusable_from"]) for each in found["cells"][1:]} == {(None, None)}
    return found


def test_json_has_what_is_known_about_modules_and_null_where_nothing_is() -> None:
    found = with_results(abi=ABI, reusable_from=("8.98.1-other",))
    assert found["schema"] == 3
    assert (found["cells"][0]["abi"], found["cells"][0]["reusable_from"]) == (ABI, ["8.98.1-other"])
    line = {"client": "7.98.1", "stream": "el9", "arch": "x86_64", "flavour": "standard"}
    assert found["abi_classes"] == [{**line, "cells": 1, "classes": 1}], "cells that the plan lacks are not counted"
    alone = with_results(abi=ABI, reusable_from=())
    assert alone["cells"][0]["reusable_from"] == [], "it was compared, and none would load"
    assert with_results(abi=ABI)["cells"][0]["reusable_from"] is None, "no run has compared it"
    failed = with_results(verdict="failed", reusable_from=("8.98.1-other",))
    assert (failed["cells"][0]["abi"], failed["cells"][0]["reusable_from"]) == (None, ["8.98.1-other"])
    refused = with_results(abi=ABI, gates={"static": "failed"})
    assert (refused["cells"][0]["abi"], refused["abi_classes"]) == (None, []), "it may be built for another kernel"
    unknown = with_results(verdict="errored")
    assert (unknown["cells"][0]["abi"], unknown["cells"][0]["reusable_from"]) == (None, None)
    assert unknown["abi_classes"] == []


def test_cells_are_in_numeric_order() -> None:
    x86 = [(str(cell.client), cell.kernel) for cell in plan_of("everything", "*x86_64*").cells]
    order = [K9, f"{K9}+rt", K10, f"{K10}+rt", "6.12.0-2.1.1.el10_2.x86_64"]
    clients = {"7.98.1": order[:4], "7.98.10": order, "8.98.1": order}
    assert x86 == [(client, kernel) for client, kernels in clients.items() for kernel in kernels]


def test_oldest_release_gives_the_toolkit() -> None:
    old = next(pin for pin in pins().releases if str(pin.version) == "4.96.10")
    cell = next(cell for cell in plan_of("everything").cells if cell.kernel == K10)
    assert (cell.toolkit, cell.releases) == (old.toolkit, ("4.96.10", "4.97.0"))


def test_oldest_is_by_number() -> None:
    text = (DATA / "matrix.lock").read_text().replace('"4.96.1"', '"4.96.9"').replace('"4.96.2"', '"4.96.11"')
    lock = read_lock(text).profiles["one"]
    old = next(pin for pin in lock.releases if str(pin.version) == "4.96.9")
    cell = next(cell for cell in make_plan("one", profile_of("everything"), lock).cells if cell.kernel == K9)
    assert (cell.toolkit, cell.releases) == (old.toolkit, ("4.96.9", "4.96.11"))


def test_order_of_the_lock_does_not_matter() -> None:
    lock = pins()
    turned = lock.model_copy(update={"releases": lock.releases[::-1], "clients": lock.clients[::-1]})
    profile = profile_of("everything")
    assert make_plan("one", profile, turned) == make_plan("one", profile, lock)


def test_excluded_release_leaves_the_kernel_to_the_others() -> None:
    plan = make_plan("one", with_excludes("{release: 4.96.10, reason: wrong toolkit}"), pins())
    cell = next(cell for cell in plan.cells if cell.kernel == K10)
    found = {(str(pin.version), pin.arch, pin.stream): pin.toolkit for pin in pins().releases}
    assert cell.releases == ("4.97.0",)
    assert cell.toolkit == found["4.97.0", "x86_64", "el9"]


def test_useless_excludes_are_all_reported_with_their_line() -> None:
    profile = with_excludes(
        "{client: 7.98.2, reason: no such client}",
        "{flavour: rt, reason: fine}",
        "{kernel: 5.14.0-9.1.1.el9_4.x86, reason: a kernel cut short}",
        "{flavour: rt, arch: aarch64, reason: never together}",
    )
    with pytest.raises(InputError) as caught:
        make_plan("one", profile, pins(), ("7.98.2-*.x86_64",))
    assert str(caught.value).splitlines() == [
        "there is no plan for profile one",
        "  matrix.yaml:16: profiles.one.excludes[0]: matches no cell (client 7.98.2); client: nearest: "
        "7.98.1, 7.98.10, 8.98.1",
        "  matrix.yaml:18: profiles.one.excludes[2]: matches no cell (kernel 5.14.0-9.1.1.el9_4.x86); "
        "kernel: nearest: "
        "5.14.0-9.1.1.el9_4.x86_64, 5.14.0-9.1.1.el9_4.x86_64+rt, 5.14.0-10.1.1.el9_4.x86_64",
        "  matrix.yaml:19: profiles.one.excludes[3]: matches no cell (arch aarch64, flavour rt); each of "
        "these occurs, but not together",
        "  --only 7.98.2-*.x86_64: matches no cell; nearest: 7.98.1-5.14.0-9.1.1.el9_4.x86_64, "
        "7.98.10-5.14.0-9.1.1.el9_4.x86_64, 7.98.1-5.14.0-10.1.1.el9_4.x86_64",
    ]
    assert caught.value.exit_code == 2


def test_only_of_what_is_out_says_why_it_is_out() -> None:
    with pytest.raises(InputError, match=r"only excluded cells: 7\.98\.1-.*has no dists/rhel10"):
        plan_of("everything", "7.98.1-6.12*")


def test_missing_pins_name_the_command() -> None:
    lock = pins()
    fewer = lock.model_copy(update={"clients": tuple(pin for pin in lock.clients if pin.stream != "el10")})
    with pytest.raises(InputError) as caught:
        make_plan("one", profile_of("everything"), fewer)
    assert [str(problem) for problem in caught.value.problems] == [
        "matrix.lock: has no packages for client 7.98.10 on el10 x86_64",
        "matrix.lock: has no packages for client 8.98.1 on el10 x86_64",
    ]
    assert "nox -s discover -- --profile one" in caught.value.hint


def test_userland_of_the_base_stream_is_needed_too() -> None:
    plan = make_plan("one", profile_of("unwanted", base_stream="el10"), pins())
    assert {row.reason for row in plan.rows if str(row.client) == "7.98.1" and row.kernel == K9} == {
        "client 7.98.1 has no packages for el10 x86_64: beegfs_7.98.1 has no dists/rhel10"
    }


def test_natural_order() -> None:
    texts = ["5.14.0-427.10.1", "5.14.0-427.9.1", "5.14.0-427.9.1+rt", "6.1.0-9-amd64", "6.1.0-10-amd64"]
    assert sorted(texts, key=natural) == [texts[1], texts[2], texts[0], *texts[3:]]
