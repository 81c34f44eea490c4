"""`lab release` and `lab retract`: a release that appears in the update graph later, and one that leaves it.

The state file is written first and the update graph last, both atomically: a release is in the graph once everything
that it names is in the registry. After an interruption between the two, `lab up` brings the graph up to date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kmatrix.effects.engine import Engine
from kmatrix.lab.archive import archive_packages
from kmatrix.lab.images import ensure_base, ensure_image
from kmatrix.lab.kernels import further_kernel
from kmatrix.lab.layout import LAB_LABEL, Layout
from kmatrix.lab.node_images import NodeForm
from kmatrix.lab.publishing import publish_payload, publish_toolkit, write_graph
from kmatrix.lab.releases import (
    MINOR,
    RELEASES,
    STABLE,
    PublishedRelease,
    StreamParts,
    next_version,
    streams_of,
    toolkit_labels,
)
from kmatrix.lab.state import added, lab_state, releases_of, with_added, write_state
from kmatrix.values.errors import InputError

Say = Callable[[str], None]
# OpenShift has four such channels; tests that run side by side need one each, such as candidate-abcd-4.97.
_CHANNEL = re.compile(rf"[a-z]+(?:-[a-z]+)*-{re.escape(MINOR)}")
# The RHEL version of a toolkit, by the line of its kernel.
_RHEL = {"6.12": "10.0", "6.1": "9.4"}


@dataclass(frozen=True)
class _NewToolkit:
    """The toolkit of a release under way, by digest; its kernel, and that of the nodes."""

    image: str
    kernel: str
    node_kernel: str
    rhel: str


def publish_release(
    engine: Engine, layout: Layout, say: Say, broken: bool = False, channel: str = STABLE
) -> PublishedRelease:
    """Publish the next release of the lab's newest minor.

    It has the streams of the lab's newest release, one of them with another toolkit: one with a kernel of the package
    archive that no toolkit of the lab has, or, for a broken release, one whose kernel is not that of its nodes.

    Args:
        engine: builds its images.
        layout: of the lab, which is up.
        say: called with progress messages.
        broken: state a kernel for the nodes that no toolkit has; the kernel is made up.
        channel: of the update graph.

    Raises:
        InputError: the lab is not up, or the channel is of another minor.
        ToolError: the package archive is unreachable or has no further kernel, or an image cannot be built.
        UnreachableError: the engine or the registry went away.
    """
    if not _CHANNEL.fullmatch(channel):
        raise InputError(
            f"--channel {channel}: the release is one of {MINOR}",
            f"Name a channel of that minor, such as {STABLE} or candidate-{MINOR}.",
        )
    state = lab_state(layout)
    version = next_version([*(each.version for each in releases_of(state)), *state["taken"]])
    make = _mismatched_toolkit if broken else _further_toolkit
    toolkit = make(engine, layout, state, version, say)
    say(f"release {version}: publishing its OS images and its payload")
    payload = publish_payload(engine, layout, version, _streams(state, toolkit))
    release = PublishedRelease(version, payload, (channel,), toolkit.kernel, toolkit.node_kernel, toolkit.image)
    _write(layout, with_added(state, (*added(state), release)))
    return release


def retract_release(engine: Engine, layout: Layout, version: str) -> PublishedRelease:
    """Remove a release that `publish_release` published from the update graph; the registry keeps its images.

    The version is not given again, since locks may have it; its kernel can be used again. A copy of its toolkit that
    builds left in the engine is removed.

    Raises:
        InputError: the lab is not up, or there is no such release.
    """
    state = lab_state(layout)
    known = {each.version: each for each in added(state)}
    if version not in known:
        raise InputError(
            f"{version or 'no version'}: `lab release` published {', '.join(known) or 'no release'}",
            "Name the release with --release VERSION; `nox -s lab -- status` lists them.",
        )
    _write(layout, with_added(state, tuple(each for each in known.values() if each.version != version)))
    engine.remove_image(known[version].toolkit)
    return known[version]


def _further_toolkit(engine: Engine, layout: Layout, state: Mapping[str, Any], version: str, say: Say) -> _NewToolkit:
    """Publish a toolkit with a kernel of the package archive that no toolkit of the lab has."""
    base = ensure_image(engine, layout, "toolkit-base", ensure_base(engine, say), say)
    used = {*state["kernels"].values(), *(each.kernel for each in added(dict(state)))}
    kernel, line = further_kernel(archive_packages(engine, base, say), used)
    rhel = _RHEL[line]
    image = ensure_image(engine, layout, "toolkit", base, say, {"KERNEL": kernel, "RHEL_VERSION": rhel})
    say(f"release {version}: publishing a toolkit with kernel {kernel}")
    labels = {LAB_LABEL: version, **toolkit_labels(kernel, rhel)}
    return _NewToolkit(publish_toolkit(engine, layout, version, image, labels), kernel, kernel, rhel)


def _mismatched_toolkit(
    engine: Engine, layout: Layout, state: Mapping[str, Any], version: str, say: Say
) -> _NewToolkit:
    """Publish the toolkit of the newest stream again, and make up a kernel that its nodes run."""
    image, kernel, rhel = state["toolkits"]["next-line"], state["kernels"]["next_line"], _RHEL["6.12"]
    say(f"release {version}: publishing a toolkit with kernel {kernel}, which its nodes do not run")
    engine.pull(image, None)
    labels = {LAB_LABEL: version, **toolkit_labels(kernel, rhel)}
    node_kernel = f"6.12.{9000 + int(version.rpartition('.')[2])}+deb12-amd64"
    return _NewToolkit(publish_toolkit(engine, layout, version, image, labels), kernel, node_kernel, rhel)


def _streams(state: Mapping[str, Any], toolkit: _NewToolkit) -> tuple[StreamParts, ...]:
    """Return the streams of the lab's newest release, with a new toolkit in the one that has its RHEL version."""
    # A list of packages spells Debian's kernels with an architecture; where no toolkit has the kernel, that would show.
    form: NodeForm = "meta-layer" if toolkit.kernel == toolkit.node_kernel else "ostree-label"
    return tuple(
        replace(parts, toolkit=toolkit.image, kernel=toolkit.node_kernel, form=form)
        if parts.rhel == toolkit.rhel
        else parts
        for parts in streams_of(RELEASES[-1], state["toolkits"], state["kernels"])
    )


def _write(layout: Layout, state: dict[str, Any]) -> None:
    write_state(layout, state)
    write_graph(layout, releases_of(state))
