"""manifests: write the folders that an admin applies to a cluster, from matrix, lock and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kmatrix.commands.image_policy import policy_of
from kmatrix.commands.invocation import Invocation
from kmatrix.commands.pins import pins_for
from kmatrix.commands.profile import SelectedProfile, image_source, select_profile
from kmatrix.decide import manifests as decide
from kmatrix.decide.in_cluster import in_cluster_build_args, in_cluster_dockerfile, in_cluster_files
from kmatrix.decide.release_kernels import release_kernels
from kmatrix.effects.disk.bundles import read_bundles
from kmatrix.effects.disk.folders import read_folder, read_written, replace_folder
from kmatrix.effects.net.package_root import PackageRoot
from kmatrix.values.bundle import BundleResult
from kmatrix.values.command_lines import command
from kmatrix.values.errors import Exit, InputError, KmatrixError, Problem
from kmatrix.values.lock import ProfileLock
from kmatrix.values.names import ClientVersion, ImageRef


@dataclass(frozen=True)
class _Missing:
    """Why a folder is incomplete; `outage` is the error of a service that could not be queried."""

    reason: str
    outage: KmatrixError | None = None


def manifests(call: Invocation) -> Exit:
    """Replace build/deploy/<profile>, or --out: one folder per deployment method and client version.

    Clients are independent: an incomplete client withholds only its own folders, and an earlier run's are kept.

    Raises:
        InputError: nothing can be written, as earlier steps are missing.
        UnreachableError, CredentialError: nothing can be written, as the package root cannot be queried.
    """
    chosen = select_profile(call)
    pins = pins_for(call, chosen)
    sources = read_folder(call.root / "deploy", "manifest sources", (".yaml", ".yaml.j2"))
    made, missing = _folders(call, chosen, pins, sources)
    outages = [each.outage for each in missing.values() if each.outage]
    lacking = len(missing) - len(outages)
    steps = ", ".join(command(step, chosen.name) for step in ("discover", "build", "bundle"))
    hint = f"In this order: {steps}. A build in the cluster needs the first alone: `--method in-cluster-build`."
    if not made and not lacking and outages:
        raise outages[0]
    if not made:
        problems = tuple(Problem(name, each.reason) for name, each in missing.items())
        raise InputError(f"all manifests of profile {chosen.name} are incomplete", hint, problems)
    policy = policy_of(call, chosen, sources)
    target = call.out or call.root / "build" / "deploy" / chosen.name
    before = _by_folder(read_written(target))
    kept = {name: before[name] for name in missing if name in before}
    folders = {**made, **kept}
    files = {f"{name}/{path}": text for name, each in folders.items() for path, text in each.items()}
    replace_folder(target, {**decide.components(sources), **policy.files, **files})
    print(target / "components")
    for name in made:
        print(target / name)
    for name in sorted(before.keys() - folders.keys()):
        call.say(f"manifests: removed {name}, which was not requested")
    for name, each in missing.items():
        left = "; the files of an earlier run are kept" if name in kept else ""
        call.say(f"manifests: not written: {name}: {each.reason}{left}")
    if lacking:
        call.say(hint)
        return Exit.FAILED
    if policy.is_withheld:
        return Exit.FAILED
    return Exit.UNREACHABLE if outages else Exit.OK


def _folders(
    call: Invocation, chosen: SelectedProfile, pins: ProfileLock, sources: decide.Folder
) -> tuple[dict[str, decide.Folder], dict[str, _Missing]]:
    """Return the complete folders, and by name why others are incomplete."""
    methods = call.methods or decide.METHODS
    made: dict[str, decide.Folder] = {}
    missing: dict[str, _Missing] = {}
    clients = _clients(call, chosen)
    max_unavailable = chosen.effective.max_unavailable
    releases = release_kernels(pins)
    published = {"prebuilt", "kmm"} & set(methods)
    bundles = read_bundles(call.bundles_path, chosen.name) if published else {}
    for client in clients:
        result = bundles.get(str(client))
        if result and result.is_published and result.verdict == "errored":
            seen = f", last seen there at {result.seen}" if result.seen else ""
            call.say(
                f"manifests: warning: build/bundles.json has client {client} as errored: {result.reason}; "
                f"its record of the published bundle is used{seen}"
            )
    for client in clients if "prebuilt" in methods else ():
        bundle = _bundle(client, bundles.get(str(client)))
        if isinstance(bundle, str):
            missing[f"prebuilt/{client}"] = _Missing(bundle)
        else:
            made[f"prebuilt/{client}"] = decide.prebuilt(sources, bundle, releases, max_unavailable)
    for client in clients if "kmm" in methods else ():
        bundle = _bundle_with_modules(client, bundles.get(str(client)))
        if isinstance(bundle, str):
            missing[f"kmm/{client}"] = _Missing(bundle)
        else:
            made[f"kmm/{client}"] = decide.kmm(sources, bundle, releases, max_unavailable)
    for client in clients if "in-cluster-build" in methods else ():
        build = _in_cluster(call, chosen, pins, client)
        for method, rhel_workers in (("in-cluster-build", False), ("in-cluster-build-rhel-workers", True)):
            if isinstance(build, _Missing):
                missing[f"{method}/{client}"] = build
            else:
                made[f"{method}/{client}"] = decide.in_cluster_build(sources, build, rhel_workers, max_unavailable)
    return made, missing


def _by_folder(files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return files of <method>/<client>/<file>, by their folder."""
    found: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        method, _, rest = path.partition("/")
        client, _, name = rest.partition("/")
        if name and method != "components":
            found.setdefault(f"{method}/{client}", {})[name] = text
    return found


def _clients(call: Invocation, chosen: SelectedProfile) -> tuple[ClientVersion, ...]:
    known = chosen.effective.clients
    unknown = [client for client in call.clients if client not in map(str, known)]
    if unknown:
        raise InputError(
            f"profile {chosen.name} has no client {', '.join(unknown)}",
            f"Use one of {', '.join(map(str, known))}, or add it to matrix.yaml.",
        )
    return tuple(client for client in known if not call.clients or str(client) in call.clients)


def _bundle(client: ClientVersion, result: BundleResult | None) -> decide.Bundle | str:
    """Return the bundle of a client, or why there is none."""
    if result is None:
        return f"build/bundles.json has no bundle of client {client}"
    if not result.is_published:
        return f"build/bundles.json has client {client} as {result.verdict}: {result.reason}"
    return decide.Bundle(
        client=client,
        image=ImageRef.parse(result.image).with_digest(result.digest),
        kernels=result.kernels,
        arches=tuple(image.arch for image in result.images),
        modules={kernel: ImageRef.parse(image) for kernel, image in result.modules.items()},
    )


def _bundle_with_modules(client: ClientVersion, result: BundleResult | None) -> decide.Bundle | str:
    """Return a client's bundle with an image per kernel for Kernel Module Management, or why there is none."""
    bundle = _bundle(client, result)
    if isinstance(bundle, str) or not (absent := [kernel for kernel in bundle.kernels if kernel not in bundle.modules]):
        return bundle
    if result and result.verdict == "errored":
        return f"build/bundles.json has client {client} as {result.verdict}: {result.reason}"
    cells = ", ".join(f"{client}-{kernel}" for kernel in absent)
    return f"build/bundles.json names no image for Kernel Module Management of {cells}; run `nox -s bundle` again"


def _in_cluster(
    call: Invocation, chosen: SelectedProfile, pins: ProfileLock, client: ClientVersion
) -> decide.InClusterBuild | _Missing:
    """Return the in-cluster build of a client, or why there is none."""
    pin = next((pin for pin in pins.clients if pin.version == client), None)
    if pin is None:
        return _Missing(f"{chosen.effective.lock} has no packages of client {client}")
    source = image_source(call)
    key = call.root / "build" / "packages" / pin.key.sha256
    location = f"{client.repository_directory}/{pin.key.location}"
    try:
        PackageRoot(chosen.effective.packages, call.root).fetch(location, pin.key.sha256, key)
    except KmatrixError as error:
        outage = error if error.exit_code == Exit.UNREACHABLE else None
        return _Missing(f"{error.message}. {error.hint}", outage)
    dockerfile = in_cluster_dockerfile(source, chosen.name, chosen.effective)
    return decide.InClusterBuild(
        client=client,
        dockerfile=dockerfile,
        files=in_cluster_files(source, dockerfile, key.read_bytes()),
        arguments=in_cluster_build_args(chosen.effective, client, pin.key.fingerprint),
    )
