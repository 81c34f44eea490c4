"""discover: update graph → payload → image-references → toolkit → kernels, and packages; the result is the lock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from kmatrix.decide.openpgp import check_key
from kmatrix.decide.releases import Node, read_graph, select_releases
from kmatrix.decide.repodata import newest_of_each
from kmatrix.decide.toolkits import read_toolkit_kernels, read_toolkits
from kmatrix.decide.versions import rpm_order
from kmatrix.effects.files import read_text
from kmatrix.effects.graph import fetch_graph
from kmatrix.effects.packages import KEY_LOCATIONS, PackageRoot
from kmatrix.effects.registry import Manifest, Registry
from kmatrix.stages.threads import map_threads
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
from kmatrix.values.names import Arch, ClientVersion, ImageRef, fingerprint
from kmatrix.values.recipe import userland_packages

_REFERENCES = "release-manifests/image-references"
_TOOLKIT_RELEASE = "etc/driver-toolkit-release.json"
# The facts stand in the last layer of a payload and near the top of a toolkit; a few more cost nothing when they do.
_LAYERS = 6
_THREADS = 8
Say = Callable[[str], None]


def discover(
    profile_name: str,
    stated: Profile,
    profile: Profile,
    registry: Registry,
    root: Path,
    known: ProfileLock | None,
    say: Say,
) -> ProfileLock:
    """Resolve everything a profile needs into pins.

    Args:
        profile_name: for messages.
        stated: the profile as matrix.yaml has it: its digest tells whether the lock is still right.
        profile: the same with overrides.
        registry: where payloads and toolkits are read.
        root: the project's folder, for a local package root and a fingerprint file.
        known: the pins of an earlier run; a payload that was read then is not read again.
        say: is given a line of progress.

    Raises:
        UnreachableError, CredentialError: a service could not be asked.
        ProtocolError, InputError: an answer or a setting is wrong.
    """
    wanted_key = expected_fingerprint(profile, root)
    # Pins made from other inputs may lack what is wanted now.
    reusable = known if known and known.inputs == inputs_digest(stated) else None
    releases = _releases(profile_name, profile, registry, reusable, say)
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
    say(f"{len(clients)} package sets, {len(unavailable)} not available")
    return ProfileLock(
        inputs=inputs_digest(stated),
        base=profile.base.with_digest(base.digest),
        releases=releases,
        clients=clients,
        unavailable=unavailable,
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
        raise InputError(f"fingerprint file {profile.key_file}: {error}") from error


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
        raise InputError(
            f"the package root {profile.packages} has nothing of {len(problems)} clients",
            "Check packages (--packages, KMATRIX_PACKAGES) and the versions in matrix.yaml; the lock is as it was.",
            tuple(problems),
        )


def _releases(
    profile_name: str, profile: Profile, registry: Registry, known: ProfileLock | None, say: Say
) -> tuple[ReleasePin, ...]:
    jobs: list[tuple[Node, Arch]] = []
    for arch in profile.arches:
        graphs = {}
        for channel in profile.channels:
            say(f"asking the update graph for {channel.name} on {arch}")
            graphs[channel.name] = read_graph(fetch_graph(profile.graph, channel.name, arch), profile.graph)
        jobs += [(node, arch) for node in select_releases(profile_name, profile.channels, graphs)]

    def pins_of(job: tuple[Node, Arch]) -> tuple[ReleasePin, ...]:
        node, arch = job
        again = [
            pin
            for pin in (known.releases if known else ())
            if (pin.version, pin.payload.digest, pin.arch) == (node.version, node.payload.digest, arch)
        ]
        if again:
            return tuple(pin.model_copy(update={"channels": node.channels}) for pin in again)
        say(f"reading the payload of {node.version} for {arch}")
        return _release(node, arch, profile, registry)

    return tuple(pin for pins in map_threads(pins_of, jobs, _THREADS) for pin in pins)


def _release(node: Node, arch: Arch, profile: Profile, registry: Registry) -> tuple[ReleasePin, ...]:
    # A graph may name a payload by tag; the lock never does.
    named = node.payload.with_digest(registry.resolve(mirrored(node.payload, profile.mirrors)).digest)
    payload = _manifest(registry, mirrored(named, profile.mirrors), arch, "release payload")
    text = _file(registry, payload, _REFERENCES)
    pins = []
    for toolkit in read_toolkits(text, str(node.version)):
        manifest = _manifest(registry, mirrored(toolkit.image, profile.mirrors), arch, "driver toolkit")
        kernels = read_toolkit_kernels(
            _file(registry, manifest, _TOOLKIT_RELEASE), arch, str(toolkit.image), profile.flavours
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
        raise ProtocolError(f"{manifest.ref}: {path} is not in its uppermost {_LAYERS} layers")
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
