"""`lab up`, `status`, `down`, `reset`: brings the lab to the state that its definitions describe, step by step.

For the tests alone it also builds an older run-time base, which is no part of that state.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.lab.servers import running, serves, stop_server
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.lab import releases, services
from kmatrix.lab.archive import archive_packages
from kmatrix.lab.images import OLDER_PACKAGES, OLDER_SUITE, definition, ensure_base, ensure_image
from kmatrix.lab.kernels import LabKernels, choose_kernels
from kmatrix.lab.keys import ensure_keys, keys_are_there
from kmatrix.lab.layout import IMAGES, LAB_LABEL, Layout
from kmatrix.lab.packages import make_packages
from kmatrix.lab.publishing import graph_is_current, publish_image, publish_payload, publish_toolkit, write_graph
from kmatrix.lab.releases import PublishedRelease, toolkit_labels
from kmatrix.lab.state import added, read_state, releases_of, with_added, write_state
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import ImageRef

Say = Callable[[str], None]
_DEFINITIONS = ("toolkit-base", "toolkit", "services", "workshop", "runtime", "client")


@dataclass(frozen=True)
class LabStatus:
    """The state of the lab: its parts, each with whether it is ready and a description."""

    parts: tuple[tuple[str, bool, str], ...]

    @property
    def up(self) -> bool:
        """Whether every part is ready."""
        return all(ready for _, ready, _ in self.parts)


def status(engine: Engine, layout: Layout, profile: Profile) -> LabStatus:
    """Return the state of the lab without changing it; quick."""
    made = _made(layout, profile)
    state = read_state(layout)
    # Checkouts share the names of these images, and a reset of another one removes them.
    kept = made and engine.image(state["workshop"]) is not None
    content = _content(state) if made else "not built yet, or from other definitions"
    parts = [("content", kept, content if kept or not made else f"{state['workshop']}: this image was removed")]
    has_keys = keys_are_there(layout)
    parts.append(("keys", has_keys, f"{layout.keys.relative_to(layout.root)}" if has_keys else "not created yet"))
    for server in services.servers(layout):
        word = f"{server.address}, container {server.container}"
        ready = running(engine, server)
        if not ready:
            word = "not running"
        elif made and not serves(server, services.PROOFS[server.name]):
            ready, word = False, f"{word}: running, but its content is missing"
        parts.append((server.name, ready, word))
    if made:
        parts.append(_releases(layout, state))
    return LabStatus(tuple(parts))


def up(engine: Engine, layout: Layout, profile: Profile, say: Say) -> bool:
    """Build and start everything that is missing; return whether anything was.

    Raises:
        ToolError, InputError, UnreachableError: a step failed; finished parts stay, the next `up` resumes.
    """
    if status(engine, layout, profile).up:
        return False
    if ensure_keys(layout):
        say(f"keys: created in {layout.keys.relative_to(layout.root)}")
    if not _made(layout, profile):
        say("creating it takes about four minutes, once")
    base = ensure_base(engine, say)
    if not _made(layout, profile):
        # Its folder may have been removed and created again: a running server would keep the removed one.
        stop_server(engine, services.servers(layout)[1])
    with ThreadPoolExecutor(2) as pool:
        servers_image = pool.submit(ensure_image, engine, layout, "services", base, say)
        toolkit_base = ensure_image(engine, layout, "toolkit-base", base, say)
        for start, name in ((services.start_registry, "image registry"), (services.start_web, "web server")):
            if start(engine, layout, servers_image.result()):
                say(f"{name}: started")
    before = read_state(layout)
    if _made(layout, profile):
        # An interrupted `release` or `retract` may have left the graph behind the state.
        write_graph(layout, releases_of(before))
    if status(engine, layout, profile).up:
        return True
    kernels = _kernels(engine, layout, toolkit_base, say)
    with ThreadPoolExecutor(2) as pool:
        toolkits = pool.submit(_toolkits, engine, layout, toolkit_base, kernels, say)
        try:
            workshop = ensure_image(engine, layout, "workshop", toolkit_base, say)
            runtime = ensure_image(engine, layout, "runtime", workshop, say)
            publish_image(engine, layout, profile.base.path, profile.base.tag or "latest", runtime)
            if profile.key_file is None:
                raise InputError(
                    "profile lab: key_fingerprint must be file:PATH, the lab creates its own key",
                    "Write it in matrix.yaml as version control has it, and give no --key-fingerprint.",
                )
            make_packages(engine, layout, workshop, profile.clients, layout.root / profile.key_file, say)
        except BaseException:
            engine.stop()
            raise
        digests = toolkits.result()
    say("releases: OS images, payload images and update graph")
    state = {
        "inputs": lab_inputs(layout, profile),
        "kernels": kernels.as_dict(),
        "toolkits": digests,
        "workshop": workshop,
        "services": servers_image.result(),
        "payloads": {
            each.version: publish_payload(
                engine,
                layout,
                each.version,
                releases.streams_of(each, digests, kernels.as_dict()),
                each.layer_on_top,
            )
            for each in releases.RELEASES
        },
        "taken": before.get("taken", []),
    }
    state = with_added(state, _kept(layout, added(before), say))
    write_graph(layout, releases_of(state))
    write_state(layout, state)
    return True


def _kept(layout: Layout, later: Iterable[PublishedRelease], say: Say) -> tuple[PublishedRelease, ...]:
    """Return the releases of `lab release` that the registry still has."""
    registry = Registry(load_credentials(None))
    found = []
    for release in later:
        ref = ImageRef.parse(release.payload)
        if ref.host == layout.registry and registry.manifest(ref, "x86_64") is not None:
            found.append(release)
        else:
            say(f"release {release.version}: gone, as its payload is; `nox -s lab -- release` publishes another one")
    return tuple(found)


def older_base(engine: Engine, layout: Layout, profile: Profile, say: Say) -> str:
    """Build a run-time base whose bash, kmod and coreutils are as old as those of UBI 9; return its name by digest.

    The lab itself does not need it, and its suite's archive will not be there for ever.

    Raises:
        ToolError: it cannot be built.
        UnreachableError: the engine went away.
    """
    base = ensure_base(engine, say, OLDER_SUITE)
    image = ensure_image(engine, layout, "runtime", base, say, {"PACKAGES": OLDER_PACKAGES})
    return publish_image(engine, layout, profile.base.path, OLDER_SUITE, image)


def down(engine: Engine, layout: Layout) -> bool:
    """Stop the servers, and return whether any ran; images, files and volumes stay."""
    return any(tuple(stop_server(engine, server) for server in services.servers(layout)))


def reset(engine: Engine, layout: Layout) -> None:
    """Remove every part of the lab: servers, registry volume, files, images.

    Images have no mark of the checkout that built them, because checkouts share them: those of other checkouts with
    the same registry address, and every image that is named `kmatrix-lab/…`, are removed too.
    """
    down(engine, layout)
    engine.remove_volume(layout.registry_container)
    for name in engine.image_names():
        if name.startswith((f"{IMAGES}/", f"{layout.registry}/")):
            engine.remove_image(name)
    shutil.rmtree(layout.folder, ignore_errors=True)


def _made(layout: Layout, profile: Profile) -> bool:
    return read_state(layout).get("inputs") == lab_inputs(layout, profile)


def _releases(layout: Layout, state: dict[str, Any]) -> tuple[str, bool, str]:
    """Return the part `update graph`: whether it is the state's, and the releases that were published later."""
    known = releases_of(state)
    words = [each.version for each in releases.published(state["payloads"])]
    for each in added(state):
        kernel = f"toolkit {each.kernel}, nodes {each.node_kernel}" if each.broken else each.kernel
        words.append(f"{each.version} ({kernel}; {', '.join(each.channels)})")
    if graph_is_current(layout, known):
        return "update graph", True, ", ".join(words)
    return "update graph", False, f"not up to date with {', '.join(words)}"


def _content(state: dict[str, Any]) -> str:
    return "kernels " + ", ".join(sorted(state["kernels"].values()))


def lab_inputs(layout: Layout, profile: Profile) -> str:
    """Return a digest over everything that the lab is built from."""
    digest = hashlib.sha256()
    for name in _DEFINITIONS:
        folder = layout.images(name)
        for path, content in sorted(definition(folder).items()):
            digest.update(f"{(folder / path).relative_to(layout.root)}\0".encode() + content)
    digest.update(f"{releases.RELEASES} {releases.TOOLKITS}".encode())
    digest.update(
        f"{layout.registry} {layout.web} {profile.base} {[str(client) for client in profile.clients]}".encode()
    )
    return digest.hexdigest()


def _kernels(engine: Engine, layout: Layout, toolkit_base: str, say: Say) -> LabKernels:
    known = layout.folder / "kernels.json"
    if known.exists():
        # Kernels stay until a reset, so that images built for them stay valid while the archive moves on.
        return LabKernels(**json.loads(known.read_text(encoding="utf-8")))
    kernels = choose_kernels(archive_packages(engine, toolkit_base, say))
    write_atomically(known, json.dumps(kernels.as_dict(), indent=1) + "\n")
    return kernels


def _toolkits(engine: Engine, layout: Layout, base: str, kernels: LabKernels, say: Say) -> dict[str, str]:
    """Build and publish the toolkits; return their references by digest, by name."""
    wanted = {
        "newer": {"KERNEL": kernels.newer, "RT_KERNEL": kernels.real_time},
        "older": {"KERNEL": kernels.older},
        "next-line": {"KERNEL": kernels.next_line},
    }

    def one(item: tuple[str, dict[str, str]]) -> tuple[str, str]:
        name, arguments = item
        rhel = releases.TOOLKITS[name][1]
        image = ensure_image(engine, layout, "toolkit", base, say, {**arguments, "RHEL_VERSION": rhel})
        say(f"toolkit {name}: publishing")
        if name == "next-line":
            return name, publish_toolkit(engine, layout, name, image, toolkit_labels(kernels.next_line, rhel))
        return name, publish_image(engine, layout, "lab/driver-toolkit", name, image)

    with ThreadPoolExecutor(2) as pool:
        digests = dict(pool.map(one, wanted.items()))
    # The same kernels under another digest, as a z-stream with an unchanged kernel has them.
    again = publish_toolkit(engine, layout, "newer-again", digests["newer"], {LAB_LABEL: "newer-again"})
    return {**digests, "newer-again": again}
