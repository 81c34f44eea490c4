"""An image that several holders of one run need stays in the engine until the last of them lets it go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import docker.errors
import pytest

from kmatrix.effects.engine.docker.connection import Connection
from kmatrix.effects.engine.docker.images import Images
from kmatrix.values.engine import EngineImage
from kmatrix.values.errors import ToolError

PINNED = "registry.example/client@sha256:" + "a" * 64


class Api:
    """Has one image under some names; it is gone with its last name."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.pulls = 0
        self.refuses_tags = False

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.names:
            raise docker.errors.NotFound("404", explanation="none")
        tags = [each for each in self.names if "@" not in each]
        digests = [each for each in self.names if "@" in each]
        return {"Id": "sha256:1", "Architecture": "amd64", "RepoTags": tags, "RepoDigests": digests}

    def pull(self, repository: str, tag: str, **_: object) -> Iterator[dict[str, str]]:
        self.pulls += 1
        self.names.add(f"{repository}@{tag}")
        yield {}

    def tag(self, image: str, repository: str, tag: str) -> None:
        if self.refuses_tags:
            raise docker.errors.APIError("500", explanation="no room")
        self.inspect_image(image)
        self.names.add(f"{repository}:{tag}")

    def remove_image(self, name: str, noprune: bool) -> None:
        self.inspect_image(name)
        self.names.discard(name)


@pytest.fixture
def api() -> Api:
    return Api()


def images_of(api: Api, run_id: str) -> Images:
    """The real methods for images, with the API instead of a connection."""
    images = Images.__new__(Images)
    for name, value in {"_lock": threading.Lock(), "_stopping": threading.Event()}.items():
        setattr(images, name, value)
    cast("Any", images)._api = api
    images._run_id, images._held, images.pulls = run_id, {}, 0
    assert isinstance(images, Connection)
    return images


def test_an_image_with_two_holders_stays_until_both_let_it_go(api: Api) -> None:
    images = images_of(api, "one")
    images.hold(PINNED, None)
    images.hold(PINNED, None)
    images.let_go(PINNED)
    assert images.image(PINNED) is not None, "another cell is in its gates on it"
    assert images.own_name("held-") in {name[: len(images.own_name("held-"))] for name in api.names}
    images.let_go(PINNED)
    assert (api.names, api.pulls) == (set(), 1)


def test_an_image_that_was_there_before_stays_after_its_last_holder(api: Api) -> None:
    api.names.add(PINNED)
    images = images_of(api, "one")
    for _ in range(2):
        images.hold(PINNED, None)
    for _ in range(2):
        images.let_go(PINNED)
    assert api.names == {PINNED}


def test_an_image_that_another_run_holds_stays(api: Api) -> None:
    one, other = images_of(api, "one"), images_of(api, "other")
    one.hold(PINNED, None)
    other.hold(PINNED, None)
    one.let_go(PINNED)
    assert PINNED in api.names
    other.let_go(PINNED)
    assert api.names == set()


def test_an_image_that_was_there_before_two_runs_stays_after_both(api: Api) -> None:
    api.names.add(PINNED)
    one, other = images_of(api, "one"), images_of(api, "other")
    one.hold(PINNED, None)
    other.hold(PINNED, None)
    one.let_go(PINNED)
    other.let_go(PINNED)
    assert api.names == {PINNED}


def test_an_engine_that_fails_when_an_image_is_let_go_changes_no_outcome(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(name: str) -> EngineImage | None:
        raise ToolError(f"the engine cannot inspect {name}", "Read its log.")

    images = images_of(api, "one")
    images.hold(PINNED, None)
    monkeypatch.setattr(images, "image", failing)
    images.let_go(PINNED)


class LackingApi(Api):
    """Has an image without one of its layers, as containerd's store does after a pull; only containers have labels."""

    def __init__(self) -> None:
        super().__init__()
        self.containers: set[str] = set()

    def inspect_image(self, name: str) -> dict[str, Any]:
        empty = {"Cmd": None, "Labels": None, "User": ""}
        return {**super().inspect_image(name), "Architecture": "", "Config": empty}

    def create_container(self, image: str, entrypoint: list[str], labels: dict[str, str]) -> dict[str, str]:
        self.labels = {"of the image": "yes", **labels}
        self.containers.add("c1")
        return {"Id": "c1"}

    def inspect_container(self, name: str) -> dict[str, Any]:
        assert name in self.containers
        return {"Config": {"Labels": self.labels}}

    def remove_container(self, name: str, **_: object) -> None:
        self.containers.remove(name)


def test_the_labels_of_an_image_that_lacks_a_layer_are_those_of_its_containers() -> None:
    api = LackingApi()
    images = images_of(api, "one")
    images._running = set()
    images.hold(PINNED, None)
    found = images.image(PINNED)
    assert found is not None
    assert found.labels == {"of the image": "yes"}
    assert api.labels.keys() > found.labels.keys(), "the run's own label is none of the image's"
    assert (api.containers, images._running) == (set(), set())


def test_a_hold_that_failed_is_none(api: Api) -> None:
    images = images_of(api, "one")
    images.hold(PINNED, None)
    api.refuses_tags = True
    with pytest.raises(ToolError):
        images.hold(PINNED, None)
    images.let_go(PINNED)
    assert api.names == set()


def test_an_image_that_a_failed_attempt_pulled_is_removed_after_the_next_one(api: Api) -> None:
    images = images_of(api, "one")
    api.refuses_tags = True
    with pytest.raises(ToolError):
        images.hold(PINNED, None)
    api.refuses_tags = False
    images.hold(PINNED, None)
    images.let_go(PINNED)
    assert (api.names, api.pulls) == (set(), 1)


def test_an_image_that_was_let_go_can_be_held_again(api: Api) -> None:
    images = images_of(api, "one")
    for pulls in (1, 2):
        images.hold(PINNED, None)
        assert images.image(PINNED) is not None
        images.let_go(PINNED)
        assert (api.names, api.pulls) == (set(), pulls)
