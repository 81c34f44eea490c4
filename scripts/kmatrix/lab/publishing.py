"""Publishes the lab's images in its registry, and its releases in its update graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmatrix.effects.disk.files import write_atomically
from kmatrix.effects.engine import Engine
from kmatrix.effects.engine.build_context import pack_context
from kmatrix.effects.registry.client import Registry
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.lab import releases
from kmatrix.lab.layout import Layout
from kmatrix.lab.node_images import SCRATCH, ImageDefinition, extensions_image, node_image
from kmatrix.lab.releases import PublishedRelease, StreamImages, StreamParts
from kmatrix.values.names import GO_ARCH, Arch, ImageRef

_PAYLOAD = "COPY release-manifests /release-manifests\n"
_ON_TOP = "usr/share/doc/payload"


def publish_image(engine: Engine, layout: Layout, path: str, tag: str, image: str) -> str:
    """Push an image of the engine to the lab's registry; return its reference by digest.

    Raises:
        UnreachableError, ToolError: the registry or the engine cannot be reached, or refuses.
    """
    repository = f"{layout.registry}/{path}"
    engine.tag(image, repository, tag)
    try:
        engine.push(repository, tag, None)
        return Registry(load_credentials(None)).resolve(ImageRef.parse(f"{repository}:{tag}")).pinned
    finally:
        # The registry keeps the name; the engine keeps the image under the lab's own name.
        engine.remove_image(f"{repository}:{tag}")


def publish_toolkit(engine: Engine, layout: Layout, tag: str, image: str, labels: Mapping[str, str]) -> str:
    """Publish a toolkit with labels of its own, and so with a digest of its own; return its reference by digest.

    Args:
        engine: has the image, under the name that is given.
        layout: of the lab.
        tag: the toolkit's name in the lab.
        image: NAME:TAG or NAME@DIGEST of the toolkit that it is based on.
        labels: added to it.
    """
    made = engine.build(pack_context(f"FROM {image}\n", {}), on_line=lambda _: None, labels=labels)
    return publish_image(engine, layout, "lab/driver-toolkit", tag, made)


@dataclass(frozen=True)
class Platform:
    """The architecture of a release, the image that its images are built on, and the end of their tags."""

    arch: Arch = "x86_64"
    root: str = SCRATCH
    suffix: str = ""


_DEFAULT = Platform()


def publish_payload(
    engine: Engine,
    layout: Layout,
    version: str,
    streams: Iterable[StreamParts],
    layer_on_top: bool = False,
    platform: Platform = _DEFAULT,
) -> str:
    """Publish the OS images of a release, then its payload; return the payload's reference by digest.

    Args:
        engine: builds them.
        layout: of the lab.
        version: of the release.
        streams: of the release; their toolkits are published already.
        layer_on_top: add a layer above that of the manifests.
        platform: of the release.
    """
    images = tuple(_stream(engine, layout, version, parts, platform) for parts in streams)
    files = {
        "release-manifests/image-references": releases.image_references(version, images).encode(),
        "release-manifests/release-metadata": releases.release_metadata(version).encode(),
    }
    dockerfile = f"FROM {platform.root}\n{_PAYLOAD}"
    if layer_on_top:
        dockerfile += f"COPY on-top /{_ON_TOP}\n"
        files["on-top/README"] = b"A layer above that of the manifests.\n"
    payload = ImageDefinition(dockerfile, files, {"io.openshift.release": version})
    return publish_image(engine, layout, "lab/release", f"{version}{platform.suffix}", _build(engine, payload))


def _stream(engine: Engine, layout: Layout, version: str, parts: StreamParts, platform: Platform) -> StreamImages:
    """Publish the OS image of a stream and its extensions."""
    tag = f"{version}-{releases.stream_class(parts.rhel)}{platform.suffix}"
    stream_class = releases.stream_class(parts.rhel)
    node = _build(engine, node_image(parts.kernel, parts.form, stream_class, platform.arch, platform.root))
    pinned = publish_image(engine, layout, "lab/node", tag, node)
    extensions = ""
    # Up to 4.11 the OS image itself had them.
    if parts.form != "rpm-label":
        built = _build(engine, extensions_image(parts.kernel, stream_class, platform.root))
        extensions = publish_image(engine, layout, "lab/node-extensions", tag, built)
    return StreamImages(parts.toolkit, pinned, extensions, parts.rhel, parts.second)


def write_graph(layout: Layout, published: Iterable[PublishedRelease], arch: Arch = "x86_64") -> None:
    """Write the update graph of every channel of an architecture; the graph knows no channel without releases.

    Raises:
        InputError: a file cannot be written.
    """
    wanted = _graph_files(layout, published, arch)
    for path, text in wanted.items():
        if _read(path) != text:
            write_atomically(path, text)
    for path in set(_folder(layout, arch).glob("*.json")) - set(wanted):
        path.unlink(missing_ok=True)


def graph_is_current(layout: Layout, published: Iterable[PublishedRelease], arch: Arch = "x86_64") -> bool:
    """Return whether the served update graph has these releases and no others."""
    wanted = _graph_files(layout, published, arch)
    others = set(_folder(layout, arch).glob("*.json")) - set(wanted)
    return not others and all(_read(path) == text for path, text in wanted.items())


def _graph_files(layout: Layout, published: Iterable[PublishedRelease], arch: Arch) -> dict[Path, str]:
    known = tuple(published)
    folder = _folder(layout, arch)
    files = {folder / f"{name}.json": releases.graph(name, known) for name in releases.channels(known)}
    return {**files, layout.www / "graph" / "none.json": releases.graph("", known)}


def _folder(layout: Layout, arch: Arch) -> Path:
    return layout.www / "graph" / GO_ARCH[arch]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _build(engine: Engine, definition: ImageDefinition) -> str:
    context = pack_context(definition.dockerfile, definition.files)
    return engine.build(context, on_line=lambda _: None, labels=definition.labels)
