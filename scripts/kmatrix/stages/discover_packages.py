"""Packages: package root → metadata → the packages and the key of each client, as pins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from pydantic import ValidationError

from kmatrix.decide.formats.openpgp import check_key
from kmatrix.decide.formats.repodata import newest_of_each
from kmatrix.decide.formats.rpm_versions import rpm_order
from kmatrix.effects.net.package_root import KEY_LOCATIONS, PackageRoot
from kmatrix.stages.concurrency import map_threads
from kmatrix.stages.earlier_pins import EarlierPins
from kmatrix.values.errors import InputError, Problem, ProtocolError
from kmatrix.values.matrix import Profile
from kmatrix.values.names import Arch, ClientVersion
from kmatrix.values.pins import ClientPin, KeyPin, PackagePin, ReleasePin, UnavailablePin
from kmatrix.values.recipe import userland_packages

_THREADS = 8
Say = Callable[[str], None]


def pin_clients(
    profile_name: str,
    profile: Profile,
    root: PackageRoot,
    releases: Iterable[ReleasePin],
    wanted_key: str,
    before: EarlierPins,
    say: Say,
) -> tuple[tuple[ClientPin, ...], tuple[UnavailablePin, ...]]:
    """Return the packages of every client for every RHEL major and architecture, and those that are not available.

    Args:
        profile_name: for messages.
        profile: with overrides.
        root: the package root.
        releases: their RHEL majors and architectures are the ones to look for.
        wanted_key: fingerprint of the key that must have signed the packages.
        before: its packages are kept where the package root lacks them now.
        say: is given a line of progress.

    Raises:
        InputError: a client has no packages at all.
        UnreachableError: the package root could not be queried.
        ProtocolError: its metadata or its key is wrong.
    """
    releases = tuple(releases)
    streams = sorted({(stream, pin.arch) for pin in releases for stream in (pin.stream, profile.base_stream)})
    if not streams:
        # No release has known kernels: there is nothing to look for yet, and so nothing that is missing.
        return before.packages(profile.clients, wanted_key)
    wanted = [(client, stream, arch) for client in sorted(profile.clients) for stream, arch in streams]
    found = map_threads(lambda item: pin_client(root, item[0], item[1], item[2], wanted_key), wanted, _THREADS)
    clients = tuple(pin for pin in found if isinstance(pin, ClientPin))
    unavailable = tuple(pin for pin in found if isinstance(pin, UnavailablePin))
    _refuse_clients_without_packages(profile_name, profile, clients, unavailable)
    kept = tuple(pin for pin in (_kept_client(pin, before, wanted_key, say) for pin in unavailable) if pin)
    again = {(pin.version, pin.stream, pin.arch) for pin in kept}
    return (*clients, *kept), tuple(pin for pin in unavailable if (pin.client, pin.stream, pin.arch) not in again)


def _refuse_clients_without_packages(
    profile_name: str, profile: Profile, clients: Iterable[ClientPin], unavailable: Iterable[UnavailablePin]
) -> None:
    """Refuse a client without any packages: its version or the address is wrong, not merely nothing to build."""
    have = {pin.version for pin in clients}
    problems = []
    for client in profile.clients:
        if client not in have:
            reasons = sorted({f"{pin.stream} {pin.arch}: {pin.reason}" for pin in unavailable if pin.client == client})
            message = f"no packages found for client {client} ({'; '.join(reasons)})"
            problems.append(Problem(f"profiles.{profile_name}.clients", message))
    if problems:
        many = "s" if len(problems) != 1 else ""
        raise InputError(
            f"the package root {profile.packages} has no packages for {len(problems)} client{many}",
            "Check packages (--packages, KMATRIX_PACKAGES) and the versions in matrix.yaml; the lock is unchanged.",
            tuple(problems),
        )


def _kept_client(pin: UnavailablePin, before: EarlierPins, wanted_key: str, say: Say) -> ClientPin | None:
    """Return the lock's packages of a client that the package root no longer has, or None.

    A root in the middle of an update answers like one that never had them.
    """
    known = before.client(pin.client, pin.stream, pin.arch)
    if known is None or known.key.fingerprint != wanted_key:
        return None
    since = known.gone or before.today
    say(
        f"client {pin.client} for {pin.stream} {pin.arch} has been gone from the package root since {since} "
        f"({pin.reason}); its pins are kept (an exclude in matrix.yaml removes its cells)"
    )
    return known.model_copy(update={"gone": since})


def pin_client(
    root: PackageRoot, client: ClientVersion, stream: str, arch: Arch, wanted_key: str
) -> ClientPin | UnavailablePin:
    """Return the packages of one client for a RHEL major and an architecture, or why there are none.

    Raises:
        UnreachableError: the package root could not be queried.
        ProtocolError: its metadata or its key is wrong.
    """
    try:
        return _client_pin(root, client, stream, arch, wanted_key)
    except ValidationError as error:
        detail = error.errors()[0]
        where = f"{root.where}/{client.repository_directory} ({stream}, {arch})"
        raise ProtocolError(
            f"{where}: its metadata has {detail['loc'][-1]}: {detail['msg']}",
            "Ask the maintainer of this package root to regenerate its metadata with `createrepo_c`.",
        ) from error


def _client_pin(
    root: PackageRoot, client: ClientVersion, stream: str, arch: Arch, wanted_key: str
) -> ClientPin | UnavailablePin:
    directory = client.repository_directory
    names = userland_packages(client)
    packages = root.packages(directory, stream, arch, names)
    if packages is None:
        return UnavailablePin(
            client=client, stream=stream, arch=arch, reason=f"{root.where} has no {directory}/dists for it"
        )
    chosen = newest_of_each(package for package in packages if package.version == str(client))
    missing = [name for name in names if name not in chosen]
    if missing:
        others = sorted({package.version for package in packages if package.name == missing[0]}, key=rpm_order)
        return UnavailablePin(
            client=client,
            stream=stream,
            arch=arch,
            reason=f"{directory} has no {missing[0]} {client}" + (f", only {', '.join(others)}" if others else ""),
        )
    return ClientPin(
        version=client,
        stream=stream,
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
        "Packages cannot be verified without it: ask the root's maintainer to copy the vendor's gpg/ folder.",
    )
