"""build/bundles.json: read, and written whole after every bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from kmatrix.effects.files import write_atomically
from kmatrix.values.bundles import BundleImage, BundleResult
from kmatrix.values.cells import Finding, Verdict
from kmatrix.values.errors import InputError
from kmatrix.values.names import ImageRef

SCHEMA = 1


def read_bundles(path: Path, profile_name: str) -> dict[str, BundleResult]:
    """Return a profile's bundles of earlier runs by client version; empty where there are none.

    Raises:
        InputError: the file is there and is not as `write_bundles` writes it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema") != SCHEMA or content.get("profile") != profile_name:
            return {}
        return {entry["client"]: _result(entry) for entry in content["bundles"]}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"bundles file {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"bundles file {path}: not as this program writes it ({type(error).__name__}: {error})",
            "Remove the file and run `nox -s bundle`: what is published is asked of the registry.",
        ) from error


def write_bundles(path: Path, profile_name: str, bundles: Iterable[BundleResult]) -> None:
    """Write bundles.json."""
    content = {"schema": SCHEMA, "profile": profile_name, "bundles": [asdict(bundle) for bundle in bundles]}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _result(entry: Mapping[str, Any]) -> BundleResult:
    values = dict(entry)
    if values["verdict"] not in get_args(Verdict):
        raise ValueError(f"{values['verdict']!r} is no verdict")
    for name in ("kernels", "arches", "earlier", "missing", "dropped"):
        values[name] = tuple(values[name])
    values["images"] = tuple(BundleImage(**image) for image in values["images"])
    values["findings"] = tuple(Finding(**finding) for finding in values["findings"])
    # Files of earlier versions of this program have neither of these.
    values["kept"] = {str(kernel): str(reason) for kernel, reason in entry.get("kept", {}).items()}
    modules = {str(kernel): ImageRef.parse(image).pinned for kernel, image in entry.get("modules", {}).items()}
    values["modules"] = modules
    return BundleResult(**values)
