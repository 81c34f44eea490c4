"""manifests: the folders an admin applies to a cluster, from matrix, lock, bundles and results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kmatrix.commands.invocation import Chosen, Invocation, choose, image_source, pins_for
from kmatrix.decide import manifests as decide
from kmatrix.decide.incluster import in_cluster_build_args, in_cluster_dockerfile, in_cluster_files
from kmatrix.effects.bundlefile import read_bundles
from kmatrix.effects.folders import read_folder, replace_folder
from kmatrix.effects.packages import PackageRoot
from kmatrix.effects.results import read_results
from kmatrix.values.bundles import BundleResult
from kmatrix.values.cells import CellResult
from kmatrix.values.errors import Exit, InputError, Problem
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ClientVersion, ImageRef

_PUBLISHED = {"passed", "skipped"}


def manifests(call: Invocation) -> Exit:
    """Write build/deploy/<profile>, or --out, anew: a folder for each way and client version."""
    chosen = choose(call)
    pins = pins_for(call, chosen)
    sources = read_folder(call.root / "deploy", "manifest sources", (".yaml", ".yaml.j2"))
    clients = _clients(call, chosen)
    ways = call.ways or decide.WAYS
    folders: dict[str, Mapping[str, str]] = {"": decide.components(sources)}
    if {"prebuilt", "kmm"} & set(ways):
        bundles = _bundles(call, chosen.name, clients)
        cells = _cells(call, chosen.name, bundles) if "kmm" in ways else {}
        for bundle in bundles:
            if "prebuilt" in ways:
                folders[f"prebuilt/{bundle.client}"] = decide.prebuilt(sources, bundle)
            if "kmm" in ways:
                folders[f"kmm/{bundle.client}"] = decide.kmm(sources, bundle, cells[bundle.client])
    if "in-cluster-build" in ways:
        for client in clients:
            build = _in_cluster(call, chosen, pins, client)
            folders[f"in-cluster-build/{client}"] = decide.in_cluster_build(sources, build, rhel_workers=False)
            folders[f"in-cluster-build-rhel-workers/{client}"] = decide.in_cluster_build(
                sources, build, rhel_workers=True
            )
    files = {f"{name}/{path}" if name else path: text for name, each in folders.items() for path, text in each.items()}
    target = call.out or call.root / "build" / "deploy" / chosen.name
    replace_folder(target, files)
    for name in folders:
        print(target / name if name else target / "components")
    return Exit.OK


def _clients(call: Invocation, chosen: Chosen) -> tuple[ClientVersion, ...]:
    known = chosen.profile.clients
    unknown = [client for client in call.clients if client not in map(str, known)]
    if unknown:
        raise InputError(
            f"profile {chosen.name} has no client {', '.join(unknown)}",
            f"Use one of {', '.join(map(str, known))}, or add it to matrix.yaml.",
        )
    return tuple(client for client in known if not call.clients or str(client) in call.clients)


def _bundles(call: Invocation, name: str, clients: Iterable[ClientVersion]) -> list[decide.Bundle]:
    known = read_bundles(call.root / "build" / "bundles.json", name)
    problems = []
    bundles = []
    for client in clients:
        result = known.get(str(client))
        if result is None:
            problems.append(Problem("build/bundles.json", f"has no bundle of client {client}"))
        elif result.verdict not in _PUBLISHED or not result.digest:
            problems.append(Problem("build/bundles.json", f"client {client}: {result.verdict}: {result.reason}"))
        else:
            bundles.append(_bundle(client, result))
    if problems:
        raise InputError(
            f"not every client of profile {name} has a published bundle",
            f"Run `nox -s bundle -- --profile {name}`, or name the clients that have one with --client.",
            tuple(problems),
        )
    return bundles


def _bundle(client: ClientVersion, result: BundleResult) -> decide.Bundle:
    arches = tuple(image.arch for image in result.images)
    return decide.Bundle(client, ImageRef.parse(result.image).with_digest(result.digest), result.kernels, arches)


def _cells(
    call: Invocation, name: str, bundles: Iterable[decide.Bundle]
) -> dict[ClientVersion, tuple[decide.KernelImage, ...]]:
    """The image of every kernel of every bundle: what Kernel Module Management is told."""
    results = read_results(call.results_path, name)
    problems = []
    found: dict[ClientVersion, tuple[decide.KernelImage, ...]] = {}
    for bundle in bundles:
        known = [(kernel, results.get(f"{bundle.client}-{kernel}")) for kernel in bundle.kernels]
        problems += [
            Problem("build/results.json", f"says no published image of {bundle.client}-{kernel}")
            for kernel, result in known
            if not _is_published(result)
        ]
        found[bundle.client] = tuple(
            decide.KernelImage(kernel, ImageRef.parse(result.image).with_digest(result.digest))
            for kernel, result in known
            if result and _is_published(result)
        )
    if problems:
        hint = f"Run `nox -s build -- --profile {name}`, then `nox -s bundle -- --profile {name}`."
        raise InputError("not every kernel of the bundles has an image of its own", hint, tuple(problems))
    return found


def _is_published(result: CellResult | None) -> bool:
    return bool(result and result.verdict in _PUBLISHED and result.digest and result.booted)


def _in_cluster(call: Invocation, chosen: Chosen, pins: ProfileLock, client: ClientVersion) -> decide.InClusterBuild:
    pin = next((pin for pin in pins.clients if pin.version == client), None)
    if pin is None:
        raise InputError(
            f"{chosen.profile.lock} has no packages of client {client}",
            f"Run `nox -s discover -- --profile {chosen.name}`.",
        )
    source = image_source(call)
    key = call.root / "build" / "packages" / pin.key.sha256
    location = f"{client.repository_directory}/{pin.key.location}"
    PackageRoot(chosen.profile.packages, call.root).fetch(location, pin.key.sha256, key)
    return decide.InClusterBuild(
        client=client,
        dockerfile=in_cluster_dockerfile(source, chosen.name, chosen.profile),
        files=in_cluster_files(source, key.read_bytes()),
        arguments=in_cluster_build_args(chosen.profile, client, pin.key.fingerprint),
    )
