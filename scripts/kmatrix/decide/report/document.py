"""The document `index.json`: what the report shows, machine-readable; the next report is compared with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from kmatrix.decide.formats.rpm_versions import natural
from kmatrix.decide.report.history import change_entry, history, read_earlier, remembered_entry
from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import cell_path
from kmatrix.values.cells import CellResult, Verdict
from kmatrix.values.release_result import ReleaseResult

SCHEMA = 1


def document(report: Report) -> str:
    """Return the document, described by docs/report.schema.json: each cell, release and change is a line of it."""
    told = history(report)
    content = {
        "schema": SCHEMA,
        "profile": report.profile,
        "target": report.target,
        "made": report.made,
        "version": report.version,
        "gates": list(report.gates),
        "counts": {name: sum(cell.verdict == name for cell in report.cells) for name in get_args(Verdict)},
        "clients": sorted({cell.client for cell in report.known_cells}, key=natural, reverse=True),
        "compared_with": told.compared_with,
        "releases": [_release(each) for each in reversed(report.releases)],
        "cells": [_cell(each) for each in report.cells],
        "pending": None if report.pending is None else [asdict(each) for each in report.pending],
        "remembered": [remembered_entry(cell, known) for cell, known in told.remembered.items()],
        "changes": [change_entry(each) for each in told.changes],
    }
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {_lines(value)}" for name, value in content.items()) + "\n}\n"


def read_document(text: str, profile: str = "") -> Mapping[str, Any]:
    """Return an earlier document of the same schema, and of a profile unless that is empty.

    Raises:
        ValueError: it is no such document; the message says what is wrong.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    if content.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {content.get('schema')!r:.40}, and {SCHEMA} was expected")
    if not isinstance(content.get("profile"), str) or profile not in ("", content["profile"]):
        raise ValueError(f"it is about profile {content.get('profile')!r:.40}, not {profile or 'a text'}")
    read_earlier(content)
    return content


def _lines(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(each) for each in value) + "\n]"
    return json.dumps(value)


def _cell(cell: CellResult) -> dict[str, object]:
    return {
        "cell": cell.cell,
        "client": cell.client,
        "kernel": cell.kernel,
        "arch": cell.arch,
        "flavour": cell.flavour,
        "stream": cell.stream,
        "releases": list(cell.releases),
        "verdict": cell.verdict,
        "reason": cell.reason,
        "findings": [each.code for each in cell.findings],
        "warnings": [each.code for each in cell.warnings],
        "gates": dict(cell.gates),
        "image": cell.image,
        "digest": cell.digest,
        "pushed": cell.pushed,
        "at": cell.at,
        "abi": cell.abi,
        "reusable_from": None if cell.reusable_from is None else list(cell.reusable_from),
        "page": cell_path(cell.cell),
    }


def _release(release: ReleaseResult) -> dict[str, object]:
    return {
        "version": release.version,
        "arch": release.arch,
        "state": release.state,
        "streams": list(release.streams),
        "kernels": list(release.kernels),
        "findings": [{"code": each.code, "message": each.message} for each in release.findings],
        "found": release.found,
        "published": release.published,
        "minutes_from_appearance": release.minutes_from_appearance,
        "minutes_from_discovery": release.minutes_from_discovery,
    }
