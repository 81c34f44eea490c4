"""The interface of a container engine: the methods that stages, lab, commands and bench need, and no others."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, Self

from kmatrix.values.engine import EngineImage, EngineInUse, Mount, RegistryLogin, RunOutput, ServerContainer
from kmatrix.values.names import Arch

Network = Literal["none", "default", "host"]


class Engine(Protocol):
    """One container engine for one run; every method may be called from several threads at once.

    An implementation promises this, beside the errors that each method names:

    - **Network.** With `none`, a build step or container reaches nothing, not even this machine; with `default` it
      reaches the outside world; `host` shares this machine's network.
    - **Bases.** A build pulls nothing and sends no credential: every image that its Dockerfile names was pulled before,
      and is used as it is in the engine, by the reference that the Dockerfile has (a digest or an id).
    - **Labels.** A build's labels are on the final image, each with exactly the given value, and on no other.
    - **Cache.** Where an instruction of the build is, by history and inputs, one that an image of `cache_from` was
      built with, the result is that image's very layer, byte for byte; the engine's own cache comes second. With
      `no_cache` neither is used. The bytes of a step that was not taken from a cache are the builder's own.
    - **Fault.** A build raises `StepFailedError` if and only if a program of a step ended with an exit code of its own:
      not if a signal killed it (a shell's 128 and more), nor for a file that cannot be copied, a full disk, a base
      that is gone, or an engine that went away. The error has the lines that the step's programs wrote, without
      those of the builder; `on_line` gets both. Whether the product is to blame is decided from those lines elsewhere.
    - **Interruption.** After `stop`, also from a signal handler's thread, every call under way ends soon and raises
      `InterruptedRunError`, as does every later one that would begin something; no container of the run goes on.
    - **Leftovers.** Whatever a run makes and no longer needs is the engine's own business: containers, names of the
      run's own, and the intermediate images of its builds, which it alone knows. It removes them in
      `remove_leftovers` and not earlier, since builds side by side share intermediate images; an image that has a
      name, or that something stands on, is never one. Leftovers of a killed run are found by its id.
    - **Names.** An image's id is opaque. It is accepted wherever a name or NAME@DIGEST is.
    - **Text.** The lines of a build, and error messages, are plain text: no control characters, no terminal sequences.
      A container's outputs are as its program wrote them, decoded from UTF-8.

    The product itself needs no `steps_done`, `take_archive` and `put_archive`: they serve the bench alone.
    """

    @property
    def run_id(self) -> str:
        """The id that tells this run's containers, names and files from those of other runs."""

    @property
    def builds(self) -> int:
        """How many builds were asked for."""

    @property
    def pulls(self) -> int:
        """How many images were pulled, those that the engine had already not counted."""

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""

    def __enter__(self) -> Self:
        """Return the engine itself."""

    def __exit__(self, *_: object) -> None:
        """Close the connections to the engine."""

    def in_use(self) -> EngineInUse:
        """Return which engine this is.

        Raises:
            UnreachableError, ToolError: the engine went away, or does not answer that.
        """

    def stop(self) -> None:
        """End everything under way: builds, and containers of this run."""

    def raise_if_stopping(self) -> None:
        """Raise `InterruptedRunError` if `stop` was called; for use between two parts of something long."""

    def remove_leftovers(self, run_id: str = "") -> None:
        """Remove the containers, names and intermediate images of a run that is over, by default of this one.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses; the next run removes the rest.
        """

    # Builds

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
        """Build an image and return its id.

        Args:
            context: a tar archive with a `Dockerfile`.
            on_line: called with every line of the builder and of the steps' programs, in order.
            target: the stage to stop at; the last one by default.
            network: of the steps' containers.
            buildargs: values of the Dockerfile's ARG instructions.
            labels: of the final image.
            tag: NAME:TAG that the final image gets.
            no_cache: run every step.
            cache_from: images in the engine.

        Raises:
            StepFailedError: a step's program ended with an exit code of its own.
            TakenAwayError: something else removed an image that the build stands on.
            UnreachableError: the engine went away.
            ToolError: anything else that kept the engine from building.
            InterruptedRunError: the run was told to stop.
        """

    def steps_done(self, log: Iterable[str]) -> tuple[str, ...]:
        """Return the instructions of a build that were carried out, in order: not those that a cache answered.

        Args:
            log: every line that a build gave to its `on_line`.
        """

    # Containers

    def container(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        network: Network = "none",
        user: str = "",
        mounts: Sequence[Mount] = (),
        stdin: bool = False,
    ) -> AbstractContextManager[str]:
        """Create a container that lasts as long as the context, and yield its id; it is not started.

        Args:
            image: a name or id that the engine has.
            command: the program that `run` starts, with its arguments; never the image's own entry point.
            network: of the container.
            user: UID:GID, the image's own by default.
            mounts: parts of this machine that it sees.
            stdin: whether `run` gives it a standard input.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
            InterruptedRunError: the run was told to stop.
        """

    def run(self, container: str, timeout_seconds: int = 120, stdin: bytes = b"") -> RunOutput:
        """Start a created container and return its outputs once it ended.

        Args:
            container: its id.
            timeout_seconds: the limit.
            stdin: its complete standard input, for a container that was created with one; the engine keeps no copy.

        Raises:
            UnreachableError, ToolError: the engine went away, or the container did not end in time.
            InterruptedRunError: the run was told to stop.
        """

    def read_file(self, container: str, path: str) -> bytes | None:
        """Return a file of a container, symbolic links followed; None if it is not there.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def read_tree(self, container: str, path: str) -> dict[str, bytes]:
        """Return every file below a folder of a container, by its path from the folder's own name on.

        Raises:
            UnreachableError, ToolError: the engine went away, or there is no such folder.
        """

    def root_files(self, container: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
        """Yield every entry of a container's file system with the archive to read it from, in one pass.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def take_archive(self, container: str, path: str) -> bytes:
        """Return a tar archive of a path of a container; its entries begin with the path's last name.

        Raises:
            UnreachableError, ToolError: the engine went away, or there is no such path.
        """

    def put_archive(self, container: str, folder: str, archive: bytes) -> None:
        """Unpack a tar archive in a folder of a container, which need not run.

        Raises:
            UnreachableError, ToolError: the engine went away, or there is no such folder.
        """

    # Images

    def own_name(self, word: str) -> str:
        """Return a name for an image that no other run gives, moves or removes; it is gone at the end of the run.

        Args:
            word: of the form of a tag.
        """

    def image(self, name: str) -> EngineImage | None:
        """Return an image by its name or id, or None if the engine has no such image.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def image_names(self, repository: str | None = None) -> tuple[str, ...]:
        """Return every NAME:TAG that an image of the engine has, or those in one repository.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def pull(self, pinned: str, login: RegistryLogin | None) -> None:
        """Pull an image unless the engine has it.

        Args:
            pinned: NAME@DIGEST; the lab alone pulls by NAME:TAG.
            login: the credential for its registry, if one is needed.

        Raises:
            UnreachableError: the registry cannot be reached.
            RegistryRefusalError: the registry refuses the credential.
            ToolError: the registry has no such image, or refuses otherwise.
            InterruptedRunError: the run was told to stop.
        """

    def hold(self, pinned: str, login: RegistryLogin | None) -> None:
        """Pull an image by digest unless the engine has it, and keep other runs from removing it.

        A run may hold one image several times. Each call that returned needs one call of `let_go`, and the image stays
        until the last of them; a call that raised holds nothing.

        Raises:
            TakenAwayError: another run removed it just after it was pulled.
            UnreachableError, RegistryRefusalError, ToolError, InterruptedRunError: as for `pull`.
        """

    def let_go(self, pinned: str) -> None:
        """Give up one hold of an image, and with the last one remove it.

        It stays if it was there before, or another run holds it.

        An engine that went away is no error here: the work that needed the image is done.
        """

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a name in the engine.

        Raises:
            UnreachableError, ToolError: the engine went away, or has no such image.
        """

    def push(self, repository: str, tag: str, login: RegistryLogin | None) -> None:
        """Push an image by its name. Ask the registry for the digest: engines differ in their reports.

        Raises:
            UnreachableError: the registry cannot be reached.
            RegistryRefusalError: the registry refuses the credential.
            ToolError: the registry refuses otherwise.
            InterruptedRunError: the run was told to stop.
        """

    def save(self, image: str) -> Iterator[bytes]:
        """Yield the archive of an image in pieces, as `docker save` writes it: Docker's own layout or OCI's.

        Raises:
            UnreachableError, ToolError: the engine went away, or has no such image.
        """

    def import_image(self, archive: Path, repository: str, tag: str, arch: Arch | None = None) -> None:
        """Make an image of one layer out of a root file system's tar archive, and give it a name.

        Args:
            archive: the root file system.
            repository: the part of the name before the tag.
            tag: the part after it.
            arch: of the image; by default the engine's own.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def remove_image(self, name: str) -> None:
        """Remove a name of an image, or an image by its id, if it is there and nothing uses it.

        The image is removed with its last name. An engine that went away is no error here: the next run clears up.
        """

    # Servers

    def start_server(self, server: ServerContainer) -> None:
        """Create a server's container and start it; a volume that is not there yet is created.

        Raises:
            AddressInUseError: something else listens on its address.
            UnreachableError, ToolError: the engine went away, or cannot start it.
        """

    def server_runs(self, container: str) -> bool:
        """Return whether the container of a server is there and runs.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def stop_server(self, container: str) -> bool:
        """Stop and remove the container of a server; return whether there was one.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def server_log(self, container: str, lines: int) -> str | None:
        """Return the last lines that a server wrote, or None if its container is gone.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def servers_on(self, port: int) -> tuple[str, ...]:
        """Return the names of the containers that listen on a port of this machine.

        Raises:
            UnreachableError, ToolError: the engine went away, or refuses.
        """

    def remove_volume(self, name: str) -> None:
        """Remove a volume if it is there.

        Raises:
            UnreachableError, ToolError: the engine went away, or the volume is in use.
        """
