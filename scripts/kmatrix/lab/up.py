"""`lab up`, `status`, `down`, `reset`: brings the lab to the state that its definitions describe, step by step.

For the tests alone it also builds an older run-time base, which is no part of that state.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.lab.servers import running, serves, stop_server
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.lab import releases, services
from kmatrix.lab.images import OLDER_PACKAGES, OLDER_SUITE, definition, ensure_base, ensure_image
from kmatrix.lab.kernels import LabKernels, choose_kernels
from kmatrix.lab.layout import IMAGES, LAB_LABEL, Layout
from kmatrix.lab.packages import make_packages
from kmatrix.values.errors import InputError, ToolError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import ImageRef

Say = Callable[[str], None]
_DEFINITIONS = ("toolkit-base", "toolkit", "services", "workshop", "runtime", "client")
_STATE_SCHEMA = 2


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
    state = _read_state(layout)
    # Checkouts share the names of these images, and a reset of another one removes them.
    kept = made and engine.image(state["workshop"]) is not None
    content = _content(state) if made else "not built yet, or from other definitions"
    parts = [("content", kept, content if kept or not made else f"{state['workshop']}: this image was removed")]
    for server in services.servers(layout):
        word = f"{server.address}, container {server.container}"
        ready = running(engine, server)
        if not ready:
            word = "not running"
        elif made and not serves(server, services.PROOFS[server.name]):
            ready, word = False, f"{word}: running, but its content is missing"
        parts.append((server.name, ready, word))
    return LabStatus(tuple(parts))


def up(engine: Engine, layout: Layout, profile: Profile, say: Say) -> bool:
    """Build and start everything that is missing; return whether anything was.

    Raises:
        ToolError, InputError, UnreachableError: a step failed; finished parts stay, the next `up` resumes.
    """
    if status(engine, layout, profile).up:
        return False
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
    if status(engine, layout, profile).up:
        return True
    kernels = _kernels(engine, layout, toolkit_base, say)
    with ThreadPoolExecutor(2) as pool:
        toolkits = pool.submit(_toolkits, engine, layout, toolkit_base, kernels, say)
        try:
            workshop = ensure_image(engine, layout, "workshop", toolkit_base, say)
            runtime = ensure_image(engine, layout, "runtime", workshop, say)
            _publish(engine, layout, profile.base.path, profile.base.tag or "latest", runtime)
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
    _releases(engine, layout, digests, say)
    state = {
        "schema": _STATE_SCHEMA,
        "inputs": lab_inputs(layout, profile),
        "kernels": kernels.as_dict(),
        "toolkits": digests,
        "workshop": workshop,
        "services": servers_image.result(),
    }
    write_atomically(layout.state, json.dumps(state, indent=1, sort_keys=True) + "\n")
    return True


def older_base(engine: Engine, layout: Layout, profile: Profile, say: Say) -> str:
    """Build a run-time base whose bash, kmod and coreutils are as old as those of UBI 9; return its name by digest.

    The lab itself does not need it, and its suite's archive will not be there for ever.

    Raises:
        ToolError: it cannot be built.
        UnreachableError: the engine went away.
    """
    base = ensure_base(engine, say, OLDER_SUITE)
    image = ensure_image(engine, layout, "runtime", base, say, {"PACKAGES": OLDER_PACKAGES})
    return _publish(engine, layout, profile.base.path, OLDER_SUITE, image)


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
    return _read_state(layout).get("inputs") == lab_inputs(layout, profile)


def lab_state(layout: Layout) -> dict[str, Any]:
    """Return the parts of the lab: kernels by role, toolkit digests, image names.

    Raises:
        InputError: it is not up.
    """
    state = _read_state(layout)
    if not state:
        raise InputError("the lab is not up", "Run `nox -s lab -- up`.")
    return state


def _read_state(layout: Layout) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(layout.state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if state.get("schema") == _STATE_SCHEMA else {}


def _content(state: dict[str, Any]) -> str:
    return "kernels " + ", ".join(sorted(state["kernels"].values()))


def lab_inputs(layout: Layout, profile: Profile) -> str:
    """Return a digest over everything that the lab is built from."""
    digest = hashlib.sha256()
    for name in _DEFINITIONS:
        folder = layout.images(name)
        for path, content in sorted(definition(folder).items()):
            digest.update(f"{(folder / path).relative_to(layout.root)}\0".encode() + content)
    digest.update(
        f"{layout.registry} {layout.web} {profile.base} {[str(client) for client in profile.clients]}".encode()
    )
    return digest.hexdigest()


def _kernels(engine: Engine, layout: Layout, toolkit_base: str, say: Say) -> LabKernels:
    known = layout.folder / "kernels.json"
    if known.exists():
        # Kernels stay until a reset, so that images built for them stay valid while the archive moves on.
        return LabKernels(**json.loads(known.read_text(encoding="utf-8")))
    say("kernels: querying the package archive")
    command = ["sh", "-c", "apt-get update -qq && apt-cache pkgnames linux-"]
    with engine.container(toolkit_base, command, network="default") as container:
        done = engine.run(container)
    if done.status != 0:
        raise ToolError(
            f"the package archive could not be queried for kernels: {done.stderr.strip()[-300:]}",
            "Check that containers reach the network, then run `nox -s lab -- up` again.",
        )
    kernels = choose_kernels(done.stdout.split())
    write_atomically(known, json.dumps(kernels.as_dict(), indent=1) + "\n")
    return kernels


def _toolkits(engine: Engine, layout: Layout, base: str, kernels: LabKernels, say: Say) -> dict[str, str]:
    """Build and publish the toolkits; return their references by digest, by name."""
    wanted = {
        "newer": {"KERNEL": kernels.newer, "RT_KERNEL": kernels.real_time, "RHEL_VERSION": "9.4"},
        "older": {"KERNEL": kernels.older, "RHEL_VERSION": "9.2"},
        "next-line": {"KERNEL": kernels.next_line, "RHEL_VERSION": "10.0"},
    }

    def one(item: tuple[str, dict[str, str]]) -> tuple[str, str]:
        name, arguments = item
        image = ensure_image(engine, layout, "toolkit", base, say, arguments)
        say(f"toolkit {name}: publishing")
        return name, _publish(engine, layout, "lab/driver-toolkit", name, image)

    with ThreadPoolExecutor(2) as pool:
        digests = dict(pool.map(one, wanted.items()))
    # The same kernels under another digest, as a z-stream with an unchanged kernel has them.
    again = engine.build(
        pack_context(f"FROM {digests['newer']}\n", {}),
        on_line=lambda _: None,
        labels={LAB_LABEL: "newer-again"},
    )
    digests["newer-again"] = _publish(engine, layout, "lab/driver-toolkit", "newer-again", again)
    return digests


def _releases(engine: Engine, layout: Layout, toolkits: dict[str, str], say: Say) -> None:
    say("releases: payload images and update graph")
    payloads = {}
    for release in releases.RELEASES:
        files = {
            "release-manifests/image-references": releases.image_references(
                release, toolkits[release.toolkit]
            ).encode(),
            "release-manifests/release-metadata": releases.release_metadata(release).encode(),
        }
        built = engine.build(
            pack_context("FROM scratch\nCOPY release-manifests /release-manifests\n", files),
            on_line=lambda _: None,
            labels={"io.openshift.release": release.version},
        )
        payloads[release.version] = _publish(engine, layout, "lab/release", release.version, built)
    for channel in releases.channels():
        write_atomically(layout.www / "graph" / "amd64" / f"{channel}.json", releases.graph(channel, payloads))
    write_atomically(layout.www / "graph" / "none.json", releases.graph("", payloads))


def _publish(engine: Engine, layout: Layout, path: str, tag: str, image: str) -> str:
    repository = f"{layout.registry}/{path}"
    engine.tag(image, repository, tag)
    try:
        engine.push(repository, tag, None)
        return Registry(load_credentials(None)).resolve(ImageRef.parse(f"{repository}:{tag}")).pinned
    finally:
        # The registry keeps the name; the engine keeps the image under the lab's own name.
        engine.remove_image(f"{repository}:{tag}")
