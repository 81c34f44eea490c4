"""The document `index.json`: what the report shows, for programs; the next report compares itself with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kmatrix.decide.report.model import Report
from kmatrix.decide.report.paths import cell_path

SCHEMA = 1


def document(report: Report) -> str:
    """Return the document, described by docs/report.schema.json."""
    content = {
        "schema": SCHEMA,
        "profile": report.profile,
        "target": report.target,
        "made": report.made,
        "version": report.version,
        "gates": report.gates,
        "cells": [
            {"cell": each.cell, "verdict": each.verdict, "digest": each.digest, "page": cell_path(each.cell)}
            for each in report.cells
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_document(text: str, profile: str) -> Mapping[str, Any]:
    """Return an earlier document of the same profile and schema; empty for one of another.

    Raises:
        ValueError: it is no such document.
    """
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    return content if (content.get("schema"), content.get("profile")) == (SCHEMA, profile) else {}
