"""However a module file is damaged, there is a finding and no exception."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmatrix.decide.checks import check_module
from kmatrix.decide.formats.elf import MalformedElfError, read_module
from kmatrix.decide.formats.kernel_tree import kernel_facts
from kmatrix.values.module import Expectation
from tests.unit.support.check_case import CELL, KERNEL, KO, TOOLKIT, Case
from tests.unit.support.elf_maker import Ko

_SIGNATURE = b"~Module signature appended~\n"
_PKCS7 = bytes([0, 0, 2, 0, 0, 0, 0, 0])


def codes(ko: bytes) -> list[str]:
    """Return the codes of the findings about an image with this module file."""
    return [finding.code for finding in Case(image={"ko": ko}).check().findings]


def test_signed_module_passes_and_a_cut_signature_does_not() -> None:
    signed = KO.build() + b"pkcs7" + _PKCS7 + (5).to_bytes(4, "big") + _SIGNATURE
    assert Case(image={"ko": signed}).check().passed
    assert codes(KO.build() + b"s7" + signed[-40:]) == ["elf-truncated"]
    assert codes(KO.build() + _SIGNATURE) == ["elf-truncated"]


def test_every_truncation_is_a_finding() -> None:
    whole, case = KO.build(), Case()
    facts, kernel = case.facts(), kernel_facts(KERNEL, TOOLKIT)
    for length in range(len(whole)):
        report = check_module(Expectation(CELL, "sha256:key"), replace(facts, ko=whole[:length]), kernel)
        assert [finding.check for finding in report.findings] == ["elf"], length


def test_damaged_bytes_never_raise() -> None:
    whole, facts, kernel = KO.build(), Case().facts(), kernel_facts(KERNEL, TOOLKIT)
    table = len(whole) - 64 * 11
    for offset in [*range(64), *range(table, len(whole))]:
        damaged = whole[:offset] + bytes([whole[offset] ^ 0xFF]) + whole[offset + 1 :]
        check_module(Expectation(CELL, "sha256:key"), replace(facts, ko=damaged), kernel)


@pytest.mark.parametrize(("offset", "size"), [(40, 8), (60, 2)], ids=["e_shoff", "e_shnum"])
def test_file_without_section_table_is_truncated(offset: int, size: int) -> None:
    whole = KO.build()
    assert codes(whole[:offset] + bytes(size) + whole[offset + size :]) == ["elf-truncated"]


def with_section(index: int, kind: int, size: int) -> bytes:
    """Return the baseline's module with another type and size in one entry of its section table."""
    whole = bytearray(KO.build())
    entry = int.from_bytes(whole[40:48], "little") + 64 * index
    whole[entry + 4 : entry + 8] = kind.to_bytes(4, "little")
    whole[entry + 32 : entry + 40] = size.to_bytes(8, "little")
    return bytes(whole)


def test_only_sections_with_content_must_lie_in_the_file() -> None:
    progbits, nobits, this_module, comment = 1, 8, 2, 3
    with pytest.raises(MalformedElfError, match=r"section \.gnu\.linkonce\.this_module ends at byte"):
        read_module(with_section(this_module, progbits, 1 << 20))
    assert codes(with_section(comment, nobits, 1 << 20)) == []


def test_signature_of_the_right_length_needs_its_mark() -> None:
    trailer = _PKCS7 + (5).to_bytes(4, "big")
    assert codes(KO.build() + b"pkcs7" + trailer + _SIGNATURE) == []
    assert codes(KO.build() + b"pkcs7" + trailer + bytes(len(_SIGNATURE))) == ["elf-truncated"]


def test_description_without_a_value_is_no_field() -> None:
    assert "name" not in read_module(Ko(raw={".modinfo": b"name\0version=1\0"}).build()).modinfo


def test_damaged_version_tables_are_named() -> None:
    with pytest.raises(MalformedElfError, match="__versions has 63 bytes"):
        read_module(replace(KO, raw={"__versions": bytes(63)}).build())
    with pytest.raises(MalformedElfError, match="has 2 CRCs, __version_ext_names 1 names"):
        read_module(replace(KO, extended={"_printk": 1}, raw={"__version_ext_crcs": bytes(8)}).build())


def test_read_module_says_what_is_wrong() -> None:
    with pytest.raises(MalformedElfError, match="not ELF"):
        read_module(b"MZ")


def test_damaged_module_leaves_the_layout_judged() -> None:
    report = Case(image={"ko": b"", "has_cp": False}).check()
    assert {finding.code for finding in report.findings} == {"elf-garbage", "layout-no-cp"}
    assert any("not applied" in note for note in report.notes)
