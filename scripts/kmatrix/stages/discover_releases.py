"""Releases: update graph → payload → image-references → toolkit → kernels, as pins."""

from __future__ import annotations

from collections.abc import Callable

from kmatrix.decide.formats.payload import read_toolkit_kernels, read_toolkits
from kmatrix.decide.releases import Node, read_graph, select_releases
from kmatrix.decide.retention import remembered
from kmatrix.effects.net.update_graph import fetch_graph
from kmatrix.effects.registry.client import Manifest, Registry
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.earlier_pins import EarlierPins
from kmatrix.values.command_lines import command
from kmatrix.values.errors import ProtocolError
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.names import Arch, ImageRef
from kmatrix.values.pins import KernelPin, ReleasePin

_REFERENCES = "release-manifests/image-references"
_TOOLKIT_RELEASE = "etc/driver-toolkit-release.json"
# The facts stand in the last layer of a payload and near the top of a toolkit; a few more cost nothing when they do.
_LAYERS = 6
_THREADS = 8
Say = Callable[[str], None]


def pin_releases(
    profile_name: str, profile: Profile, registry: Registry, before: EarlierPins, say: Say
) -> tuple[ReleasePin, ...]:
    """Return the pins of every selected release, one for each toolkit it has.

    Args:
        profile_name: for messages.
        profile: with overrides.
        registry: payloads and toolkits are read from it.
        before: a payload that was read then is not read again, and a release that is gone from the graph is kept.
        say: is given a line of progress.

    Raises:
        UnreachableError, CredentialError: the update graph or a registry could not be queried.
        ProtocolError, InputError: an answer or a setting is wrong.
    """
    jobs: list[tuple[Node, Arch]] = []
    for arch in profile.arches:
        graphs = {}
        for channel in profile.channels:
            say(f"querying the update graph for {channel.name} on {arch}")
            graphs[channel.name] = read_graph(fetch_graph(profile.graph, channel.name, arch), profile.graph)
        of_the_lock = remembered(before.pins, arch, before.forget)
        chosen = select_releases(profile_name, profile.channels, graphs, of_the_lock)
        jobs += [(node, arch) for node in chosen]
    found = map_threads(lambda job: _pins_of(job[0], job[1], profile, registry, before, say), jobs, _THREADS)
    return tuple(pin for pins in found for pin in pins)


def _pins_of(
    node: Node, arch: Arch, profile: Profile, registry: Registry, before: EarlierPins, say: Say
) -> tuple[ReleasePin, ...]:
    """Return the pins of a release: the earlier ones where they still hold, else new ones."""
    known = before.release(node.version, arch)
    since = _gone_since(node, arch, known, before, say)
    again = tuple(pin for pin in known if pin.payload.digest == node.payload.digest)
    if not (again and before.reusable):
        say(f"reading the payload of {node.version} for {arch}")
        try:
            again = _release(node, arch, profile, registry)
        except ProtocolError as error:
            if not (node.gone and again):
                raise
            say(f"{node.version} for {arch} cannot be read again, so its pins are kept: {error.message}")
    return tuple(pin.model_copy(update={"channels": node.channels, "gone": since}) for pin in again)


def _gone_since(node: Node, arch: Arch, known: tuple[ReleasePin, ...], before: EarlierPins, say: Say) -> str | None:
    """Return the day since which a release is gone from the graph, and report a change of it; None if it is there."""
    mark = min((pin.gone for pin in known if pin.gone), default=None)
    if node.gone:
        since = mark or before.today
        removal = command("discover", before.profile_name, "--forget", str(node.version))
        say(f"{node.version} for {arch} has been gone from the graph since {since}; kept ({removal} removes it)")
        return since
    if mark:
        say(f"{node.version} for {arch} is back in the graph, having been gone since {mark}")
    return None


def _release(node: Node, arch: Arch, profile: Profile, registry: Registry) -> tuple[ReleasePin, ...]:
    # A graph may name a payload by tag; the lock never does.
    named = node.payload.with_digest(registry.resolve(mirrored(node.payload, profile.mirrors)).digest)
    payload = _manifest(registry, mirrored(named, profile.mirrors), arch, "release payload")
    text = _file(registry, payload, _REFERENCES)
    pins = []
    for toolkit in read_toolkits(text, str(node.version)):
        manifest = _manifest(registry, mirrored(toolkit.image, profile.mirrors), arch, "driver toolkit")
        kernels = read_toolkit_kernels(
            _file(registry, manifest, _TOOLKIT_RELEASE), arch, str(toolkit.image), node.version, profile.flavours
        )
        pins.append(
            ReleasePin(
                version=node.version,
                arch=arch,
                channels=node.channels,
                payload=named,
                toolkit=toolkit.image.with_digest(manifest.digest),
                rhel=kernels.rhel,
                kernels=tuple(KernelPin(release=name, flavour=flavour) for name, flavour in kernels.kernels),
            )
        )
    return tuple(pins)


def _manifest(registry: Registry, ref: ImageRef, arch: Arch, kind: str) -> Manifest:
    manifest = registry.manifest(ref, arch)
    if manifest is None:
        raise ProtocolError(
            f"{kind} {ref}: the registry has no such image",
            "If this site mirrors images, set `mirrors` in matrix.yaml, --mirrors or KMATRIX_MIRRORS.",
        )
    return manifest


def _file(registry: Registry, manifest: Manifest, path: str) -> str:
    found = registry.find_file(manifest, [path], _LAYERS)
    if path not in found:
        raise ProtocolError(
            f"{manifest.ref}: {path} is not in its uppermost {_LAYERS} layers",
            "Check that it is a release payload or a driver toolkit; if not, remove the release from matrix.yaml.",
        )
    return found[path].decode("utf-8", "replace")
