"""The page of attestations: its examples are rendered, and its fields are those of the statements."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import replace
from json import dumps
from typing import Any

import pytest

from kmatrix.decide import test_result as form
from kmatrix.decide.provenance import BUNDLE_BUILD, CELL_BUILD, cell_provenance
from kmatrix.decide.sbom import sbom
from kmatrix.values.attestation import PROVENANCE, SPDX, TEST_RESULT
from kmatrix.values.cells import Finding
from kmatrix.values.gate_record import GatePass, GateRecord, RecordedModule, TestedKernel
from kmatrix.values.recipe import Recipe
from tests.unit.support.attested_cell import BASE, BUILDER, DIGEST, FACTS, NAME, contents_of, named, recipe_of
from tests.unit.support.documents import ROOT, section, text_of
from tests.unit.support.made_up_profile import digest

PAGE = "docs/attestations.md"
WIDTH = 132


def _recipe() -> Recipe:
    """A recipe whose own files never change."""
    files = {name: name.encode() for name in ("beegfs-node", "build-module", "unpack-packages")}
    return replace(recipe_of(), files=files, dockerfile="FROM …\n", cell_key=digest("5"))


def _test_result() -> Any:
    recipe = _recipe()
    record = GateRecord(
        digest=DIGEST,
        name=recipe.cell.id,
        cell_key=recipe.cell_key,
        gates={
            gate: GatePass(f"2026-01-01T00:01:0{second}Z", "0.1.0")
            for second, gate in enumerate(("static", "boot", "mount"))
        },
        module=RecordedModule(
            ("KERNEL_HAS_IDMAPPED_MOUNTS",), {"module_layout": 0x0A1B2C3D, "_printk": 0x5}, (), "GPL v2"
        ),
        kernels=(TestedKernel(recipe.cell.toolkit.pinned, f"sha256:{'3' * 64}", recipe.cell.kernel),),
        revision="a" * 40,
    )
    return form.test_result(record, NAME).predicate


def _provenance() -> Any:
    return cell_provenance(NAME, DIGEST, _recipe(), BASE, FACTS, BUILDER).predicate


def _sbom() -> Any:
    document = sbom(NAME, DIGEST, contents_of(_recipe())).predicate
    module = named(document, "beegfs")
    related = [each for each in document["relationships"] if module["SPDXID"] in each.values()]
    chosen = [named(document, "openssl-libs"), module]
    return {**document, "packages": chosen, "relationships": related}


EXAMPLES: dict[str, Callable[[], Any]] = {"test-result": _test_result, "provenance": _provenance, "sbom": _sbom}


def laid_out(value: Any, indent: int = 0, name: int = 0) -> str:
    """The JSON text of a value, on one line where that is short enough.

    Args:
        value: the value.
        indent: the columns before its line.
        name: the columns of its name on that line.
    """
    flat = dumps(value, ensure_ascii=False)
    if indent + name + len(flat) < WIDTH or not isinstance(value, (dict, list)):
        return flat
    if isinstance(value, dict):
        names = {key: f"{dumps(key)}: " for key in value}
        lines = [names[key] + laid_out(each, indent + 2, len(names[key])) for key, each in value.items()]
        return "{\n" + textwrap.indent(",\n".join(lines), "  ") + "\n}"
    return "[\n" + textwrap.indent(",\n".join(laid_out(each, indent + 2) for each in value), "  ") + "\n]"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_is_stated(name: str) -> None:
    """With KMATRIX_UPDATE_GOLDEN=1 the page is rewritten instead."""
    text = text_of(PAGE)
    mark = f"<!-- example: {name} -->\n"
    before, found, after = text.partition(mark)
    assert found
    block = re.match(r"(?:\n|    .*\n)*", after)
    assert block
    expected = "\n" + textwrap.indent(laid_out(EXAMPLES[name]()), "    ") + "\n"
    if os.environ.get("KMATRIX_UPDATE_GOLDEN"):
        rest = after[block.end() :]
        (ROOT / PAGE).write_text(before + mark + expected + ("\n" + rest if rest else ""), encoding="utf-8")
        return
    assert block[0].rstrip("\n") == expected.rstrip("\n"), "KMATRIX_UPDATE_GOLDEN=1 rewrites the page"


def test_the_types_of_statements_and_builds_are_named() -> None:
    text = text_of(PAGE)
    assert all(f"`{name}`" in text for name in (TEST_RESULT, PROVENANCE, SPDX, CELL_BUILD, BUNDLE_BUILD))


def test_every_field_of_a_test_result_is_explained() -> None:
    text = section(PAGE, "Test result")
    predicate = _test_result()
    assert [name for name in predicate if f"`{name}`" not in text] == []
    program, toolkit, kernel = predicate["configuration"]
    annotations = [*program["annotations"], *program["annotations"]["module"], *kernel["annotations"]]
    assert [name for name in annotations if f"`{name}`" not in text and f"`{name}`:" not in text] == []
    assert all(f"`{each['name']}`" in text for each in (program, toolkit, kernel))


def test_every_field_of_provenance_is_explained() -> None:
    text = section(PAGE, "Provenance")
    definition = cell_provenance(NAME, DIGEST, replace(recipe_of(), certificate=b"der"), BASE, FACTS, BUILDER).predicate
    inputs = definition["buildDefinition"]
    fields = [*inputs, *inputs["externalParameters"], *inputs["internalParameters"]]
    fields += [*definition["runDetails"]["metadata"], "runDetails", "builder.id", "builder.version"]
    assert [name for name in fields if f"`{name}`" not in text] == []
    names = [each["name"] for each in inputs["resolvedDependencies"]]
    others = ("dockerfiles/", "images/", "beegfs-")
    unexplained = [name for name in names if not name.startswith(others) and f"`{name}`" not in text]
    assert unexplained == ["matrix.lock"], "the page calls it the lock"


def test_every_relationship_of_a_bill_of_materials_is_explained() -> None:
    text = section(PAGE, "Bill of materials")
    document = sbom(NAME, DIGEST, contents_of(replace(recipe_of(), certificate=b"der"))).predicate
    kinds = {each["relationshipType"] for each in document["relationships"]}
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in text] == []


def test_a_warning_has_the_form_of_results() -> None:
    record = GateRecord(DIGEST, "c", "", {"static": GatePass("", "")}, warnings=(Finding("f", "c", "m", "e", "a"),))
    (program,) = form.test_result(record, NAME).predicate["configuration"]
    assert list(program["annotations"]["warnings"][0]) == ["check", "code", "message", "expected", "actual"]
    row = re.search(r"^\| `findings` \|.*$", text_of("docs/results.md"), re.MULTILINE)
    assert row
    assert all(f"`{name}`" in row[0] for name in program["annotations"]["warnings"][0])
