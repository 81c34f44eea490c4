"""An answer that is shorter than the last removes nothing: pins that stay, their mark, and those that may leave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmatrix.cli import main
from kmatrix.commands import pins as pins_command
from kmatrix.decide.formats.matrix_yaml import read_matrix
from kmatrix.decide.lock_news import discovery_exit
from kmatrix.decide.plan import make_plan
from kmatrix.decide.releases import Node, read_graph, select_releases
from kmatrix.stages import discover_packages, discover_releases
from kmatrix.stages.discover import discover
from kmatrix.stages.read_release import Unresolved
from kmatrix.values.errors import Exit, InputError, KmatrixError, ProtocolError
from kmatrix.values.lock import Lock, ProfileLock, inputs_digest, read_lock, write_lock
from kmatrix.values.matrix import Channel, Profile
from kmatrix.values.names import Arch, ClientVersion, ImageRef, ReleaseVersion
from kmatrix.values.pins import ClientPin, KernelPin, KeyPin, PackagePin, ReleasePin, RetiredPin, UnavailablePin
from tests.unit.support.http_server import Reply, Request, web_server
from tests.unit.support.made_up_profile import profile

DATA = Path(__file__).parents[1] / "data" / "plan"
DAY, LATER = "2026-03-31", "2026-04-02"
CHANNELS = "io.openshift.upgrades.graph.release.channels"
CHANNEL = Channel(name="stable-4.97")
CLIENT = ClientVersion(8, 2, 2)
KEY = "0683AF2B9AC5BC7D59B2D62340CE4E243CD50804"


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def payload(version: str) -> str:
    return f"registry.example/release@{digest(version)}"


def kernel(version: str) -> str:
    """The kernel of a made-up release: 4.96.3 has 5.14.0-96.3.el9_4.x86_64."""
    return f"5.14.0-{version.partition('.')[2]}.el9_4.x86_64"


def graph(*versions: str, edges: list[list[int]] | None = None) -> str:
    """A graph as the policy engine of openshift/cincinnati sends it (cincinnati/src/lib.rs)."""
    nodes = [
        {"version": each, "payload": payload(each), "metadata": {CHANNELS: f"stable-{each.rpartition('.')[0]}"}}
        for each in versions
    ]
    chain = [[index, index + 1] for index in range(len(nodes) - 1)]
    return json.dumps({"version": 1, "nodes": nodes, "edges": chain if edges is None else edges})


@dataclass
class Site:
    """An update graph over HTTP, payloads and packages that can be read or not, and the lines of progress."""

    profile: Profile
    replies: dict[str, Reply] = field(default_factory=dict)
    lost_payloads: set[str] = field(default_factory=set)
    lost_lines: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        return self.replies[request.query["channel"][0]]

    def has(self, *versions: str) -> None:
        """Have the graph answer for every channel with these releases, those of the channel alone."""
        for channel in ("stable-4.96", "stable-4.97"):
            own = [each for each in versions if each.startswith(channel.removeprefix("stable-") + ".")]
            self.replies[channel] = Reply(200, graph(*own).encode())

    def run(self, known: ProfileLock | None = None, day: str = DAY, forget: tuple[str, ...] = ()) -> ProfileLock:
        self.lines.clear()
        self.asked.clear()
        registry = cast("Any", SimpleNamespace(resolve=lambda ref: ref.with_digest(digest("base"))))
        say, now = self.lines.append, datetime.fromisoformat(f"{day}T12:00:00+00:00")
        found = discover("one", self.profile, self.profile, registry, Path(), known, say, forget, now)
        # A field that is not in the file is not remembered.
        return read_lock(write_lock(Lock().with_profile("one", found))).profiles["one"]

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def marks(pins: ProfileLock) -> dict[str, str | None]:
    return {str(pin.version): pin.gone for pin in pins.releases}


def away(pins: ProfileLock) -> dict[str, str]:
    return {pin.kernel: pin.reason for pin in pins.retired}


def since(pins: ProfileLock) -> dict[str, str | None]:
    return {pin.kernel: pin.since for pin in pins.retired}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(
        profile(
            channels=(Channel(name="stable-4.96"), Channel(name="stable-4.97")),
            key_fingerprint=KEY,
            clients=(CLIENT,),
            flavours=("standard",),
        )
    )

    def release(node: Node, arch: Arch, *_: object) -> tuple[ReleasePin, ...] | Unresolved:
        made.asked.append(str(node.version))
        if str(node.version) in made.lost_payloads:
            error = ProtocolError("the registry says there is no such image", "…")
            return Unresolved(error, "malformed", error.message)
        return (
            ReleasePin(
                version=node.version,
                arch=arch,
                channels=node.channels,
                payload=node.payload,
                toolkit=ImageRef.parse(f"registry.example/toolkit@{digest(f'toolkit {node.version}')}"),
                rhel="9.4",
                kernels=tuple(
                    KernelPin(
                        release=kernel(str(node.version)) + ("" if flavour == "standard" else "+64k"), flavour=flavour
                    )
                    for flavour in made.profile.flavours
                ),
            ),
        )

    def packages(_: object, client: ClientVersion, line: str, arch: Arch, wanted: str) -> ClientPin | UnavailablePin:
        if line in made.lost_lines:
            return UnavailablePin(client=client, stream=line, arch=arch, reason="it has no dists for it")
        names = ("beegfs-client", "beegfs-tools")
        found = tuple(
            PackagePin(
                name=name,
                nevra=f"{name}-20:{client}-{line}.x86_64",
                location=f"dists/{name}.rpm",
                sha256="a" * 64,
                size=1,
            )
            for name in names
        )
        key = KeyPin(location="gpg/GPG-KEY-beegfs", sha256="a" * 64, fingerprint=wanted)
        return ClientPin(version=client, stream=line, arch=arch, key=key, packages=found)

    monkeypatch.setattr(discover_releases, "read_release", release)
    monkeypatch.setattr(discover_packages, "_client_pin", packages)
    with web_server(made.answer) as server:
        made.profile = made.profile.model_copy(update={"graph": f"http://{server.address}/graph"})
        yield made


def test_a_release_that_the_graph_lost_stays_with_a_mark_and_is_told_until_it_is_back(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    assert marks(whole) == {"4.96.1": None, "4.96.2": None, "4.97.1": None}
    site.has("4.96.2", "4.97.1")
    half = site.run(whole)
    assert marks(half) == {"4.96.1": DAY, "4.96.2": None, "4.97.1": None}
    assert site.said(f"4.96.1 for x86_64 has been gone from the graph since {DAY}; kept")
    assert not site.asked, "nothing is read again"
    assert replace_marks(half) == whole, "but for the mark it is the same lock"
    assert marks(site.run(half, LATER))["4.96.1"] == DAY, "since when, not since the last run"
    site.has("4.96.1", "4.96.2", "4.97.1")
    assert site.run(half, LATER) == whole
    assert site.said("4.96.1 for x86_64 is back in the graph")


def replace_marks(pins: ProfileLock) -> ProfileLock:
    return pins.model_copy(update={"releases": tuple(p.model_copy(update={"gone": None}) for p in pins.releases)})


def test_a_channel_that_is_empty_now_keeps_its_releases_and_one_that_always_was_is_named(site: Site) -> None:
    """Of a channel that is not there, channel_filter.rs of openshift/cincinnati gives an empty graph and status 200."""
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.has("4.96.1")
    assert marks(site.run(whole)) == {"4.96.1": None, "4.97.1": DAY}
    first = site.run()
    assert [(pin.name, pin.arch) for pin in first.empty_channels] == [("stable-4.97", "x86_64")]
    assert marks(first) == {"4.96.1": None}
    assert site.said("stable-4.97 for x86_64 gives no release (the graph's reply is empty: is there such a channel?)")
    assert discovery_exit(first) == Exit.ERRORED
    assert site.run(first) == first, "the next discovery changes nothing"
    site.has("4.96.1", "4.97.1")
    assert site.run(first).empty_channels == ()
    site.has()
    with pytest.raises(InputError, match="nothing for a channel"):
        site.run()
    with pytest.raises(ProtocolError, match="no release of any channel of profile one; the lock has 2") as nothing:
        site.run(whole)
    assert "lock is unchanged" in nothing.value.hint


def test_newest_and_from_count_what_is_gone_as_if_it_were_there(site: Site) -> None:
    site.profile = site.profile.model_copy(update={"channels": (Channel(name="stable-4.96", newest=2),)})
    site.has("4.96.1", "4.96.2", "4.96.3")
    whole = site.run()
    assert list(marks(whole)) == ["4.96.2", "4.96.3"]
    site.has("4.96.1", "4.96.2")
    half = site.run(whole)
    assert marks(half) == {"4.96.2": None, "4.96.3": DAY}, "an older one does not come in for it"
    site.has("4.96.1", "4.96.2", "4.96.4", "4.96.5")
    later = site.run(half, LATER)
    assert marks(later) == {"4.96.4": None, "4.96.5": None}
    rule = "is not of stable-4.96, the newest 2"
    assert away(later) == {kernel(each): f"release {each} {rule}, {LATER}" for each in ("4.96.2", "4.96.3")}
    narrower = Channel.model_validate({"name": "stable-4.96", "from": "4.96.5"})
    site.profile = site.profile.model_copy(update={"channels": (narrower,)})
    found = site.run(later, LATER)
    assert list(marks(found)) == ["4.96.5"]
    assert away(found)[kernel("4.96.4")] == f"release 4.96.4 is not of stable-4.96 from 4.96.5 on, {LATER}"
    assert len(away(found)) == 3, "what left before is still known"


def test_a_release_leaves_by_a_persons_word_and_is_back_with_the_graph(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    site.has("4.96.2", "4.97.1")
    half = site.run(whole)
    told = site.run(half, LATER, ("4.96.1",))
    assert list(marks(told)) == ["4.96.2", "4.97.1"]
    assert away(told) == {kernel("4.96.1"): f"release 4.96.1 was forgotten by name, {LATER}"}
    assert site.run(told) == told, "the word holds"
    site.has("4.96.1", "4.96.2", "4.97.1")
    back = site.run(told)
    assert marks(back) == marks(whole)
    assert back.releases[0].found == f"{DAY}T12:00:00Z", "it is new again"


def test_a_release_leaves_when_it_was_missing_for_longer_than_matrix_yaml_says(site: Site) -> None:
    site.profile = site.profile.model_copy(update={"retention_days": 30})
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run(day="2025-01-01")
    site.has("4.96.2", "4.97.1")
    # More than a year without a discovery: the first day on which it was missed counts.
    half = site.run(whole, "2026-03-31")
    assert marks(half)["4.96.1"] == "2026-03-31"
    assert site.run(half, "2026-04-30") == half, "30 days are not longer than 30 days"
    later = site.run(half, "2026-05-01")
    assert list(marks(later)) == ["4.96.2", "4.97.1"]
    leaves = "4.96.1 for x86_64 leaves the lock: it has been gone from the graph for longer than 30 days"
    assert site.said(leaves)
    reason = "release 4.96.1 has been gone from the graph since 2026-03-31, for longer than 30 days, 2026-05-01"
    assert (away(later), since(later)) == ({kernel("4.96.1"): reason}, {kernel("4.96.1"): "2026-03-31"})
    assert site.run(later, "2026-06-01") == later
    site.has("4.96.1", "4.96.2", "4.97.1")
    back = site.run(later, "2026-06-01")
    assert (marks(back), away(back)) == (marks(whole), {}), "a release that is back is pinned again"
    assert site.run(half, "2026-06-01") == whole, "one that is back in time never left"
    assert not site.said(leaves)


def test_a_release_of_a_channel_without_any_release_stays_however_long_it_is_gone(site: Site) -> None:
    """An unknown channel gets the same answer as one that lost everything; the other channels go on."""
    site.profile = site.profile.model_copy(update={"retention_days": 1})
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.has("4.96.1")
    half = site.run(whole)
    assert marks(site.run(half, "2027-01-01")) == {"4.96.1": None, "4.97.1": DAY}


def test_without_the_key_no_release_leaves_by_its_age(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    site.has("4.96.2", "4.97.1")
    half = site.run(whole)
    assert marks(site.run(half, "2126-01-01"))["4.96.1"] == DAY


def test_an_unresolved_release_keeps_the_day_since_which_it_is(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    site.lost_payloads = {"4.96.2"}
    first = site.run()
    assert [(str(pin.version), pin.since) for pin in first.unresolved] == [("4.96.2", DAY)]
    assert site.run(first, "2026-06-01") == first


def test_a_release_that_was_gone_when_more_of_it_was_wanted_is_read_once_it_is_back(site: Site) -> None:
    site.has("4.96.1", "4.97.1")
    first = site.run()
    site.has("4.97.1")
    site.lost_payloads = {"4.96.1"}
    site.profile = site.profile.model_copy(update={"flavours": ("standard", "64k")})
    without = site.run(first, "2026-05-01")
    # What cannot be read of a release that is gone is no fault that a person could mend.
    assert (marks(without), without.unresolved) == ({"4.96.1": "2026-05-01", "4.97.1": None}, ())
    site.has("4.96.1", "4.97.1")
    site.lost_payloads = set()
    back = site.run(without, "2026-05-02")
    assert site.asked == ["4.96.1"]
    assert {str(pin.version): len(pin.kernels) for pin in back.releases} == {"4.96.1": 2, "4.97.1": 2}


def test_a_retired_kernel_has_the_day_on_which_its_last_release_left(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    site.has("4.96.2", "4.97.1")
    half = site.run(whole)
    told = site.run(half, LATER, ("4.96.1",))
    assert since(told) == {kernel("4.96.1"): DAY}, "it was gone before it was forgotten"
    # One kernel of two releases: one is gone, the other leaves by a rule while the graph still has it.
    shared = KernelPin(release=kernel("4.96.9"), flavour="standard")
    releases = tuple(pin.model_copy(update={"kernels": (shared,)}) for pin in half.releases)
    site.profile = site.profile.model_copy(update={"channels": site.profile.channels[1:]})
    both = half.model_copy(update={"releases": releases[:2]})
    found = site.run(both.model_copy(update={"releases": (*releases[:2], half.releases[2])}), LATER)
    assert since(found) == {shared.release: LATER}
    # A lock that did not keep the day: it is the first one that is known.
    old = found.model_copy(update={"retired": (found.retired[0].model_copy(update={"since": None}),)})
    again = site.run(old, "2026-05-05")
    assert since(again) == {shared.release: "2026-05-05"}
    assert site.run(again, "2026-05-06") == again


def test_a_kernel_that_nodes_run_without_their_toolkit_leaves_with_their_release(site: Site) -> None:
    """Its cell was built from the toolkit of another release, which leaves first; a bundle keeps it all the same."""
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    needed = kernel("4.96.1")
    nodes = whole.releases[1].model_copy(update={"node_kernel": needed})
    whole = whole.model_copy(update={"releases": (whole.releases[0], nodes, whole.releases[2])})
    site.profile = site.profile.model_copy(update={"channels": (Channel(name="stable-4.96", newest=1), CHANNEL)})
    fewer = site.run(whole.model_copy(update={"inputs": inputs_digest(site.profile)}))
    assert list(marks(fewer)) == ["4.96.2", "4.97.1"]
    assert away(fewer) == {}
    with pytest.raises(InputError, match=f"4.96.2 has {needed}"):
        site.run(fewer, forget=(needed,))
    site.has("4.96.3", "4.97.1")
    later = site.run(fewer, LATER)
    rule = f"release 4.96.2 is not of stable-4.96, the newest 1, {LATER}"
    assert away(later) == {needed: rule, kernel("4.96.2"): rule}
    assert since(later)[needed] == LATER


def test_a_word_that_takes_nothing_away_is_an_error_that_says_what_would(site: Site) -> None:
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.has("4.97.1")
    half = site.run(whole)
    cases = {
        "4.97.1": ("the update graph has 4.97.1", "exclude"),
        kernel("4.97.1"): ("4.97.1 has 5.14.0", "exclude"),
        "4.96.9": ("no such release", "gone and kept: 4.96.1"),
        "4.96.1-okd-scos.9": ("no such release", "gone and kept: 4.96.1"),
    }
    for word, (message, hint) in cases.items():
        with pytest.raises(InputError) as caught:
            site.run(half, forget=(word,))
        assert message in caught.value.message
        assert hint in caught.value.hint
    found = site.run(half, forget=(kernel("4.90.1"),))
    assert away(found) == {kernel("4.90.1"): f"forgotten by name, {DAY}"}, "a kernel that only a bundle has"
    assert len(found.releases) == 2


def test_a_changed_matrix_takes_away_what_it_no_longer_names_and_nothing_else(site: Site) -> None:
    site.has("4.96.1", "4.96.2", "4.97.1")
    whole = site.run()
    site.has("4.96.2")
    site.lost_payloads = {"4.96.1"}
    site.profile = site.profile.model_copy(update={"channels": site.profile.channels[:1]})
    found = site.run(whole)
    assert marks(found) == {"4.96.1": DAY, "4.96.2": None}, "it is kept though it cannot be read again"
    assert site.said("4.96.1 for x86_64 cannot be read again, so its pins are kept")
    assert away(found) == {kernel("4.97.1"): f"release 4.97.1 was of stable-4.97, which left matrix.yaml, {DAY}"}


def test_a_kernel_that_is_only_read_for_its_flavour_leaves_with_the_flavour(site: Site) -> None:
    site.profile = site.profile.model_copy(update={"flavours": ("standard", "64k")})
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.profile = site.profile.model_copy(update={"flavours": ("standard",)})
    reason = f"flavour 64k left matrix.yaml, {DAY}"
    assert away(site.run(whole)) == {f"{kernel(each)}+64k": reason for each in ("4.96.1", "4.97.1")}


def test_a_release_with_another_payload_in_the_graph_is_read_anew(site: Site) -> None:
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.replies["stable-4.96"] = Reply(200, graph("4.96.1").replace(digest("4.96.1"), digest("again")).encode())
    found = site.run(whole)
    assert (site.asked, marks(found)) == (["4.96.1"], {"4.96.1": None, "4.97.1": None})


@pytest.mark.parametrize("lost", ["half", "tail", "all edges"])
def test_a_graph_that_lost_nodes_on_the_way_changes_nothing(site: Site, lost: str) -> None:
    """The form is that of docs/design/cincinnati.md and cincinnati/src/lib.rs of openshift/cincinnati."""
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    text = graph("4.96.1", "4.96.2", "4.96.3")
    changed = json.loads(text)
    if lost == "half":
        changed["nodes"] = changed["nodes"][:2]
    elif lost == "all edges":
        del changed["edges"]
    body = text[: len(text) // 2] if lost == "tail" else json.dumps(changed)
    site.replies["stable-4.96"] = Reply(200, body.encode())
    with pytest.raises(ProtocolError) as caught:
        site.run(whole)
    assert caught.value.hint


# kind and value as commons/src/errors.rs of openshift/cincinnati gives them, each with its status; the last two are the
# words of openshift/release-controller (cmd/release-controller-api/http_upgrade_graph.go), which sends no JSON.
ERRORS = [
    (400, b'{"kind":"missing_params","value":"mandatory client parameters missing: channel"}'),
    (400, b'{"kind":"invalid_params","value":"invalid client parameters: channel \'X\' does not match regex"}'),
    (404, b'{"kind":"does_not_exist","value":"does not exist: graph"}'),
    (406, b'{"kind":"invalid_content_type","value":"invalid Content-Type requested"}'),
    (500, b'{"kind":"failed_upstream_fetch","value":"failed to fetch upstream graph: 502 Bad Gateway"}'),
    (200, b'{"kind":"failed_json_in","value":"failed to deserialize JSON: EOF"}'),
    (400, b"Unsupported ?channel, must be '', 'prerelease', 'nightly' or 'stable'\n"),
    (500, b"the lister is not ready\n"),
    (200, graph("4.97.1").replace("stable-", "stable-\N{POUND SIGN}").encode("latin-1")),
    (404, b"<html>proxy</html>"),
]


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(("status", "body"), ERRORS)
def test_an_answer_that_is_an_error_is_told_and_changes_nothing(site: Site, status: int, body: bytes) -> None:
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.replies["stable-4.97"] = Reply(status, body)
    with pytest.raises(KmatrixError) as caught:
        site.run(whole)
    assert not isinstance(caught.value, InputError)
    assert "update graph" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 1], [1, 3]], r"edges\[1\] names nodes\[3\], but there are only 3: some were lost"),
        ([[-1, 1]], r"edges\[0\] names nodes\[-1\]"),
        ([[0]], r"edges\[0\] is not a pair"),
        ([[0, 1, 2]], r"edges\[0\] is not a pair"),
        ([[0, "1"]], r"edges\[0\] is not a pair"),
        ([[0, True]], r"edges\[0\] is not a pair"),
        ([{"from": 0, "to": 1}], r"edges\[0\] is not a pair"),
    ],
)
def test_edges_name_nodes_that_are_there(edges: list[Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read_graph(graph("4.96.1", "4.96.2", "4.96.3", edges=edges), "https://graph.example")


def test_packages_that_the_root_lost_stay_pinned_with_a_mark(site: Site) -> None:
    """A root in mid-update answers 404 for a line that it had; one that has nothing at all is an error as before."""
    site.has("4.96.1", "4.97.1")
    site.profile = site.profile.model_copy(update={"base_stream": "el10"})
    whole = site.run()
    site.lost_lines = {"el9"}
    half = site.run(whole)
    assert {pin.stream: pin.gone for pin in half.clients} == {"el9": DAY, "el10": None}
    assert half.unavailable == ()
    assert site.said(f"for el9 x86_64 has been gone from the package root since {DAY}")
    assert make_plan("one", site.profile, half).cells == make_plan("one", site.profile, whole).cells
    assert site.run().clients != whole.clients, "without a lock before it there is nothing to keep"
    site.lost_lines = set()
    assert site.run(half) == whole
    site.lost_lines = {"el9"}
    other = site.profile.model_copy(update={"key_fingerprint": "A" * 40})
    site.profile, mine = other, site.profile
    assert {pin.stream for pin in site.run(whole).clients} == {"el10"}, "what another key signed is not kept"
    site.profile, site.lost_lines = mine, {"el9", "el10"}
    with pytest.raises(InputError, match="has no packages for 1 client\n"):
        site.run(whole)


def test_a_graph_that_nothing_is_compared_with_is_taken_with_a_word(site: Site) -> None:
    site.has("4.96.1", "4.97.1")
    word = "there is no earlier lock: the graph's answer is taken as it is"
    whole = site.run()
    assert site.lines.count(word) == 1
    site.run(whole)
    assert word not in site.lines


def test_the_plan_shows_what_is_gone(site: Site) -> None:
    site.has("4.96.1", "4.97.1")
    whole = site.run()
    site.has("4.97.1")
    half = site.run(whole)
    before, after = (make_plan("one", site.profile, pins) for pins in (whole, half))
    assert after.cells == before.cells
    assert after.rows[0].reason == f"in: release 4.96.1 (gone from the graph since {DAY}; kept)"
    assert [row.reason for row in after.rows[1:]] == [row.reason for row in before.rows[1:]]


def test_a_lock_says_which_mark_is_wrong() -> None:
    data = json.loads((DATA / "matrix.lock").read_text())
    data["profiles"]["one"]["releases"][0]["gone"] = "yesterday"
    twice = {"kernel": "5.14.0-1.el9_4.x86_64", "arch": "x86_64", "reason": "forgotten"}
    data["profiles"]["one"]["retired"] = [twice, twice]
    with pytest.raises(InputError) as caught:
        read_lock(json.dumps(data))
    assert "releases[0].gone: 'yesterday' is not a day such as 2026-03-31" in str(caught.value)
    assert "5.14.0-1.el9_4.x86_64 on x86_64 is listed twice" in str(caught.value)
    assert RetiredPin.model_validate(twice).reason == "forgotten"


def test_a_release_of_two_channels_is_gone_when_no_channel_has_it() -> None:
    channels = (Channel(name="stable-4.96"), Channel(name="candidate-4.96"))
    both = Node(ReleaseVersion.parse("4.96.1"), ImageRef.parse(payload("4.96.1")), ("candidate-4.96", "stable-4.96"))
    other = replace(both, version=ReleaseVersion.parse("4.96.2"))
    one = {"stable-4.96": (other,), "candidate-4.96": (other, replace(both, channels=("candidate-4.96",)))}
    found = select_releases("one", channels, one, (both,))
    assert [(str(node.version), node.channels, node.gone) for node in found] == [
        ("4.96.1", ("stable-4.96", "candidate-4.96"), False),
        ("4.96.2", ("stable-4.96", "candidate-4.96"), False),
    ]
    none = {"stable-4.96": (other,), "candidate-4.96": (other,)}
    assert [node.gone for node in select_releases("one", channels, none, (both,))] == [True, False]


def test_the_command_line_passes_a_persons_word_on_and_plan_says_how_to_give_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DATA / "everything.yaml").read_text()
    (tmp_path / "matrix.yaml").write_text(text)
    stated = read_matrix(text).profile("one")
    data = json.loads((DATA / "matrix.lock").read_text())
    data["profiles"]["one"]["inputs"] = inputs_digest(stated)
    data["profiles"]["one"]["releases"][0]["gone"] = DAY
    data["profiles"]["one"]["clients"][0]["gone"] = LATER
    (tmp_path / stated.lock).write_text(json.dumps(data))
    words: list[object] = []

    def told(*arguments: object) -> ProfileLock:
        words.append(arguments[7])
        return cast("ProfileLock", arguments[5])

    monkeypatch.setattr(pins_command, "discover", told)
    common = ["--root", str(tmp_path), "--profile", "one"]
    assert main(["discover", *common, "--forget", "4.96.1", "--forget", kernel("4.96.9")]) == 0
    assert main(["discover", *common]) == 0
    assert words == [("4.96.1", kernel("4.96.9")), ()]
    capsys.readouterr()
    assert main(["plan", *common]) == 0
    said = capsys.readouterr().err
    assert (
        f"4.96.1 has been gone from the graph since {DAY}; kept (`nox -s discover -- --profile one --forget 4.96.1`"
        in said
    )
    assert f"has been gone from the package root since {LATER}; its pins are kept" in said
