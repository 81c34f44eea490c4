"""Docker's images: looked at, named, pulled, pushed, saved and removed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast

import docker.errors

from kmatrix.effects.engine.docker.connection import Connection, translated
from kmatrix.effects.engine.docker.containers import RUN_LABEL
from kmatrix.effects.engine.docker.errors import engine_errors
from kmatrix.effects.engine.docker.loading import write_loadable
from kmatrix.effects.engine.errors import TakenAwayError, registry_error
from kmatrix.values.engine import EngineImage, RegistryLogin
from kmatrix.values.errors import ToolError, UnreachableError
from kmatrix.values.names import Arch

_RUN_NAMES = "kmatrix-run"
# How the names begin by which runs hold an image: one that was there before them, and one that a run pulled.
_FOUND, _PULLED = "held-found-", "held-pulled-"


def names_of(run_id: str) -> str:
    """Return the repository, a local name only, of all names that a run gives."""
    return f"{_RUN_NAMES}/{run_id}"


@dataclass
class _Held:
    """The holders of one image in this run; `was_there` is whether the engine had it before the first of them.

    The lock keeps the last holder from removing the image while another one begins to hold it.
    """

    holders: int = 0
    was_there: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class Images(Connection):
    """See `Engine` for every public method."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.pulls = 0
        self._held: dict[str, _Held] = {}

    def own_name(self, word: str) -> str:
        """See `Engine.own_name`."""
        return f"{names_of(self._run_id)}:{word}"

    def image(self, name: str) -> EngineImage | None:
        """See `Engine.image`; API 1.52 and later leave empty fields out."""
        try:
            with engine_errors("inspect an image", absent_passes=True):
                inspect = cast("Callable[[str], dict[str, Any]]", self._api.inspect_image)
                found = inspect(name)
        except docker.errors.NotFound:
            return None
        labels = (found.get("Config") or {}).get("Labels") or {}
        if not found.get("Architecture"):
            labels = self._labels_of_container(name)
        return EngineImage(
            id=str(found["Id"]),
            names=tuple(str(each) for kind in ("RepoTags", "RepoDigests") for each in found.get(kind) or ()),
            labels={str(key): str(value) for key, value in labels.items()},
            size=int(found.get("Size") or 0),
        )

    def _labels_of_container(self, image: str) -> dict[str, str]:
        """Return the labels that a container of an image has, and so the image.

        Containerd's image store does not fetch a layer that is unpacked already. Of an image that lacks one, an engine
        reports an empty configuration and no architecture (moby, daemon/containerd/image_inspect.go), though it creates
        its containers.
        """
        with engine_errors("inspect an image"):
            created = self._api.create_container(image, entrypoint=["true"], labels={RUN_LABEL: self._run_id})
            name = self._track("", str(created["Id"]))
            try:
                labels = self._api.inspect_container(name)["Config"]["Labels"]
            finally:
                self._track(name, "")
                self.remove_container(name)
        return {key: value for key, value in labels.items() if key != RUN_LABEL}

    def image_names(self, repository: str | None = None) -> tuple[str, ...]:
        """See `Engine.image_names`."""
        with engine_errors("list images"):
            found = self._api.images(name=repository)
        names = tuple(str(name) for image in found for name in image.get("RepoTags") or [])
        return names if repository is None else tuple(name for name in names if name.startswith(f"{repository}:"))

    def pull(self, pinned: str, login: RegistryLogin | None) -> None:
        """See `Engine.pull`."""
        if self.image(pinned) is not None:
            return
        self.pulls += 1
        repository, _, digest = pinned.partition("@")
        error = ""
        with self._asking(f"pull {pinned}"):
            for part in self._api.pull(
                repository, tag=digest, stream=True, decode=True, auth_config=auth_config(login)
            ):
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
        if error:
            raise registry_error("pull", pinned, error)

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        """See `Engine.hold`; an image that another run gave a name of its own is not removed."""
        held = self._holders_of(pinned)
        with held.lock:
            # After an attempt that failed, the image may be there for this run's sake alone.
            if not held.holders and held.was_there:
                found = self.image(pinned)
                # An image that is there for another run's sake alone is removed by the last one that holds it.
                held.was_there = found is not None and not _pulled_by_runs(found)
            self.pull(pinned, login)
            try:
                self.tag(pinned, *self._held_name(pinned, held.was_there).split(":"))
            except ToolError as error:
                if self.image(pinned) is None:
                    raise TakenAwayError(f"{pinned} was removed as soon as it was pulled", error.hint) from error
                raise
            held.holders += 1

    def let_go(self, pinned: str) -> None:
        """See `Engine.let_go`."""
        held = self._holders_of(pinned)
        with held.lock:
            held.holders = max(0, held.holders - 1)
            if held.holders:
                return
            self.remove_image(self._held_name(pinned, held.was_there))
            if not held.was_there:
                # The work that needed the image is done: its outcome must not be lost to an engine that fails now.
                with suppress(UnreachableError, ToolError):
                    found = self.image(pinned)
                    if found is not None and not _held_by_runs(found):
                        self.remove_image(pinned)
            held.was_there = True

    def _holders_of(self, pinned: str) -> _Held:
        with self._lock:
            return self._held.setdefault(pinned, _Held())

    def _held_name(self, pinned: str, was_there: bool) -> str:
        # Other runs see by the name whether the image is there for the sake of runs alone.
        kind = _FOUND if was_there else _PULLED
        return self.own_name(kind + hashlib.sha256(pinned.encode()).hexdigest()[:16])

    def tag(self, image: str, repository: str, tag: str) -> None:
        """See `Engine.tag`."""
        with engine_errors("tag an image"):
            self._api.tag(image, repository, tag)

    def push(self, repository: str, tag: str, login: RegistryLogin | None) -> None:
        """See `Engine.push`."""
        error = ""
        with self._asking(f"push {repository}:{tag}"):
            for part in self._api.push(repository, tag, stream=True, decode=True, auth_config=auth_config(login)):
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
        if error:
            raise registry_error("push", f"{repository}:{tag}", error)

    def save(self, image: str) -> Iterator[bytes]:
        """See `Engine.save`."""
        doing = "save an image"
        with engine_errors(doing):
            chunks = cast("Iterator[bytes]", self._api.get_image(image))
        yield from translated(doing, chunks)

    def import_image(self, archive: Path, repository: str, tag: str, arch: Arch | None = None) -> None:
        """See `Engine.import_image`."""
        with engine_errors(f"import {repository}:{tag}"):
            if arch is None:
                self._api.import_image_from_file(str(archive), repository=repository, tag=tag)
                return
            with TemporaryFile() as file:
                write_loadable(archive, f"{repository}:{tag}", arch, file)
                file.seek(0)
                load = cast("Callable[..., Iterable[dict[str, Any]]]", self._api.load_image)
                # The engine works while its answer is read; an error in that is raised below.
                answers = list(load(file, quiet=True))
        error = next((str(each["error"]) for each in answers if "error" in each), "")
        if error or self.image(f"{repository}:{tag}") is None:
            raise ToolError(
                f"the engine did not load {repository}:{tag}: {error or 'it has no such image afterwards'}",
                "Run the command again; if that does not help, read the engine's own log.",
            )

    def remove_image(self, name: str) -> None:
        """See `Engine.remove_image`."""
        # An engine that went away must not spoil results that were reached by then.
        with suppress(UnreachableError):
            self._remove_image(name)

    def _remove_image(self, name: str) -> None:
        """Remove a name or an image, and the nameless images it was made from that nothing else was made from.

        These stay where the name is one of a run's own: they are intermediate images of the run's builds, another build
        of the same run may stand on them, and the run removes them at its end.

        Raises:
            UnreachableError: the engine went away.
        """
        try:
            with engine_errors("remove an image", absent_passes=True):
                self._api.remove_image(name, noprune=name.startswith(f"{_RUN_NAMES}/"))
        except (docker.errors.NotFound, ToolError):
            # Absent, or the base of another image: then it is not ours to remove.
            return


def _held_by_runs(image: EngineImage) -> bool:
    return any(name.startswith(f"{_RUN_NAMES}/") for name in image.names)


def _pulled_by_runs(image: EngineImage) -> bool:
    """Whether some run holds an image that a run pulled; one that was there before all of them has no such name."""
    return any(name.startswith(f"{_RUN_NAMES}/") and f":{_PULLED}" in name for name in image.names)


def auth_config(login: RegistryLogin | None) -> dict[str, str]:
    """Return the mapping that the SDK sends as it is in X-Registry-Auth.

    The names are those of the engine's own type (moby/moby, api/types/registry/authconfig.go), which prefers an
    identity token to a password.
    """
    if login is None:
        return {}
    values = {"username": login.username, "password": login.password, "identitytoken": login.identity_token}
    return {name: value for name, value in values.items() if value}
