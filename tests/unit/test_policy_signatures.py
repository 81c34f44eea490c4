"""`manifests` asks the registry before it writes a policy: no node may get one that refuses the images it pulls."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kmatrix.values.bundle import BundleImage
from kmatrix.values.errors import Exit
from tests.unit.support.hand_signed import new_key, put_signature, write_public
from tests.unit.support.http_server import Reply
from tests.unit.support.image_registry import ImageRegistry, image_registry
from tests.unit.support.made_up_profile import KERNELS, digest
from tests.unit.support.manifests_project import SETTINGS, bundle, deploy_folder, manifests, write_file, write_project

CLIENT = "8.2.2"
NAME = "team/beegfs-client"
KERNEL = KERNELS["el9"][2]
FIRST, SECOND = "keys/first.pub", "keys/second.pub"
# Of the bundle's list, of the image in it, and of the image for Kernel Module Management.
LIST, LISTED, MODULE = digest("1"), digest("2"), digest("3")
UNWRITTEN = "not written: components/image-policy: "


@dataclass(frozen=True)
class Place:
    """A project whose policy has one of two keys, and the registry of its bundle."""

    root: Path
    server: ImageRegistry
    first: ec.EllipticCurvePrivateKey
    second: ec.EllipticCurvePrivateKey

    def sign(self, *keys: ec.EllipticCurvePrivateKey, about: tuple[str, ...] = (LIST, LISTED, MODULE)) -> None:
        for each in about:
            put_signature(self.server, NAME, each, *((key, each) for key in keys))

    def policies(self) -> list[str]:
        components = deploy_folder(self.root) / "components"
        assert (components / "privileged").is_dir(), "the other components are written in any case"
        return sorted(path.name for path in components.glob("image-policy*"))


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A published bundle of one architecture, in a list, that nobody has signed yet."""
    for name in SETTINGS:
        monkeypatch.delenv(f"KMATRIX_{name}", raising=False)
    root = write_project(tmp_path / "project", (CLIENT,))
    keys = new_key(), new_key()
    (root / "keys").mkdir()
    for key, path in zip(keys, (FIRST, SECOND), strict=True):
        write_public(key, root / path)
    with (root / "matrix.yaml").open("a") as matrix:
        matrix.write(f"    image_signing: {{public_keys: [{FIRST}, {SECOND}]}}\n")
    with image_registry() as server:
        repository = f"{server.web.address}/{NAME}"
        published = bundle(
            CLIENT,
            image=f"{repository}:{CLIENT}",
            digest=LIST,
            images=(BundleImage("x86_64", LISTED, 1, {KERNEL: 1}, 1),),
            modules={KERNEL: f"{repository}@{MODULE}"},
        )
        write_file(root, [published])
        yield Place(root, server, *keys)


def test_a_policy_is_written_for_images_that_its_key_verifies(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.sign(place.second, place.first)
    assert manifests(place.root) == Exit.OK
    assert len(place.policies()) == 3
    assert "image-policy" not in capsys.readouterr().err


def test_while_both_keys_sign_a_policy_may_have_either(place: Place) -> None:
    place.sign(place.first, place.second)
    matrix = place.root / "matrix.yaml"
    data = []
    for order in (f"{FIRST}, {SECOND}", f"{SECOND}, {FIRST}"):
        text = matrix.read_text(encoding="utf-8")
        matrix.write_text(f"{text.partition('public_keys: [')[0]}public_keys: [{order}]}}\n", encoding="utf-8")
        assert manifests(place.root) == Exit.OK
        path = deploy_folder(place.root) / "components" / "image-policy" / "clusterimagepolicy.yaml"
        data += re.findall(r"keyData: (\S+)", path.read_text(encoding="utf-8"))
    assert [base64.b64decode(each) for each in data] == [(place.root / path).read_bytes() for path in (FIRST, SECOND)]


def test_no_policy_is_written_for_unsigned_images(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.sign(place.first)
    assert manifests(place.root) == Exit.OK
    place.server.repository(NAME).tags.clear()
    assert manifests(place.root) == Exit.FAILED
    assert place.policies() == [], "that of the earlier run would refuse the images too"
    assert (deploy_folder(place.root) / "prebuilt" / CLIENT / "kustomization.yaml").is_file()
    said = capsys.readouterr().err
    assert UNWRITTEN in said
    assert f"would refuse {place.server.web.address}/{NAME}@{LIST} and 2 more: the registry has no signature" in said
    assert "run `nox -s build -- --profile here" in said
    assert "public_keys" in said
    assert "to the front" not in said


@pytest.mark.parametrize("lacking", [LIST, LISTED, MODULE])
def test_every_image_that_a_node_pulls_needs_the_signature(
    place: Place, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    place.sign(place.first, about=tuple({LIST, LISTED, MODULE} - {lacking}))
    assert manifests(place.root) == Exit.FAILED
    assert place.policies() == []
    assert f"@{lacking}: the registry has no signature that {FIRST}" in capsys.readouterr().err


def test_images_of_another_listed_key_say_which_one_the_policy_could_have(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.sign(place.second)
    assert manifests(place.root) == Exit.FAILED
    assert place.policies() == []
    assert f"or move {SECOND}, which verifies all of them, to the front of public_keys" in capsys.readouterr().err


def test_a_key_that_other_images_lack_is_not_named_instead(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """At the front of public_keys, it would only change which images are refused."""
    place.sign(place.second, about=(LISTED, MODULE))
    place.sign(place.first, about=(LIST,))
    assert manifests(place.root) == Exit.FAILED
    said = capsys.readouterr().err
    assert f"@{LISTED} and 1 more: the registry has no signature that {FIRST}" in said
    assert "with its private key\n" in said
    assert "to the front" not in said


def test_a_signature_about_another_image_is_none(place: Place) -> None:
    place.sign(place.first)
    put_signature(place.server, NAME, LIST, (place.first, LISTED))
    assert manifests(place.root) == Exit.FAILED


@pytest.mark.parametrize(("status", "reason"), [(503, "503"), (403, "demands a credential")])
def test_a_registry_that_gives_no_answer_is_no_signature_and_no_refusal(
    place: Place, capsys: pytest.CaptureFixture[str], slept: list[float], status: int, reason: str
) -> None:
    place.sign(place.first)
    asked: list[str] = []

    def refuse(request: Any) -> Reply:
        asked.append(request.target)
        return Reply(status)

    place.server.instead = refuse
    assert manifests(place.root) == Exit.OK
    assert len(place.policies()) == 3
    said = capsys.readouterr().err
    assert f"warning: it is not known whether {FIRST} verifies 3 of the images" in said
    assert reason in said, said
    assert f"--remote {place.server.web.address}/{NAME}@{LIST} --key {FIRST}`" in said
    assert {each.rpartition("/")[2] for each in asked if ".sig" in each} == {f"{LIST.replace(':', '-')}.sig"}, slept


def test_an_image_known_to_be_unsigned_weighs_more_than_one_that_is_not_known(
    place: Place, capsys: pytest.CaptureFixture[str], slept: list[float]
) -> None:
    tag = f"{MODULE.replace(':', '-')}.sig"
    place.server.instead = lambda request: Reply(503) if tag in request.target else None
    assert manifests(place.root) == Exit.FAILED
    assert place.policies() == [], slept
    assert "and 1 more" in capsys.readouterr().err


def test_a_malformed_answer_about_one_image_leaves_the_others_to_be_asked(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = f"{LIST.replace(':', '-')}.sig"
    place.server.instead = lambda request: Reply(418) if tag in request.target else None
    assert manifests(place.root) == Exit.FAILED
    assert place.policies() == []
    assert f"@{LISTED} and 1 more" in capsys.readouterr().err


def test_credentials_that_cannot_be_read_leave_it_unknown(
    place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place.sign(place.first)
    authfile = tmp_path / "auth.json"
    authfile.write_text("{")
    assert manifests(place.root, "--authfile", str(authfile)) == Exit.OK
    assert "it is not known whether" in capsys.readouterr().err


def test_nothing_is_asked_where_nothing_is_published(place: Place) -> None:
    write_file(place.root, [replace(bundle(CLIENT), digest="", verdict="errored")])
    assert manifests(place.root, "--method", "in-cluster-build") == Exit.OK
    assert len(place.policies()) == 3
    assert place.server.web.requests == []
