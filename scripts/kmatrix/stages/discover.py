"""discover: update graph → payload → image-references → toolkit → kernels, and packages; the result is the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from kmatrix.decide.formats.openpgp import check_key
from kmatrix.decide.formats.payload import read_toolkit_kernels, read_toolkits
from kmatrix.decide.formats.repodata import newest_of_each
from kmatrix.decide.formats.rpm_versions import rpm_order
from kmatrix.decide.releases import Node, read_graph, select_releases
from kmatrix.decide.retention import refuse_useless_forgets, remembered, retired
from kmatrix.effects.disk.files import read_text
from kmatrix.effects.net.package_root import KEY_LOCATIONS, PackageRoot
from kmatrix.effects.net.update_graph import fetch_graph
from kmatrix.effects.registry.client import Manifest, Registry
from kmatrix.stages.concurrency import map_threads
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError, Problem, ProtocolError
from kmatrix.values.lock import (
    ClientPin,
    KernelPin,
    KeyPin,
    PackagePin,
    ProfileLock,
    ReleasePin,
    UnavailablePin,
    inputs_digest,
)
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.names import Arch, ClientVersion, ImageRef, ReleaseVersion, fingerprint
from kmatrix.values.recipe import userland_packages

_REFERENCES = "release-manifests/image-references"
_TOOLKIT_RELEASE = "etc/driver-toolkit-release.json"
# The facts stand in the last layer of a payload and near the top of a toolkit; a few more cost nothing when they do.
_LAYERS = 6
_THREADS = 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Before:
    """The pins of an earlier run, whether they are of the same inputs, and what a person wants forgotten of them."""

    profile_name: str
    pins: ProfileLock | None
    reusable: bool
    forget: Collection[str]
    today: str

    def release(self, version: ReleaseVersion, arch: Arch) -> tuple[ReleasePin, ...]:
        """The pins of a release: one for each of its toolkits."""
        pins = self.pins.releases if self.pins else ()
        return tuple(pin for pin in pins if (pin.version, pin.arch) == (version, arch))

    def client(self, client: ClientVersion, line: str, arch: Arch) -> ClientPin | None:
        """The packages of a client."""
        pins = self.pins.clients if self.pins else ()
        return next((pin for pin in pins if (pin.version, pin.line, pin.arch) == (client, line, arch)), None)


def discover(
    profile_name: str,
    stated: Profile,
    profile: Profile,
    registry: Registry,
    root: Path,
    known: ProfileLock | None,
    say: Say,
    forget: Collection[str] = (),
    today: str = "",
) -> ProfileLock:
    """Resolve everything a profile needs into pins.

    What the lock has and an answer lacks stays, with a mark: a release leaves by `from`, `newest`, the channels or the
    arches of matrix.yaml, or when a person names it to be forgotten.

    Args:
        profile_name: for messages.
        stated: the profile as matrix.yaml has it: its digest tells whether the lock is still right.
        profile: the same with overrides.
        registry: where payloads and toolkits are read.
        root: the project's folder, for a local package root and a fingerprint file.
        known: the pins of an earlier run; a payload that was read then is not read again.
        say: is given a line of progress.
        forget: releases that are gone from the graph and are to leave the lock, or kernels that no release has.
        today: the day, as 2026-03-31; by default that of the machine's clock, in UTC.

    Raises:
        UnreachableError, CredentialError: a service could not be asked.
        ProtocolError, InputError: an answer or a setting is wrong.
    """
    today = today or datetime.now(UTC).date().isoformat()
    wanted_key = expected_fingerprint(profile, root)
    # Pins made from other inputs may lack what is wanted now.
    before = _Before(profile_name, known, bool(known and known.inputs == inputs_digest(stated)), forget, today)
    if known is None:
        say("no lock before this: whatever the graph answers is taken as it is")
    releases = _releases(profile_name, profile, registry, before, say)
    kernels = refuse_useless_forgets(forget, known, releases)
    say(f"{len(releases)} releases with {len({k.release for r in releases for k in r.kernels})} kernels")
    base = registry.resolve(mirrored(profile.base, profile.mirrors))
    packages = PackageRoot(profile.packages, root)
    lines = sorted(
        {(release.line, release.arch) for release in releases} | {(profile.base_line, r.arch) for r in releases}
    )
    wanted = [(client, line, arch) for client in sorted(profile.clients) for line, arch in lines]
    found = map_threads(lambda item: _client(packages, item[0], item[1], item[2], wanted_key), wanted, _THREADS)
    clients = tuple(pin for pin in found if isinstance(pin, ClientPin))
    unavailable = tuple(pin for pin in found if isinstance(pin, UnavailablePin))
    _refuse_clients_without_packages(profile_name, profile, clients, unavailable)
    kept = tuple(pin for pin in (_kept_client(pin, before, wanted_key, say) for pin in unavailable) if pin)
    again = {(pin.version, pin.line, pin.arch) for pin in kept}
    clients = (*clients, *kept)
    unavailable = tuple(pin for pin in unavailable if (pin.client, pin.line, pin.arch) not in again)
    say(f"{len(clients)} package sets, {len(unavailable)} not available")
    return ProfileLock(
        inputs=inputs_digest(stated),
        base=profile.base.with_digest(base.digest),
        releases=releases,
        clients=clients,
        unavailable=unavailable,
        retired=retired(known, releases, profile, forget, kernels, today),
    )


def expected_fingerprint(profile: Profile, root: Path) -> str:
    """The fingerprint of the key that must have signed every package.

    Raises:
        InputError: the file that should hold it cannot be read, or holds none.
    """
    if profile.key_file is None:
        return profile.key_fingerprint
    text = read_text(root / profile.key_file, "fingerprint file", "For the lab, `nox -s lab -- up` makes it.")
    try:
        return fingerprint(text.strip())
    except ValueError as error:
        raise InputError(
            f"fingerprint file {profile.key_file}: {error}",
            "Put the key's fingerprint there, 40 hexadecimal digits and nothing else.",
        ) from error


def _refuse_clients_without_packages(
    profile_name: str, profile: Profile, clients: Iterable[ClientPin], unavailable: Iterable[UnavailablePin]
) -> None:
    """A client that is nowhere at all is a wrong address or a wrong version, never just nothing to build."""
    have = {pin.version for pin in clients}
    problems = []
    for client in profile.clients:
        if client not in have:
            reasons = sorted({f"{pin.line} {pin.arch}: {pin.reason}" for pin in unavailable if pin.client == client})
            problems.append(Problem(f"profiles.{profile_name}.clients", f"{client} is nowhere ({'; '.join(reasons)})"))
    if problems:
        many = "s" if len(problems) != 1 else ""
        raise InputError(
            f"the package root {profile.packages} has nothing for {len(problems)} client{many}",
            "Check packages (--packages, KMATRIX_PACKAGES) and the versions in matrix.yaml; the lock is as it was.",
            tuple(problems),
        )


def _kept_client(pin: UnavailablePin, before: _Before, wanted_key: str, say: Say) -> ClientPin | None:
    """Return the packages that the lock has of a client where the package root has none any more.

    A root in the middle of an update says the same as one that never had them.
    """
    known = before.client(pin.client, pin.line, pin.arch)
    if known is None or known.key.fingerprint != wanted_key:
        return None
    since = known.gone or before.today
    say(
        f"client {pin.client} for {pin.line} {pin.arch} has been gone from the package root since {since} "
        f"({pin.reason}); its pins are kept (an exclude in matrix.yaml takes its cells out)"
    )
    return known.model_copy(update={"gone": since})


def _releases(
    profile_name: str, profile: Profile, registry: Registry, before: _Before, say: Say
) -> tuple[ReleasePin, ...]:
    jobs: list[tuple[Node, Arch]] = []
    for arch in profile.arches:
        graphs = {}
        for channel in profile.channels:
            say(f"asking the update graph for {channel.name} on {arch}")
            graphs[channel.name] = read_graph(fetch_graph(profile.graph, channel.name, arch), profile.graph)
        of_the_lock = remembered(before.pins, arch, before.forget)
        chosen = select_releases(profile_name, profile.channels, graphs, of_the_lock)
        jobs += [(node, arch) for node in chosen]
    found = map_threads(lambda job: _release_pins(job[0], job[1], profile, registry, before, say), jobs, _THREADS)
    return tuple(pin for pins in found for pin in pins)


def _release_pins(
    node: Node, arch: Arch, profile: Profile, registry: Registry, before: _Before, say: Say
) -> tuple[ReleasePin, ...]:
    """Return the pins of a release: those of before where they are still right, or all that is left of it."""
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
            say(f"{node.version} for {arch} cannot be read again, so its pins stay as they are: {error.message}")
    return tuple(pin.model_copy(update={"channels": node.channels, "gone": since}) for pin in again)


def _gone_since(node: Node, arch: Arch, known: tuple[ReleasePin, ...], before: _Before, say: Say) -> str | None:
    """Return the day from which on a release is gone from the graph, and tell people of it."""
    mark = min((pin.gone for pin in known if pin.gone), default=None)
    if node.gone:
        since = mark or before.today
        word = command("discover", before.profile_name, "--forget", str(node.version))
        say(f"{node.version} for {arch} has been gone from the graph since {since}; kept ({word} lets it go)")
        return since
    if mark:
        say(f"{node.version} for {arch} is in the graph again, from which it had been gone since {mark}")
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


def _manifest(registry: Registry, ref: ImageRef, arch: Arch, what: str) -> Manifest:
    manifest = registry.manifest(ref, arch)
    if manifest is None:
        raise ProtocolError(
            f"{what} {ref}: the registry says there is no such image",
            "If this site mirrors images, state where with `mirrors` in matrix.yaml, --mirrors or KMATRIX_MIRRORS.",
        )
    return manifest


def _file(registry: Registry, manifest: Manifest, path: str) -> str:
    found = registry.find_file(manifest, [path], _LAYERS)
    if path not in found:
        raise ProtocolError(
            f"{manifest.ref}: {path} is not in its uppermost {_LAYERS} layers",
            "Is it the image of an OpenShift release, or a driver toolkit? Take the release out of matrix.yaml if not.",
        )
    return found[path].decode("utf-8", "replace")


def _client(
    root: PackageRoot, client: ClientVersion, line: str, arch: Arch, wanted_key: str
) -> ClientPin | UnavailablePin:
    try:
        return _client_pin(root, client, line, arch, wanted_key)
    except ValidationError as error:
        detail = error.errors()[0]
        where = f"{root.where}/{client.repository_directory} ({line}, {arch})"
        raise ProtocolError(
            f"{where}: its metadata has {detail['loc'][-1]}: {detail['msg']}",
            "Ask who keeps this package root to make its metadata anew with `createrepo_c`.",
        ) from error


def _client_pin(
    root: PackageRoot, client: ClientVersion, line: str, arch: Arch, wanted_key: str
) -> ClientPin | UnavailablePin:
    directory = client.repository_directory
    names = userland_packages(client)
    packages = root.packages(directory, line, arch, names)
    if packages is None:
        return UnavailablePin(
            client=client, line=line, arch=arch, reason=f"{root.where} has no {directory}/dists for it"
        )
    chosen = newest_of_each(package for package in packages if package.version == str(client))
    missing = [name for name in names if name not in chosen]
    if missing:
        others = sorted({package.version for package in packages if package.name == missing[0]}, key=rpm_order)
        return UnavailablePin(
            client=client,
            line=line,
            arch=arch,
            reason=f"{directory} has no {missing[0]} {client}" + (f", only {', '.join(others)}" if others else ""),
        )
    return ClientPin(
        version=client,
        line=line,
        arch=arch,
        key=_key(root, directory, wanted_key),
        packages=tuple(
            PackagePin(name=name, nevra=p.nevra, location=p.location, sha256=root.sha256_of(directory, p), size=p.size)
            for name, p in sorted(chosen.items())
        ),
    )


def _key(root: PackageRoot, directory: str, wanted: str) -> KeyPin:
    for location in KEY_LOCATIONS:
        content = root.read(f"{directory}/{location}")
        if content is None:
            continue
        name = f"{root.where}/{directory}/{location}"
        check_key(content, wanted, name)
        return KeyPin(location=location, sha256=hashlib.sha256(content).hexdigest(), fingerprint=wanted)
    raise ProtocolError(
        f"{root.where}/{directory} has none of {', '.join(KEY_LOCATIONS)}",
        "Without its key no package can be verified: ask who keeps this package root to copy the vendor's gpg/ folder.",
    )
