"""Which statements about an image this project has made, of all that a trusted key has signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmatrix.decide.gate_record import MalformedRecordError
from kmatrix.decide.provenance import BUNDLE_BUILD, CELL_BUILD
from kmatrix.decide.spdx import is_document
from kmatrix.decide.test_result import record_of
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT, Statement

# The types of statements that this project makes; other programs may make some of these types, with the same key.
OWN_TYPES = frozenset({TEST_RESULT, PROVENANCE, SPDX})


def is_own(statement: Statement) -> bool:
    """Return whether a statement has the form in which this project makes one of its type."""
    if statement.predicate_type == TEST_RESULT:
        return _is_record(statement)
    if statement.predicate_type == PROVENANCE:
        return _build_type(statement.predicate) in (CELL_BUILD, BUNDLE_BUILD)
    return statement.predicate_type == SPDX and is_document(statement.predicate, statement.digest)


def _is_record(statement: Statement) -> bool:
    try:
        record_of(statement)
    except MalformedRecordError:
        return False
    return True


def _build_type(predicate: Mapping[str, Any]) -> object:
    definition = predicate.get("buildDefinition")
    return definition.get("buildType") if isinstance(definition, dict) else None
