"""An attestation: a statement about one image, which somebody signs and a registry keeps beside the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Types of predicates: in-toto/attestation, spec/predicates/test-result.md and spdx.md; slsa-framework/slsa,
# docs/spec/v1.0/provenance.md.
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
# Their names for people, in the order in which results have them.
KINDS = {TEST_RESULT: "test result", PROVENANCE: "provenance", SPDX: "SBOM"}


@dataclass(frozen=True)
class Statement:
    """An in-toto statement about one image.

    Attributes:
        predicate_type: what the statement is about, such as `TEST_RESULT`.
        name: the repository of the image, as HOST/PATH.
        digest: of the image's manifest or list, as `sha256:…`.
        predicate: the statement itself, as JSON values; its form belongs to its type.
    """

    predicate_type: str
    name: str
    digest: str
    predicate: Mapping[str, Any]
