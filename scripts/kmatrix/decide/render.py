"""Renders a cell's Dockerfile and computes its key: offline, byte-stable, and safe against values from outside."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import jinja2

from kmatrix.decide.formats.dockerfile import identity, select_copied
from kmatrix.values.cells import Cell
from kmatrix.values.command_lines import command
from kmatrix.values.errors import InputError
from kmatrix.values.lock import ProfileLock
from kmatrix.values.matrix import Profile, mirrored
from kmatrix.values.pins import ClientPin
from kmatrix.values.recipe import (
    KEY_FILE,
    MODULE_FOLDER,
    PACKAGES_FOLDER,
    RENDERED_MARK,
    SOURCE,
    ImageSource,
    PackageFile,
    Recipe,
    userland_packages,
)

TEMPLATE = "images/beegfs-client/Dockerfile.j2"
_HARMLESS = re.compile(r"[A-Za-z0-9._+:/@=,~^ -]*")


def make_recipe(
    cell: Cell,
    profile_name: str,
    profile: Profile,
    pins: ProfileLock,
    source: ImageSource,
    certificate: bytes = b"",
) -> Recipe:
    """Decide everything that goes into a cell's image.

    Args:
        cell: the cell.
        profile_name: for the Dockerfile's banner, which is no part of the cell key.
        profile: base packages, mirrors, RDMA.
        pins: the profile's lock.
        source: the folder of the template.
        certificate: that the module is signed with, in DER; empty for a module that is not signed.

    Raises:
        InputError: the lock lacks a package, a value could change the meaning of the Dockerfile, the
            template lacks its banner or uses a name that does not exist, or a file that it copies does not exist.
    """
    userland_pin = _client_pin(cell, profile.base_stream, pins, profile_name)
    source_pin = _client_pin(cell, cell.stream, pins, profile_name)
    userland = tuple(_package(userland_pin, name, profile_name) for name in userland_packages(cell.client))
    package = _package(source_pin, SOURCE, profile_name)
    base = mirrored(profile.base.with_digest(pins.base.digest), profile.mirrors)
    toolkit = mirrored(cell.toolkit, profile.mirrors)
    dockerfile = render_dockerfile(
        source.template,
        in_cluster=False,
        profile=profile_name,
        cell=cell,
        base=base.pinned,
        base_packages=profile.base_packages,
        toolkit=toolkit.pinned,
        fingerprint=source_pin.key.fingerprint,
        userland=userland,
        source=package,
        rdma=profile.rdma,
        certificate=bool(certificate),
    )
    if not any(line.startswith(RENDERED_MARK) for line in dockerfile.splitlines()):
        raise InputError(
            f"{TEMPLATE} renders to no line that begins with `{RENDERED_MARK.strip()}`",
            "Put that comment back: it distinguishes rendered files from others.",
        )
    files = copied_files(source, dockerfile, supplied=(KEY_FILE, PACKAGES_FOLDER, MODULE_FOLDER))
    decisive: dict[str, object] = {
        "dockerfile": identity(dockerfile),
        "files": {name: _sha256(content) for name, content in files.items()},
        "packages": {entry.file: entry.pin.sha256 for entry in (*userland, package)},
        "key": source_pin.key.sha256,
        "toolkit": cell.toolkit.digest,
    }
    if certificate:
        decisive["certificate"] = _sha256(certificate)
    return Recipe(
        cell=cell,
        dockerfile=dockerfile,
        files=files,
        base=base,
        toolkit=toolkit,
        key=source_pin.key,
        repository=cell.client.repository_directory,
        userland=userland,
        source=package,
        cell_key=_key(decisive),
        certificate=certificate,
    )


def copied_files(source: ImageSource, dockerfile: str, supplied: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files written by people that a Dockerfile copies, by path.

    Args:
        source: the folder of the template.
        dockerfile: the template, rendered.
        supplied: files and folders that come into the context from elsewhere, and are not examined.

    Raises:
        InputError: a file is not there or could not be read, or the Dockerfile does not name the files that it copies.
    """
    return select_copied(dockerfile, source.files, source.unreadable, TEMPLATE, supplied)


def _client_pin(cell: Cell, stream: str, pins: ProfileLock, profile_name: str) -> ClientPin:
    for pin in pins.clients:
        if (pin.version, pin.stream, pin.arch) == (cell.client, stream, cell.arch):
            return pin
    raise InputError(
        f"the lock has no packages of client {cell.client} for {stream} on {cell.arch}",
        f"Run {command('discover', profile_name)}.",
    )


def _package(pin: ClientPin, name: str, profile_name: str) -> PackageFile:
    for package in pin.packages:
        if package.name == name:
            return PackageFile(PurePosixPath(package.location).name, package.nevra, package)
    raise InputError(
        f"the lock has no package {name} of client {pin.version} for {pin.stream}",
        f"Run {command('discover', profile_name)}.",
    )


def render_dockerfile(template: str, **values: Any) -> str:
    """Render the template.

    Raises:
        InputError: a value could change the meaning of the Dockerfile, or the template is broken or uses a
            name that does not exist.
    """
    try:
        return _compiled(template).render(**values)
    except jinja2.TemplateError as error:
        raise InputError(f"{TEMPLATE}: {error.message}", "Correct the template.") from error


@lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_harmless
    )
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{TEMPLATE}:{error.lineno}: {error.message}", "Correct the template.") from error


def _harmless(value: object) -> object:
    """Refuse a value that could end a Dockerfile's line or word; its type has been checked before."""
    text = str(value)
    if isinstance(value, jinja2.Undefined) or _HARMLESS.fullmatch(text):
        return value
    raise InputError(
        f"{TEMPLATE}: the value {text!r} has characters that are not allowed in a rendered Dockerfile",
        "Look at where it comes from: matrix.yaml, matrix.lock or an override.",
    )


def _key(identity: dict[str, object]) -> str:
    return "sha256:" + _sha256(json.dumps(identity, sort_keys=True).encode())


# The files are the same objects for every cell.
@lru_cache(maxsize=64)
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
