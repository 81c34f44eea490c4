"""Bundles: composed in the registry from the cells' layers, booted with each kernel, and tagged only then."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from dataclasses import replace
from typing import Any

import docker
import pytest
import requests

from kmatrix.decide import bundle as composing
from kmatrix.decide.bundle import CellImage, Composed
from kmatrix.decide.image_documents import Layer
from kmatrix.effects.engine.docker import DockerEngine
from kmatrix.effects.registry.credentials import load_credentials
from kmatrix.effects.registry.writer import RegistryWriter
from kmatrix.stages import bundle as stage
from kmatrix.stages import bundle_boots
from kmatrix.values.names import ClientVersion, ImageRef, image_tag, without_arch
from tests.integration.support.lab import Lab
from tests.integration.support.project.build_cache import has_image
from tests.integration.support.project.granted_boots import boots_taken_for_granted, gates_taken_for_granted
from tests.integration.support.project.site import NEWER_CLIENT, OLDER_CLIENT, PROFILE, Run, Site, SiteMaker


def bundles(site: Site) -> dict[str, dict[str, Any]]:
    """Return the entries of build/bundles.json by client."""
    content = json.loads((site.root / "build" / "bundles.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["profile"]) == (2, "site")
    return {entry["client"]: entry for entry in content["bundles"]}


def layers(site: Site, tag: str) -> list[str]:
    """Return the digests of the layers under a tag."""
    return [layer["digest"] for layer in site.registry.manifest(site.repository, image_tag(tag))["layers"]]


def config(site: Site, tag: str) -> dict[str, Any]:
    """Return the configuration under a tag."""
    digest = site.registry.manifest(site.repository, image_tag(tag))["config"]["digest"]
    url = f"http://{site.registry.address}/v2/{site.repository}/blobs/{digest}"
    found: dict[str, Any] = requests.get(url, timeout=30).json()
    return found


def built(site: Site, *arguments: str) -> None:
    """Publish every cell as one that passed each gate; that the cells' own gate boots them is tested elsewhere."""
    with gates_taken_for_granted():
        run = site.run("build", *arguments, boot=True)
    assert run.code == 0, run.stderr


def composed(site: Site) -> Run:
    """Compose the bundles without booting them, for a test of what they are made of."""
    with boots_taken_for_granted():
        return site.run("bundle")


def booted(site: Site, client: str, kernel: str) -> bool:
    """Return whether a boot of the bundle with this kernel came to its end."""
    log = site.root / "build" / "logs" / PROFILE / f"bundle-{client}-{kernel}.serial.log"
    return "@kmatrix done" in log.read_text(encoding="utf-8")


def held_by_engine(site: Site, digest: str) -> bool:
    client = docker.from_env()
    try:
        return has_image(client, f"{site.target}/beegfs-client@{digest}")
    finally:
        client.close()


def test_a_bundle_has_every_kernels_own_layer_and_one_more_kernel_adds_one(lab: Lab, new_site: SiteMaker) -> None:
    order = [lab.kernels.older, lab.kernels.newer, lab.kernels.real_time, lab.kernels.next_line]
    site = new_site(kernels=order)
    built(site)

    # An unpublished cell is named, and the others are composed.
    site.registry.delete(site.repository, image_tag(f"{NEWER_CLIENT}-{order[-1]}"))
    fewer = composed(site)
    assert fewer.code == 0, fewer.stderr
    assert f"not included, because unpublished: {NEWER_CLIENT}-{order[-1]}\n" in fewer.stderr
    entry = bundles(site)[NEWER_CLIENT]
    assert (entry["verdict"], entry["kernels"]) == ("passed", order[:-1])
    assert entry["missing"] == [f"{NEWER_CLIENT}-{order[-1]}"]
    of_fewer, digest_of_fewer = layers(site, NEWER_CLIENT), entry["digest"]

    built(site)
    whole = site.run("bundle")
    assert whole.code == 0, whole.stderr
    entry = bundles(site)[NEWER_CLIENT]
    assert (entry["verdict"], entry["kernels"], entry["arches"]) == ("passed", order, ["x86_64"])
    assert (entry["missing"], entry["dropped"]) == ([], [])
    assert entry["image"] == f"{site.target}/beegfs-client:{NEWER_CLIENT}"
    assert entry["digest"] == site.registry.digest(site.repository, NEWER_CLIENT)

    of_cells = [layers(site, f"{NEWER_CLIENT}-{kernel}") for kernel in order]
    assert all(each[:-1] == of_cells[0][:-1] for each in of_cells), "the cells do not share the layers below the module"
    found = layers(site, NEWER_CLIENT)
    assert found == [*of_cells[0][:-1], *(each[-1] for each in of_cells)]
    assert len(set(found)) == len(of_cells[0]) + 3
    assert found[:-1] == of_fewer, "a node of the bundle with one kernel less would pull more than one layer"
    assert all(booted(site, NEWER_CLIENT, kernel) for kernel in order)

    labels = config(site, NEWER_CLIENT)["config"]["Labels"]
    assert labels["io.github.beegfs-kmatrix.kernels"] == ",".join(order)
    assert "io.github.beegfs-kmatrix.kernel" not in labels
    assert "io.github.beegfs-kmatrix.cell-key" not in labels

    (image,) = entry["images"]
    sizes = [layer["size"] for layer in site.registry.manifest(site.repository, NEWER_CLIENT)["layers"]]
    assert (image["bytes"], list(image["kernels"].values())) == (sum(sizes), sizes[-4:])
    assert image["toolkit_bytes"] > image["bytes"] > sizes[-1] > 0
    assert f"{sum(sizes)} bytes compressed, {sizes[-1]} of them for kernel {order[-1]} alone" in whole.stderr
    assert not held_by_engine(site, entry["digest"]), "the image that was pulled for the boot is still there"

    # A kernel that the published bundle has is taken over from it, to the byte; once it is not wanted, that is said.
    site.registry.delete(site.repository, image_tag(f"{NEWER_CLIENT}-{order[-1]}"))
    kept = site.run("bundle")
    again = bundles(site)[NEWER_CLIENT]
    assert (kept.code, again["verdict"], again["digest"]) == (0, "skipped", entry["digest"]), kept.stderr
    assert again["kernels"] == order
    assert again["kept"].keys() == {order[-1]}
    assert f"kept {order[-1]} from the earlier bundle: its cell is planned" in kept.stderr
    assert site.registry.digest(site.repository, NEWER_CLIENT) == entry["digest"]
    unwanted = set(lab.kernels.as_dict().values()) - set(order[:-1])
    site.change_profile(excludes=[{"kernel": kernel, "reason": "not any more"} for kernel in sorted(unwanted)])
    assert site.run("discover").code == 0
    less = composed(site)
    assert bundles(site)[NEWER_CLIENT]["digest"] == digest_of_fewer, "the same cells give the same bytes"
    assert bundles(site)[NEWER_CLIENT]["dropped"] == [order[-1]]
    assert f"the new bundle drops {order[-1]}" in less.stderr


def test_a_kernel_that_was_built_for_on_another_day_adds_its_module_alone(
    lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's package manager writes other bytes each time; nodes keep the layers of the first build."""
    older, newer = lab.kernels.older, lab.kernels.newer
    site = new_site(kernels=[older, newer])
    stage_line = "FROM base AS userland\n"
    site.alter("Dockerfile.j2", stage_line, f"{stage_line}RUN cat /proc/uptime >/made-at\n")
    built(site, "--only", f"{NEWER_CLIENT}-{newer}")
    build = DockerEngine.build
    monkeypatch.setattr(DockerEngine, "build", lambda *args, **options: build(*args, **{**options, "no_cache": True}))
    built(site, "--only", f"{NEWER_CLIENT}-{older}")
    first, second = (layers(site, f"{NEWER_CLIENT}-{kernel}") for kernel in (newer, older))
    assert first[:-1] != second[:-1], "the second was not built again"

    run = composed(site)
    assert run.code == 0, run.stderr
    assert layers(site, NEWER_CLIENT) == [*first[:-1], second[-1], first[-1]]


def test_kmms_image_of_a_kernel_stays_while_its_module_does(lab: Lab, new_site: SiteMaker) -> None:
    """KMM replaces the module wherever the image's digest differs.

    ProcessModuleSpec, internal/controllers/nmc_reconciler.go of rh-ecosystem-edge/kernel-module-management.
    """
    order = [lab.kernels.older, lab.kernels.newer]
    site = new_site(kernels=order)
    built(site)
    tags = {kernel: image_tag(f"{NEWER_CLIENT}-{without_arch(kernel, 'x86_64')}") for kernel in order}
    assert not set(tags.values()) & site.tags

    def modules() -> dict[str, str]:
        """Return the images that bundles.json names, which are those of the registry."""
        run = composed(site)
        assert run.code == 0, run.stderr
        found: dict[str, str] = bundles(site)[NEWER_CLIENT]["modules"]
        name = f"{site.target}/beegfs-client"
        assert found == {kernel: f"{name}@{site.registry.digest(site.repository, tags[kernel])}" for kernel in order}
        return found

    def of_cells() -> dict[str, str]:
        """Return the image of each cell."""
        ids = {kernel: image_tag(f"{NEWER_CLIENT}-{kernel}") for kernel in order}
        name = f"{site.target}/beegfs-client"
        return {kernel: f"{name}@{site.registry.digest(site.repository, tag)}" for kernel, tag in ids.items()}

    first, of_bundle = modules(), bundles(site)[NEWER_CLIENT]["digest"]
    assert first == of_cells(), "for one architecture it is the cell's very image"

    site.alter("beegfs-node", "#!/bin/bash\n", "#!/bin/bash\n# Another entry point, the same module.\n")
    built(site)
    assert not set(of_cells().values()) & set(first.values()), "the cells were not built again"
    assert modules() == first
    assert bundles(site)[NEWER_CLIENT]["digest"] != of_bundle, "the bundle has the new entry point"

    # The tag records the image that Modules have; without it there is nothing to keep.
    site.registry.delete(site.repository, tags[order[0]])
    assert modules() == {**first, order[0]: of_cells()[order[0]]}


def test_a_second_run_asks_the_registry_alone(lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    site = new_site(clients=[NEWER_CLIENT, OLDER_CLIENT], kernels=[lab.kernels.newer])
    built(site)
    first = site.run("bundle", "--only", f"{NEWER_CLIENT}-*")
    assert first.code == 0, first.stderr
    assert set(bundles(site)) == {NEWER_CLIENT}, "--only picks the clients"

    site.registry.delete(site.repository, image_tag(f"{OLDER_CLIENT}-{lab.kernels.newer}"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was not to be pulled, booted or written")

    for owner, name in ((DockerEngine, "pull"), (bundle_boots, "boot_image"), (RegistryWriter, "put_manifest")):
        monkeypatch.setattr(owner, name, refuse)
    again = site.run("bundle")
    found = bundles(site)
    assert found[NEWER_CLIENT]["verdict"] == "skipped", again.stderr
    assert found[NEWER_CLIENT]["digest"] == site.registry.digest(site.repository, NEWER_CLIENT)
    # A client without any cell has no bundle, and that does not pass as success.
    assert again.code == 3
    assert (found[OLDER_CLIENT]["verdict"], found[OLDER_CLIENT]["digest"]) == ("errored", "")
    assert "none of its 1 cells is published" in found[OLDER_CLIENT]["reason"]
    assert OLDER_CLIENT not in site.tags


def test_a_bundle_that_a_kernel_cannot_load_from_gets_no_tag(
    lab: Lab, new_site: SiteMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = lab.kernels.older, lab.kernels.newer
    site = new_site(kernels=[older, newer])
    built(site)
    sound = composing.compose

    def omitting(client: ClientVersion, images: tuple[CellImage, ...], *_: str) -> Composed:
        """A bundle that lists a kernel whose layer it has not."""
        return replace(sound(client, images[:-1]), kernels=sound(client, images).kernels)

    def swapping(client: ClientVersion, images: tuple[CellImage, ...], *_: str) -> Composed:
        """A bundle whose newest kernel has the module of another one."""
        first, last = images
        unpacked, layer = moved(site, first, newer)
        ids = [*last.config["rootfs"]["diff_ids"][:-1], unpacked]
        config = {**last.config, "rootfs": {**last.config["rootfs"], "diff_ids": ids}}
        return sound(client, (first, replace(last, layers=(*last.layers[:-1], layer), config=config)))

    for damaged, code in ((omitting, "module-missing"), (swapping, "load-refused")):
        monkeypatch.setattr(stage, "compose", damaged)
        run = site.run("bundle")
        entry = bundles(site)[NEWER_CLIENT]
        assert run.code == 1, run.stderr
        assert (entry["verdict"], entry["digest"]) == ("failed", "")
        assert [finding["code"] for finding in entry["findings"]] == [code]
        assert newer in entry["reason"]
        assert booted(site, NEWER_CLIENT, older), "the other kernel was not booted"
        assert NEWER_CLIENT not in site.tags

    monkeypatch.setattr(stage, "compose", sound)
    mended = site.run("bundle")
    assert mended.code == 0, mended.stderr
    assert bundles(site)[NEWER_CLIENT]["digest"] == site.registry.digest(site.repository, NEWER_CLIENT)

    # The command `boot` boots each of its kernels; a prompt is in one.
    name = f"{site.target}/beegfs-client:{NEWER_CLIENT}"
    by_hand = site.run("boot", name, "--accel", "tcg")
    assert by_hand.code == 0, by_hand.stderr
    assert re.findall("^boot passed: booted: ([^:]+): ", by_hand.stdout, re.MULTILINE) == [older, newer]
    assert re.findall("^mount passed: [a-z]+: ([^:]+): ", by_hand.stdout, re.MULTILINE) == [older, newer]
    refused = site.run("boot", name, "--shell")
    assert refused.code == 2
    assert f"has modules for {older}, {newer}" in refused.stderr


def moved(site: Site, image: CellImage, kernel: str) -> tuple[str, Layer]:
    """Upload a layer with a cell's module where that of another kernel belongs; its digest unpacked, and itself."""
    own = image.layers[-1]
    url = f"http://{site.registry.address}/v2/{site.repository}/blobs/{own.digest}"
    changed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(requests.get(url, timeout=30).content), mode="r:gz") as old,
        tarfile.open(fileobj=changed, mode="w") as new,
    ):
        for member in old:
            member.name = member.name.replace(image.cell.kernel, kernel)
            member.linkname = member.linkname.replace(image.cell.kernel, kernel)
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    packed = gzip.compress(changed.getvalue())
    repository = ImageRef.parse(f"{site.target}/beegfs-client")
    digest = RegistryWriter(load_credentials(None)).put_blob(repository, packed)
    unpacked = "sha256:" + hashlib.sha256(changed.getvalue()).hexdigest()
    return unpacked, Layer(digest, own.media_type, len(packed))
