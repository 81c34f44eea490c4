"""The container engine through the Docker SDK: build, run, read files, pull, tag, push.

The SDK reports failures inside its streams and does not raise for all of them; here they are raised.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import docker
import docker.errors
import requests

from kmatrix.effects.engine import sdk
from kmatrix.effects.engine.archives import ChunkReader, drain, entries, regular_files
from kmatrix.effects.engine.build_context import labelled_context
from kmatrix.effects.engine.errors import TakenAwayError, build_error, engine_errors, registry_error
from kmatrix.values.errors import InterruptedRunError, ToolError, UnreachableError
from kmatrix.values.text import plain

_RUNNING = re.compile(r"---> Running in ([0-9a-f]{12})")
_CREATED = re.compile(r"---> ([0-9a-f]{12})\s*$")
_FROM = re.compile(r"Step \d+/\d+ : FROM ")
_TIMEOUT_SECONDS = 600
RUN_LABEL = "io.github.beegfs-kmatrix.run"
_RUN_NAMES = "kmatrix-run"


@dataclass(frozen=True)
class RunOutput:
    """A finished container: exit status, standard output and standard error."""

    status: int
    stdout: str
    stderr: str


class Engine:
    """One engine for one run of the tool; safe to share between threads.

    `stop` ends builds and containers that are under way; each thread then raises `InterruptedRunError`.
    """

    def __init__(self, run_id: str, note: Callable[[str, str], None] = lambda *_: None) -> None:
        """Connect to the engine that DOCKER_HOST names, or the local one.

        Args:
            run_id: labels every container of this run, so that none is forgotten.
            note: is given each `container` and `image` that a build makes, which no label tells.

        Raises:
            UnreachableError: no engine answers.
        """
        self._run_id = run_id
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._note = note
        self._held: dict[str, bool] = {}
        # Whether what this run's builds left was removed by the run itself.
        self.tidied = False
        self.builds = 0
        self.pulls = 0
        with engine_errors("connect"):
            # The SDK asks the engine for its version here, so a silent engine is noticed at once.
            self.api = sdk.connect(timeout=_TIMEOUT_SECONDS, max_pool_size=32)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run_id(self) -> str:
        """What tells this run's containers and files from those of other runs."""
        return self._run_id

    def close(self) -> None:
        """Close the connections to the engine."""
        self.api.close()

    def version(self) -> str:
        """Return the engine's name, version and storage driver, for people."""
        with engine_errors("tell its version"):
            info = self.api.info()
        return f"Docker {info.get('ServerVersion')} ({info.get('Driver')})"

    # Builds

    def build(
        self,
        context: bytes,
        *,
        on_line: Callable[[str], None],
        target: str | None = None,
        network: str = "none",
        buildargs: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        tag: str | None = None,
        no_cache: bool = False,
        cache_from: Sequence[str] = (),
        steps: list[str] | None = None,
    ) -> str:
        """Build a context (a tar archive with a Dockerfile) with the classic builder; returns the image's id.

        Args:
            context: the archive.
            on_line: is given every line of output.
            target: the stage to stop at.
            network: network mode of the build's containers.
            buildargs, tag, no_cache: as the engine's API has them.
            cache_from: images whose layers are taken where their history says the same, before the engine's own cache.
            labels: of the image that the last stage makes.
            steps: is given the id of every image on the way, as soon as it is there; bases are not among them.

        Raises:
            BuildError: the build failed; the log tells why.
            UnreachableError: the engine went away.
            InterruptedRunError: the run was told to stop.
        """
        self.builds += 1
        last, error, base = "", "", False
        steps = [] if steps is None else steps
        with engine_errors("build"):
            stream = self.api.build(
                fileobj=io.BytesIO(labelled_context(context, labels or {})),
                custom_context=True,
                rm=True,
                forcerm=True,
                decode=True,
                target=target or "",
                network_mode=network,
                buildargs=dict(buildargs or {}),
                tag=tag,
                nocache=no_cache,
                cache_from=list(cache_from) or None,
                pull=False,
            )
            container = ""
            for part in stream:
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
                for line in plain(str(part.get("stream") or part.get("error") or "")).splitlines():
                    on_line(line)
                    if match := _RUNNING.search(line):
                        self._note("container", match[1])
                        container = self._track(container, match[1])
                    elif (match := _CREATED.search(line)) and not base:
                        self._note("image", match[1])
                        steps.append(match[1])
                    if line.startswith("Step "):
                        base = bool(_FROM.match(line))
                if "aux" in part:
                    last = part["aux"].get("ID", last)
        self._track(container, "")
        self.raise_if_stopping()
        if error:
            raise build_error(error)
        if not last:
            raise ToolError(
                "the engine ended the build without an image and without an error",
                "Run the command again; if it stays so, its own log tells why.",
            )
        return last

    def _track(self, old: str, new: str) -> str:
        with self._lock:
            self._running.discard(old)
            if new:
                self._running.add(new)
        return new

    def stop(self) -> None:
        """End what is under way: builds, containers of this run. Threads raise `InterruptedRunError`."""
        self._stopping.set()
        with self._lock:
            running = tuple(self._running)
        for container in running:
            # An engine that went away must not keep the others from being told, nor hide why the run ends.
            with suppress(UnreachableError):
                self.remove_container(container)

    def raise_if_stopping(self) -> None:
        """Between two parts of something long.

        Raises:
            InterruptedRunError: the run was told to stop.
        """
        if self._stopping.is_set():
            raise InterruptedRunError

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    # Containers

    @contextmanager
    def container(
        self, image: str, command: list[str] | None = None, network: str = "none", user: str = "", **host: Any
    ) -> Iterator[str]:
        """Create a container that is gone at the end; yields its id.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """
        self.raise_if_stopping()
        with engine_errors("create a container"):
            created = self.api.create_container(
                image,
                # As the entry point: an image's own must not run, nor get this as its arguments.
                entrypoint=command or ["true"],
                labels={RUN_LABEL: self._run_id},
                user=user,
                host_config=self.api.create_host_config(network_mode=network, **host),
            )
        name = str(created["Id"])
        self._track("", name)
        try:
            yield name
        finally:
            self._track(name, "")
            self.remove_container(name)

    def run(self, container: str, timeout_seconds: int = 120) -> RunOutput:
        """Start a created container and wait for its end.

        Raises:
            UnreachableError, ToolError: the engine went away, or it did not end in time.
        """
        with engine_errors("run a container"):
            self.api.start(container)
            try:
                status = int(self.api.wait(container, timeout=timeout_seconds)["StatusCode"])
            except (requests.ReadTimeout, requests.ConnectionError) as error:
                if "timed out" not in str(error).lower():
                    raise
                raise ToolError(
                    f"a container did not end within {timeout_seconds} s", "Is the machine busy?"
                ) from error
            stdout = self.api.logs(container, stdout=True, stderr=False)
            stderr = self.api.logs(container, stdout=False, stderr=True)
        self.raise_if_stopping()
        return RunOutput(status, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))

    def read_file(self, container: str, path: str) -> bytes | None:
        """Return a file out of a container (symlinks followed), or None if it is not there.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """
        for _ in range(8):
            try:
                with engine_errors("read a file of an image", absent_passes=True):
                    stream, stat = self.api.get_archive(container, path)
                    if stat.get("linkTarget"):
                        drain(stream)
                        path = str(stat["linkTarget"])
                        continue
                    files = regular_files(b"".join(stream))
            except docker.errors.NotFound:
                return None
            return next(iter(files.values()), None)
        raise ToolError(f"{path}: a chain of symbolic links without end", "Look at the image: no file is at its end.")

    def read_tree(self, container: str, path: str) -> dict[str, bytes]:
        """Return every file below a folder of a container, by its path from the folder's own name on.

        Raises:
            UnreachableError, ToolError: the engine went away, or there is no such folder.
        """
        with engine_errors("read a folder of an image"):
            stream, _ = self.api.get_archive(container, path)
            return regular_files(b"".join(stream))

    def root_files(self, container: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        """Yield every entry of a container's file system with the archive to read it from, in one pass.

        Raises:
            UnreachableError, ToolError: the engine went away.
        """
        with engine_errors("export an image"):
            stream = self.api.export(container)
            yield from entries(ChunkReader(stream), ends_with_zeros=True)

    def remove_container(self, container: str) -> None:
        """Remove a container if it is there."""
        try:
            with engine_errors("remove a container", absent_passes=True):
                self.api.remove_container(container, force=True, v=True)
        except (docker.errors.NotFound, ToolError):
            # Gone already, or going: the daemon answers 409 while a removal is under way.
            return

    def remove_leftovers(self, run_id: str = "") -> None:
        """Remove every container of a run, by default this one, that is still there, and every name that it gave."""
        label = f"{RUN_LABEL}={run_id or self._run_id}"
        with engine_errors("list containers"):
            left = self.api.containers(all=True, quiet=True, filters={"label": label})
        for entry in left:
            self.remove_container(entry["Id"])
        for name in self.image_names(_names_of(run_id or self._run_id)):
            self.remove_image(name, with_steps=False)

    def own_name(self, word: str) -> str:
        """A name for an image that no other run gives, moves or takes away; it is gone at the end of the run.

        Args:
            word: of the form of a tag.
        """
        return f"{_names_of(self._run_id)}:{word}"

    # Images

    def image(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image, or None if it has no such image."""
        try:
            with engine_errors("inspect an image", absent_passes=True):
                inspect = cast("Callable[[str], dict[str, Any]]", self.api.inspect_image)
                return inspect(name)
        except docker.errors.NotFound:
            return None

    def image_names(self, repository: str | None = None) -> tuple[str, ...]:
        """Every name with a tag of every image the engine has, or of those that have one in a repository."""
        with engine_errors("list images"):
            found = self.api.images(name=repository)
        names = tuple(str(name) for image in found for name in image.get("RepoTags") or [])
        return names if repository is None else tuple(name for name in names if name.startswith(f"{repository}:"))

    def pull(self, pinned: str, auth: dict[str, str] | None) -> None:
        """Pull an image by digest unless the engine has it.

        Raises:
            UnreachableError: the registry cannot be asked.
            ToolError: the registry has no such image, or refuses.
        """
        if self.image(pinned) is not None:
            return
        self.pulls += 1
        repository, _, digest = pinned.partition("@")
        error = ""
        with engine_errors(f"pull {pinned}"):
            for part in self.api.pull(repository, tag=digest, stream=True, decode=True, auth_config=auth or {}):
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
        if error:
            raise registry_error("pull", pinned, error)

    def hold(self, pinned: str, auth: dict[str, str] | None) -> None:
        """Pull an image by digest unless the engine has it, and give it a name of this run's own.

        Another run that pulled it, too, may remove what it pulled when it needs it no more; not what has such a name.

        Raises:
            UnreachableError: the registry cannot be asked.
            TakenAwayError: another run removed it between the two.
            ToolError: the registry has no such image, or refuses.
        """
        found = self.image(pinned)
        with self._lock:
            # What is there for another run's sake alone goes with the last that holds it.
            self._held.setdefault(pinned, found is not None and not _held_by_runs(found))
        self.pull(pinned, auth)
        try:
            self.tag(pinned, *self._held_name(pinned).split(":"))
        except ToolError as error:
            if self.image(pinned) is None:
                raise TakenAwayError(f"{pinned} was removed as soon as it was pulled", error.hint) from error
            raise

    def let_go(self, pinned: str) -> None:
        """Give up an image that this run held; if it was not there before, and no other run holds it, it is removed.

        An engine that went away keeps it: what was done with it is done.
        """
        with self._lock:
            known = self._held.pop(pinned, True)
        self.remove_image(self._held_name(pinned), with_steps=False)
        if not known:
            with suppress(UnreachableError):
                found = self.image(pinned)
                if found is not None and not _held_by_runs(found):
                    self.remove_image(pinned)

    def _held_name(self, pinned: str) -> str:
        return self.own_name("held-" + hashlib.sha256(pinned.encode()).hexdigest()[:16])

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a local name."""
        with engine_errors("tag an image"):
            self.api.tag(image, repository, tag)

    def push(self, repository: str, tag: str, auth: dict[str, str] | None) -> None:
        """Push a local tag. The registry knows what it got: not every engine tells, nor tells the registry's digest.

        Raises:
            UnreachableError: a transient fault of the registry, worth a retry.
            ToolError: the registry refuses.
        """
        error = ""
        with engine_errors(f"push {repository}:{tag}"):
            for part in self.api.push(repository, tag, stream=True, decode=True, auth_config=auth or {}):
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
        if error:
            raise registry_error("push", f"{repository}:{tag}", error)

    def remove_step(self, image: str) -> None:
        """Remove an image of a build unless it has a name, or something needs it."""
        found = self.image(image)
        if found is not None and not found.get("RepoTags"):
            self.remove_image(image)

    def remove_image(self, name: str, with_steps: bool = True) -> None:
        """Remove an image or a name of one if it is there and nothing uses it.

        Args:
            name: the image.
            with_steps: also the images it was made from, unless they have a name or something else was made from them.
        """
        try:
            with engine_errors("remove an image", absent_passes=True):
                self.api.remove_image(name, noprune=not with_steps)
        except (docker.errors.NotFound, ToolError, UnreachableError):
            # Absent, or the base of another image: then it is not ours to remove. And an engine that went away must not
            # take with it what was reached by then; the next run clears up.
            return


def _names_of(run_id: str) -> str:
    return f"{_RUN_NAMES}/{run_id}"


def _held_by_runs(image: Mapping[str, Any]) -> bool:
    return any(str(name).startswith(f"{_RUN_NAMES}/") for name in image.get("RepoTags") or ())
