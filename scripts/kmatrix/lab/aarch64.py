"""`lab up --arch aarch64`: adds releases, packages and a base of aarch64 to a lab that is up, and changes nothing else.

Its programs run under emulation, so it is no part of the lab that every command brings up. It has a state file of its
own, written last: after an interruption, the next `up` resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kmatrix.decide.image_documents import Document, list_of
from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.lab.emulation import require_emulation
from kmatrix.effects.lab.servers import running, serves
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.lab.aarch64_kernels import Aarch64Kernels, choose_aarch64_kernels
from kmatrix.lab.archive import archive_packages
from kmatrix.lab.images import ensure_empty, ensure_foreign_base, ensure_image
from kmatrix.lab.layout import LAB_LABEL, Layout
from kmatrix.lab.packages import LINES, add_packages
from kmatrix.lab.publishing import (
    Platform,
    graph_is_current,
    publish_image,
    publish_payload,
    publish_toolkit,
    write_graph,
)
from kmatrix.lab.releases import STABLE, LabRelease, LabStream, PublishedRelease, StreamParts, toolkit_labels
from kmatrix.lab.services import servers
from kmatrix.lab.state import lab_state
from kmatrix.values.errors import InputError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, ImageRef

Say = Callable[[str], None]
ARCH: Arch = "aarch64"
SCHEMA = 1
_NATIVE: Arch = "x86_64"
# The kernel of each toolkit, by its role in Aarch64Kernels, and the RHEL version that the toolkit states.
TOOLKITS = {
    "aarch64": ("standard", "9.4"),
    "aarch64-next-line": ("next_line", "10.0"),
    "aarch64-large-pages": ("large_pages", "9.4"),
}
# Versions that x86_64 has too, as releases have all architectures. A toolkit of RHEL has the kernel with large pages
# beside the standard one; Debian names it so differently that it is the standard kernel of a toolkit of its own here.
RELEASES = (
    LabRelease("4.96.2", (LabStream("aarch64-large-pages", "meta-layer"),), ("stable-4.96", STABLE)),
    LabRelease(
        "4.97.0",
        (LabStream("aarch64", "meta-layer-below"), LabStream("aarch64-next-line", "meta-layer", second=True)),
        (STABLE,),
    ),
)


def status(engine: Engine, layout: Layout, profile: Profile) -> tuple[tuple[str, bool, str], ...]:
    """Return the parts of aarch64, each with whether it is ready and a description; quick, and changes nothing.

    Args:
        engine: runs the servers.
        layout: of the lab.
        profile: the profile with both architectures.
    """
    state = read_state(layout)
    if state.get("inputs") != inputs(layout, profile):
        return (("content of aarch64", False, "not built yet, or from other definitions"),)
    lacking = _lacking(engine, layout, profile, state)
    words = "kernels " + ", ".join(sorted(state["kernels"].values()))
    return (("content of aarch64", not lacking, lacking or words),)


def built(layout: Layout) -> bool:
    """Return whether the lab was ever brought up for aarch64."""
    return bool(read_state(layout))


def up(engine: Engine, layout: Layout, own_base: ImageRef, profile: Profile, say: Say) -> bool:
    """Build what is missing of aarch64 in a lab that is up; return whether anything was.

    Args:
        engine: builds the images.
        layout: of the lab.
        own_base: the base of profile lab.
        profile: the profile with both architectures.
        say: called with progress messages.

    Raises:
        NoEmulationError: this machine cannot run programs of aarch64; nothing was begun.
        ToolError, InputError, UnreachableError: a step failed; finished parts stay, the next `up` resumes.
    """
    if all(ready for _, ready, _ in status(engine, layout, profile)):
        return False
    require_emulation(ARCH)
    say("aarch64: everything is emulated, which takes 15 to 35 minutes, once")
    empty = ensure_empty(engine, ARCH)
    toolkit_base = ensure_image(engine, layout, "toolkit-base", ensure_foreign_base(engine, say, ARCH), say)
    kernels = _kernels(engine, layout, toolkit_base, say)
    with ThreadPoolExecutor(2) as pool:
        building = pool.submit(_toolkits, engine, layout, toolkit_base, kernels, say)
        try:
            workshop = ensure_image(engine, layout, "workshop", toolkit_base, say)
            runtime = ensure_image(engine, layout, "runtime", workshop, say, {"ROOT": empty})
            base = _publish_base(engine, layout, own_base, profile.base, runtime)
            add_packages(engine, layout, workshop, profile.clients, ARCH, say)
        except BaseException:
            engine.stop()
            raise
        toolkits = building.result()
    say("releases of aarch64: OS images, payload images and update graph")
    platform = Platform(ARCH, empty, f"-{ARCH}")
    payloads = {
        each.version: publish_payload(
            engine, layout, each.version, _streams(each, toolkits, kernels.as_dict()), platform=platform
        )
        for each in RELEASES
    }
    state = {
        "schema": SCHEMA,
        "inputs": inputs(layout, profile),
        "kernels": kernels.as_dict(),
        "toolkits": toolkits,
        "payloads": payloads,
        "base": base,
    }
    write_graph(layout, published(state), ARCH)
    write_atomically(layout.state_of(ARCH), json.dumps(state, indent=1, sort_keys=True) + "\n")
    return True


def inputs(layout: Layout, profile: Profile) -> str:
    """Return a digest over everything that the parts of aarch64 are built from, those of x86_64 included.

    Raises:
        InputError: the lab is not up.
    """
    words = f"{RELEASES} {TOOLKITS} {profile.base} {[str(client) for client in profile.clients]}"
    own = f"{lab_state(layout)['inputs']} {words}"
    return hashlib.sha256(own.encode()).hexdigest()


def read_state(layout: Layout) -> dict[str, Any]:
    """Return the content of the state file; empty where aarch64 was never completed, or by another version."""
    try:
        state: dict[str, Any] = json.loads(layout.state_of(ARCH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if state.get("schema") == SCHEMA else {}


def published(state: Mapping[str, Any]) -> tuple[PublishedRelease, ...]:
    """Return the releases of aarch64, with the reference by digest of each payload."""
    return tuple(PublishedRelease(each.version, state["payloads"][each.version], each.channels) for each in RELEASES)


def _lacking(engine: Engine, layout: Layout, profile: Profile, state: Mapping[str, Any]) -> str:
    """Return which part of a state that was completed is gone; empty where none is."""
    if not graph_is_current(layout, published(state), ARCH):
        return "its update graph is gone, or another one"
    for client in profile.clients:
        for line in LINES:
            folder = layout.www / "release" / client.repository_directory / "dists" / f"rhel{line.removeprefix('el')}"
            if not any((folder / ARCH).glob("*.rpm")):
                return f"{folder} has no packages of {ARCH}"
    registry = servers(layout)[0]
    base = profile.base.path, profile.base.tag or "latest"
    if running(engine, registry) and not serves(registry, f"/v2/{base[0]}/manifests/{base[1]}"):
        return f"the registry has no {profile.base}"
    return ""


def _publish_base(engine: Engine, layout: Layout, own: ImageRef, both: ImageRef, runtime: str) -> str:
    """Publish the base of aarch64, and a manifest list of it and the lab's own base; return the list's reference.

    Raises:
        InputError: profile lab's own base is not in the registry.
        UnreachableError, ToolError, ProtocolError: the engine or the registry went away, or refuses.
    """
    registry = RegistryWriter(load_credentials(None))
    pinned = ImageRef.parse(publish_image(engine, layout, both.path, f"{ARCH}-only", runtime))
    documents: dict[Arch, Document] = {}
    for arch, ref in ((_NATIVE, own), (ARCH, pinned)):
        found = registry.manifest(ref, arch)
        if found is None:
            raise InputError(f"{ref} is not in the lab's registry", "Run `nox -s lab -- reset`, then `up` again.")
        documents[arch] = Document(found.media_type, found.content)
    made = list_of(documents)
    registry.put_manifest(both, made.content, made.media_type)
    return both.with_digest(made.digest).pinned


def _kernels(engine: Engine, layout: Layout, toolkit_base: str, say: Say) -> Aarch64Kernels:
    known = layout.folder / f"kernels-{ARCH}.json"
    if known.exists():
        # As for x86_64: kernels stay until a reset.
        return Aarch64Kernels(**json.loads(known.read_text(encoding="utf-8")))
    kernels = choose_aarch64_kernels(archive_packages(engine, toolkit_base, say))
    write_atomically(known, json.dumps(kernels.as_dict(), indent=1) + "\n")
    return kernels


def _toolkits(engine: Engine, layout: Layout, base: str, kernels: Aarch64Kernels, say: Say) -> dict[str, str]:
    """Build and publish the toolkits; return their references by digest, by name."""
    found = {}
    for name, (role, rhel) in TOOLKITS.items():
        kernel = kernels.as_dict()[role]
        image = ensure_image(engine, layout, "toolkit", base, say, {"KERNEL": kernel, "RHEL_VERSION": rhel})
        say(f"toolkit {name}: publishing")
        labels = {LAB_LABEL: name, **toolkit_labels(kernel, rhel)}
        found[name] = publish_toolkit(engine, layout, name, image, labels)
    return found


def _streams(release: LabRelease, toolkits: Mapping[str, str], kernels: Mapping[str, str]) -> tuple[StreamParts, ...]:
    return tuple(
        StreamParts(toolkits[each.toolkit], kernels[role], rhel, each.form, each.second)
        for each in release.streams
        for role, rhel in [TOOLKITS[each.toolkit]]
    )
