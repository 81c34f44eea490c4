"""matrix.yaml: ours is good, every bad one is reported whole, and overrides follow the same rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.effects.vm.qemu import KINDS
from kmatrix.values.errors import InputError
from kmatrix.values.lock import inputs_digest
from kmatrix.values.matrix import Profile, mirrored, required_target
from kmatrix.values.names import BOOTED_ARCHES, ImageRef
from kmatrix.values.overrides import Overrides, override, overrides_from_environment

ROOT = Path(__file__).parents[2]
INVALID = ROOT / "tests/data/invalid-matrix"
DIGEST = "sha256:" + "a" * 64
MINIMAL = """\
schema: 1
default_profile: one
profiles:
  one:
    about: a profile
    graph: https://graph.example/graph
    packages: https://packages.example/release/
    key_fingerprint: 0683 af2b 9ac5 bc7d 59b2 d623 40ce 4e24 3cd5 0804
    base: registry.example/base:1
    base_stream: el9
    channels: [{name: stable-4.20, from: 4.20.0}]
    arches: [x86_64]
    flavours: [standard]
    clients: [7.4.10, 7.4.9]
"""


def minimal() -> Profile:
    return read_matrix(MINIMAL).profile()


def test_our_own_matrix() -> None:
    matrix = read_matrix((ROOT / "matrix.yaml").read_text())
    assert list(matrix.profiles) == ["lab", "lab-aarch64", "okd", "ocp"]
    lab = matrix.profile()
    assert (lab.lock, lab.target, lab.key_file) == (
        "build/lab/matrix.lock",
        "127.0.0.1:5080",
        "build/lab/packages/fingerprint",
    )
    for name in ("okd", "ocp"):
        profile = matrix.profile(name)
        assert profile.key_fingerprint == "0683AF2B9AC5BC7D59B2D62340CE4E243CD50804"
        assert profile.target is None
        assert not any(client.major < 8 for client in profile.clients)


def test_defaults_and_normal_forms() -> None:
    profile = minimal()
    assert profile.packages == "https://packages.example/release"
    assert profile.key_fingerprint == "0683AF2B9AC5BC7D59B2D62340CE4E243CD50804"
    assert (profile.base_packages, profile.mirrors, profile.excludes) == ((), {}, ())
    assert (profile.target, profile.lock, profile.rdma, profile.key_file) == (None, "matrix.lock", True, None)


@pytest.mark.parametrize(
    ("written", "meant"), [("1", 1), ("25", 25), ('"3"', 3), ("999999999", 999999999), ("1%", "1%"), ("100%", "100%")]
)
def test_a_roll_outs_speed_is_a_number_of_nodes_or_a_share_of_them(written: str, meant: int | str) -> None:
    assert read_matrix(f"{MINIMAL}    max_unavailable: {written}\n").profile().max_unavailable == meant
    assert minimal().max_unavailable == 1


def test_a_roll_outs_speed_makes_no_lock_stale() -> None:
    fast = read_matrix(f"{MINIMAL}    max_unavailable: 10%\n").profile()
    assert inputs_digest(fast) == inputs_digest(minimal())


@pytest.mark.parametrize("written", ["0", "-1", "yes", "1.5", "thirty"])
def test_images_are_kept_for_a_whole_number_of_days(written: str) -> None:
    assert (minimal().retention_days, minimal().kernel_tags) == (None, False)
    kept = read_matrix(f"{MINIMAL}    retention_days: 90\n    kernel_tags: true\n").profile()
    assert (kept.retention_days, kept.kernel_tags) == (90, True)
    assert inputs_digest(kept) == inputs_digest(minimal()), "neither makes a lock stale"
    with pytest.raises(InputError) as caught:
        read_matrix(f"{MINIMAL}    retention_days: {written}\n")
    assert "profiles.one.retention_days" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[static, boot]", ("static", "boot")),
        ("[mount, boot, static]", ("static", "boot", "mount")),
    ],
)
def test_a_profile_has_every_gate_unless_it_names_its_own(written: str, meant: tuple[str, ...]) -> None:
    assert (minimal().gates, minimal().feature_lost) == (("static", "boot", "mount"), "warn")
    chosen = read_matrix(f"{MINIMAL}    gates: {written}\n    feature_lost: fail\n").profile()
    assert (chosen.gates, chosen.feature_lost) == (meant, "fail"), "in the order in which they are run"
    assert inputs_digest(chosen) == inputs_digest(minimal()), "neither makes a lock stale"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("gates: [static]", "lacks boot: no image is published without the gates static and boot"),
        ("gates: [mount]", "lacks static and boot"),
        ("gates: [static, boot, secure]", "'secure' is not one of the gates static, boot, mount"),
        ("gates: [static, boot, boot]", "duplicate of [1]"),
        ("gates: []", "profiles.one.gates"),
        ("gates: static", "profiles.one.gates"),
        ("feature_lost: maybe", "profiles.one.feature_lost"),
        ("feature_lost: true", "profiles.one.feature_lost"),
    ],
)
def test_wrong_gates_and_consequences_are_named(written: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_matrix(f"{MINIMAL}    {written}\n")
    assert says in str(caught.value)
    assert f"profiles.one.{written.partition(':')[0]}" in str(caught.value)


def test_versions_are_never_numbers() -> None:
    text = MINIMAL + "    excludes: [{release: 4.20, client: 7.10, kernel: 0x10, reason: 2024-01-01}]\n"
    profile = read_matrix(text).profile()
    exclude = profile.excludes[0]
    found = (exclude.release, exclude.client, exclude.kernel, exclude.reason)
    assert found == ("4.20", "7.10", "0x10", "2024-01-01")
    assert str(profile.channels[0].first) == "4.20.0"
    assert [str(client) for client in profile.clients] == ["7.4.10", "7.4.9"]


def test_excludes_know_their_line() -> None:
    text = MINIMAL + "    excludes:\n      - {client: 7.*, reason: a}\n\n      - client: 7.4.9\n        reason: b\n"
    excludes = read_matrix(text, "other.yaml").profile().excludes
    assert [exclude.where for exclude in excludes] == ["other.yaml:16", "other.yaml:18"]


def test_aliases_are_read() -> None:
    text = MINIMAL.replace("clients: [", "clients: &clients [") + "  two:\n    about: another\n"
    text += "".join(f"    {line.strip()}\n" for line in MINIMAL.splitlines()[5:-1]) + "    clients: *clients\n"
    matrix = read_matrix(text)
    assert matrix.profile("two").clients == matrix.profile("one").clients


def test_a_profile_may_have_the_architectures_of_the_boot_gate() -> None:
    assert set(BOOTED_ARCHES) == KINDS.keys()


def test_unknown_profile_names_the_others() -> None:
    with pytest.raises(InputError, match="no profile 'okd'") as caught:
        read_matrix(MINIMAL).profile("okd")
    assert caught.value.hint == "Use one of one."


def test_invalid_set() -> None:
    names = {path.stem for path in INVALID.glob("*.yaml")}
    assert names == {path.stem for path in INVALID.glob("*.expected")}
    assert len(names) >= 15


@pytest.mark.parametrize("name", sorted(path.stem for path in INVALID.glob("*.yaml")))
def test_invalid(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_matrix((INVALID / f"{name}.yaml").read_text())
    assert f"{caught.value}\n" == (INVALID / f"{name}.expected").read_text()
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_deep_nesting_is_reported() -> None:
    with pytest.raises(InputError, match="nest too deep"):
        read_matrix("[" * 5_000)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("quay.io/okd/scos-content:4.17", "mirror.example/okd/scos-content:4.17"),
        (f"quay.io/okd/scos-release@{DIGEST}", f"mirror.example/special@{DIGEST}"),
        (f"quay.io/okd-not/image@{DIGEST}", f"mirror.example/q/okd-not/image@{DIGEST}"),
        (f"quay.io/team/image:1@{DIGEST}", f"mirror.example/q/team/image:1@{DIGEST}"),
        ("quay.io.example/team/image:1", "quay.io.example/team/image:1"),
        ("registry.example/quay.io/image:1", "registry.example/quay.io/image:1"),
    ],
)
def test_longest_mirror_wins(ref: str, expected: str) -> None:
    mirrors = {
        "quay.io": "mirror.example/q",
        "quay.io/okd/scos-release": "mirror.example/special",
        "quay.io/okd": "mirror.example/okd",
    }
    assert str(mirrored(ImageRef.parse(ref), mirrors)) == expected


def test_target_is_asked_for() -> None:
    with pytest.raises(InputError) as caught:
        required_target("one", minimal())
    assert all(word in caught.value.hint for word in ("profiles.one.target", "--target", "KMATRIX_TARGET"))
    assert required_target("one", override(minimal(), Overrides(target="quay.io/team"))) == "quay.io/team"


def test_overrides_change_only_what_is_given() -> None:
    given = Overrides(
        graph="http://127.0.0.1:1/graph", mirrors="quay.io=mirror.example/q, a.io/b=c.io", base="r.io/b:2"
    )
    changed = override(minimal(), given)
    assert changed.graph == "http://127.0.0.1:1/graph"
    assert changed.mirrors == {"quay.io": "mirror.example/q", "a.io/b": "c.io"}
    assert str(changed.base) == "r.io/b:2"
    assert override(minimal(), Overrides()) == minimal()
    assert changed.clients == minimal().clients


def test_wrong_overrides_are_all_named() -> None:
    given = Overrides(
        graph="graph.example",
        packages="a b",
        key_fingerprint="file:../key",
        base="base",
        target="team",
        mirrors="quay.io",
        lock="/etc/lock",
    )
    with pytest.raises(InputError) as caught:
        override(minimal(), given)
    assert [problem.where for problem in caught.value.problems] == [
        "--mirrors (or KMATRIX_MIRRORS)",
        "--graph (or KMATRIX_GRAPH)",
        "--packages (or KMATRIX_PACKAGES)",
        "--key-fingerprint (or KMATRIX_KEY_FINGERPRINT)",
        "--base (or KMATRIX_BASE)",
        "--target (or KMATRIX_TARGET)",
        "--lock (or KMATRIX_LOCK)",
    ]
    assert str(caught.value.problems[0]).endswith("'quay.io' has no =: write FROM=TO")


def test_wrong_mirror_is_named() -> None:
    with pytest.raises(InputError, match=r"--mirrors \(or KMATRIX_MIRRORS\): 'QUAY/x' is not a registry host"):
        override(minimal(), Overrides(mirrors="quay.io=QUAY/x"))


def test_environment_is_weaker_than_options() -> None:
    environment = {"KMATRIX_GRAPH": "http://e", "KMATRIX_TARGET": "e.io", "KMATRIX_BASE": "", "HOME": "/root"}
    found = Overrides(target="o.io").or_else(overrides_from_environment(environment))
    assert found == Overrides(graph="http://e", target="o.io")
