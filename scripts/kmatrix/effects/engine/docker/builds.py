"""Builds with Docker's classic builder, and the intermediate images that they leave in the engine."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from kmatrix.effects.engine.build_context import labelled_context
from kmatrix.effects.engine.docker.build_notes import BuildNotes, read_notes
from kmatrix.effects.engine.docker.containers import RUN_LABEL
from kmatrix.effects.engine.docker.errors import build_error, engine_errors
from kmatrix.effects.engine.docker.images import Images, names_of
from kmatrix.effects.engine.docker.log import BuildLog, steps_done
from kmatrix.effects.engine.protocol import Network
from kmatrix.values.errors import ToolError
from kmatrix.values.text import plain


class Builds(Images):
    """See `Engine` for every public method.

    Docker labels neither the containers of a build nor the images before the last one, so the run remembers them, and
    notes them on disk for the run after it, in case it is killed.
    """

    def __init__(self, run_id: str, notes: Path | None = None) -> None:
        """Connect as `Connection` does.

        Args:
            run_id: the id of this run.
            notes: the folder of all runs' notes; without it nothing is noted.
        """
        super().__init__(run_id)
        self.builds = 0
        self._folder = notes
        self._notes = BuildNotes(notes / run_id) if notes else None
        self._intermediate: list[str] = []

    @property
    def intermediate_images(self) -> tuple[str, ...]:
        """The images that this run's builds made on the way or found in the cache, oldest first; bases are none."""
        with self._lock:
            return tuple(self._intermediate)

    def build(
        self,
        context: bytes,
        *,
        on_line: Callable[[str], None],
        target: str | None = None,
        network: Network = "none",
        buildargs: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        tag: str | None = None,
        no_cache: bool = False,
        cache_from: Sequence[str] = (),
    ) -> str:
        """See `Engine.build`."""
        self.builds += 1
        last, error, container, log = "", "", "", BuildLog()
        with self._asking("build"):
            stream = self._api.build(
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
            for part in stream:
                self.raise_if_stopping()
                error = error or str(part.get("error", ""))
                for line in plain(str(part.get("stream") or part.get("error") or "")).splitlines():
                    on_line(line)
                    log.add(line)
                    if log.container:
                        self._note("container", log.container)
                        container = self._track(container, log.container)
                    if log.image:
                        self._note("image", log.image)
                if "aux" in part:
                    last = part["aux"].get("ID", last)
        self._track(container, "")
        self.raise_if_stopping()
        if error:
            raise build_error(error, log.output)
        if not last:
            raise ToolError(
                "the engine ended the build without an image and without an error",
                "Run the command again; if that does not help, read the engine's own log.",
            )
        return last

    def steps_done(self, log: Iterable[str]) -> tuple[str, ...]:
        """See `Engine.steps_done`."""
        return steps_done(log)

    def _note(self, kind: str, name: str) -> None:
        with self._lock:
            if kind == "image":
                self._intermediate.append(name)
            if self._notes:
                self._notes.note(kind, name)

    def remove_leftovers(self, run_id: str = "") -> None:
        """See `Engine.remove_leftovers`."""
        ended = run_id or self._run_id
        with engine_errors("list containers"):
            left = self._api.containers(all=True, quiet=True, filters={"label": f"{RUN_LABEL}={ended}"})
        for entry in left:
            self.remove_container(entry["Id"])
        for name in self.image_names(names_of(ended)):
            self._remove_image(name)
        # Afterwards: an image that has a name, or was made into one with a name, is not intermediate.
        if ended == self._run_id:
            self._remove_own()
        elif self._folder:
            self._remove_noted(self._folder / ended)

    def _remove_own(self) -> None:
        made = self.intermediate_images
        for image in reversed(made):
            self._remove_intermediate(image)
        with self._lock:
            # A build that has not ended yet may have made more meanwhile.
            del self._intermediate[: len(made)]
            if self._notes and not self._intermediate:
                self._notes.forget()

    def _remove_noted(self, path: Path) -> None:
        notes = read_notes(path)
        for container in notes.containers:
            self.remove_container(container)
        for image in reversed(notes.images):
            self._remove_intermediate(image)
        BuildNotes(path).forget()

    def _remove_intermediate(self, image: str) -> None:
        """Remove an image of a build unless it has a name, also one by digest, or something needs it."""
        found = self.image(image)
        if found is not None and not found.names:
            self._remove_image(image)
