"""matrix.lock: it round-trips, is stable, strict, and notices that matrix.yaml changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.values.errors import InputError
from kmatrix.values.lock import Lock, inputs_digest, pins_of, read_lock, write_lock
from kmatrix.values.matrix import Profile

DATA = Path(__file__).parents[1] / "data" / "plan"
TEXT = (DATA / "matrix.lock").read_text()


def profile_of(before: str = "", after: str = "") -> Profile:
    text = (DATA / "excludes.yaml").read_text()
    assert before in text
    return read_matrix(text.replace(before, after, 1)).profile("one")


def test_round_trip_gives_the_same_bytes() -> None:
    assert write_lock(read_lock(TEXT)) == TEXT
    assert TEXT.endswith("}\n")


def test_order_does_not_change_the_bytes() -> None:
    data = json.loads(TEXT)
    for entries in ("releases", "clients", "unavailable"):
        data["profiles"]["one"][entries].reverse()
    assert write_lock(read_lock(json.dumps(data))) == TEXT


def test_releases_are_written_in_version_order() -> None:
    versions = [entry["version"] for entry in json.loads(TEXT)["profiles"]["one"]["releases"]]
    assert versions == ["4.96.1", "4.96.2", "4.96.10", "4.97.0", "4.97.0", "4.97.0"]


def test_empty_lock_and_with_profile() -> None:
    pins = read_lock(TEXT).profiles["one"]
    assert write_lock(Lock()) == '{\n "profiles": {},\n "schema": 2\n}\n'
    both = Lock().with_profile("one", pins).with_profile("two", pins)
    assert read_lock(write_lock(both)) == both


def edited(edit: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(TEXT)
    edit(data["profiles"]["one"])
    return json.dumps(data)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda one: one.pop("base"), "base: is missing"),
        (lambda one: one.update(bases=1), "bases: unknown key; did you mean 'base'?"),
        (lambda one: one.update(base="r.io/b:1"), "base: 'r.io/b:1' is not pinned: it needs @sha256:…"),
        (lambda one: one.update(inputs="abc"), "inputs: 'abc' is not a digest"),
        (lambda one: one.update(releases=[]), "releases: must not be empty"),
        (lambda one: one["releases"][1].update(arch="amd64"), "releases[1].arch: 'amd64' is not one of"),
        (lambda one: one["releases"][0].update(version="4"), "releases[0].version: '4' is not an OpenShift"),
        (lambda one: one["releases"][0].update(rhel=9.4), "releases[0].rhel: must be text"),
        (
            lambda one: one["releases"][0].update(toolkit="r.io/b"),
            "releases[0].toolkit: 'r.io/b' is not pinned",
        ),
        (lambda one: one["releases"][0].update(kernels=[]), "releases[0].kernels: must not be empty"),
        (
            lambda one: one["releases"][0]["kernels"][1].update(release="../x", flavor="rt"),
            "releases[0].kernels[1].flavor: unknown key; did you mean 'flavour'?",
        ),
        (
            lambda one: one["releases"][0]["kernels"][1].update(release="../x"),
            "releases[0].kernels[1].release: '../x' is not a kernel release",
        ),
        (
            lambda one: one["releases"].append(one["releases"][0]),
            "releases: 4.96.1 x86_64 with registry.example",
        ),
        (lambda one: one["clients"].append(one["clients"][0]), "clients: 7.98.1 el9 x86_64 is listed twice"),
        (lambda one: one["clients"][0].update(stream="9"), "clients[0].stream: '9' is not a RHEL major"),
        (
            lambda one: one["clients"][0]["key"].update(fingerprint="12"),
            "clients[0].key.fingerprint: '12' is not an OpenPGP fingerprint",
        ),
        (
            lambda one: one["clients"][0]["packages"][0].update(location="../../etc/passwd"),
            "clients[0].packages[0].location: '../../etc/passwd' is not a relative path",
        ),
        (
            lambda one: one["clients"][0]["packages"][0].update(name="a; b"),
            "clients[0].packages[0].name: 'a; b' is not a package name",
        ),
        (
            lambda one: one["clients"][0]["packages"][0].update(nevra="beegfs-client"),
            "clients[0].packages[0].nevra: 'beegfs-client' is not NAME-",
        ),
        (
            lambda one: one["clients"][0]["packages"][0].update(sha256="A" * 64),
            "clients[0].packages[0].sha256: 'AAA",
        ),
        (
            lambda one: one["clients"][0]["packages"][0].update(size=0),
            "packages[0].size: must be more than 0",
        ),
        (lambda one: one["clients"][0]["packages"][0].update(size="1"), "size: must be a whole number"),
        (
            lambda one: one["clients"][0]["packages"].append(one["clients"][0]["packages"][0]),
            "clients[0].packages: beegfs-client is listed twice",
        ),
        (lambda one: one["unavailable"][0].update(reason=""), "unavailable[0].reason: must not be empty"),
    ],
)
def test_bad_locks(edit: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_lock(edited(edit), "some.lock")
    reports = [str(problem) for problem in caught.value.problems]
    assert any(report.startswith("some.lock: profiles.one.") and message in report for report in reports)
    assert "nox -s discover" in caught.value.hint


def test_all_problems_come_at_once() -> None:
    def edit(one: dict[str, Any]) -> None:
        one.update(base="x", inputs="y")
        one["releases"][0].update(arch="z")

    with pytest.raises(InputError) as caught:
        read_lock(edited(edit))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("", "matrix.lock:1: not JSON (column 1): Expecting value"),
        ("{\n<<<<<<<\n", "matrix.lock:2: not JSON (column 1): Expecting property name"),
        ("[]", "matrix.lock: must be a mapping"),
        ('{"schema": 1, "schema": 1}', "matrix.lock: schema: duplicate key"),
        ('{"schema": 3, "profiles": {}}', "matrix.lock: schema: 3 is not known: this version reads schema 2"),
        ('{"schema": 2, "profiles": {"a/b": {}}}', "matrix.lock: profiles.a/b: 'a/b' is not a profile name"),
    ],
)
def test_what_is_no_lock(text: str, report: str) -> None:
    with pytest.raises(InputError) as caught:
        read_lock(text)
    assert str(caught.value.problems[0]).startswith(report)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://graph.example", "https://other.example"),
        ("https://packages.example", "https://other.example"),
        ("0123 4567", "0123 4568"),
        ("base:12", "base:13"),
        ("base_stream: el9", "base_stream: el8"),
        ("{name: stable-4.96}", "{name: stable-4.96, newest: 3}"),
        ("{name: stable-4.96}", "{name: stable-4.96, from: 4.96.2}"),
        ("arches: [x86_64]", "arches: [x86_64, aarch64]"),
        ("flavours: [standard, rt]", "flavours: [standard]"),
        ("clients: [7.98.1, ", "clients: ["),
    ],
)
def test_inputs_that_count(before: str, after: str) -> None:
    if "clients" in before:
        # The exclude of that client goes with it, and does not count.
        assert inputs_digest(profile_of("{client: 7.98.1, ", "{")) == inputs_digest(profile_of())
    assert inputs_digest(profile_of(before, after)) != inputs_digest(profile_of())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("about: a profile", "about: words"),
        ("0123 4567", "01234567"),
        ("clients: [7.98.1, 7.98.10", "clients: [7.98.10, 7.98.1"),
        ("[{name: stable-4.96}, {name: stable-4.97}]", "[{name: stable-4.97}, {name: stable-4.96}]"),
        ("    arches:", "    rdma: false\n    arches:"),
        ("    arches:", "    target: quay.io/team\n    mirrors: {quay.io: mirror.example}\n    arches:"),
        ("    arches:", "    lock: other.lock\n    base_packages: [kmod]\n    arches:"),
        ("reason: not supported yet", "reason: other words"),
    ],
)
def test_inputs_that_do_not_count(before: str, after: str) -> None:
    assert inputs_digest(profile_of(before, after)) == inputs_digest(profile_of())


def test_pins_are_given_only_while_they_are_fresh() -> None:
    profile = profile_of()
    pins = read_lock(TEXT).profiles["one"].model_copy(update={"inputs": inputs_digest(profile)})
    lock = Lock().with_profile("one", pins)
    assert pins_of(lock, "one", profile) == pins
    with pytest.raises(InputError, match=r"matrix\.yaml changed since matrix\.lock was written") as caught:
        pins_of(lock, "one", profile_of("stable-4.96", "stable-4.95"))
    assert caught.value.hint == "Run `nox -s discover -- --profile one`."
    with pytest.raises(InputError, match="no pins for profile two"):
        pins_of(lock, "two", profile)


def test_a_lock_of_schema_1_loses_no_pin() -> None:
    data = json.loads(TEXT)
    for entry in data["profiles"].values():
        for pin in (*entry["clients"], *entry.get("unavailable", ())):
            pin["line"] = pin.pop("stream")
    assert read_lock(json.dumps({**data, "schema": 1})) == read_lock(TEXT)


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD", "||||||| base", "=======", ">>>>>>> other"])
def test_a_merge_conflict_is_recognised(mark: str) -> None:
    lines = TEXT.splitlines()
    lines.insert(4, mark)
    with pytest.raises(InputError) as caught:
        read_lock("\n".join(lines), "some.lock")
    assert caught.value.message == "some.lock:5: has a merge conflict"
    assert "git checkout --theirs some.lock" in caught.value.hint
    assert "nox -s discover" in caught.value.hint
