"""Secrets are removed from addresses, however people and other programs write them; the rest stays."""

from __future__ import annotations

import pytest

from kmatrix.values.errors import BuildError, InputError, Problem, UnreachableError
from kmatrix.values.redaction import redacted, redacted_reference

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"https://user:{SECRET}@host:5000/path", "https://***@host:5000/path"),
        (f"https://{SECRET}@host/path is out", "https://***@host/path is out"),
        (f"'http://user:a/{SECRET}@host/x' is wrong", "'http://***@host/x' is wrong"),
        (f"http://user:a@{SECRET}@host/x", "http://***@host/x"),
        (f"https://user:a?{SECRET}@host/x", "https://***"),
        (f"https://host/x?sig={SECRET}&b=c: 403", "https://host/x?***: 403"),
        (f"https://host/x?{SECRET}", "https://host/x?***"),
        (f"https://host/x?mail=a@b&sig={SECRET}", "https://***"),
        (f"(see https://host/x?a={SECRET})", "(see https://host/x?***)"),
        (f"ssh://{SECRET}@host/x, https://{SECRET}@other/y", "ssh://***@host/x, https://***@other/y"),
        (f"user:{SECRET}@host/x", "***@host/x"),
        (f"user:a/{SECRET}@[::1]:5000/x", "***@[::1]:5000/x"),
        (f"--target=user:{SECRET}@host/x", "--target=***@host/x"),
        (
            f"exceeded with url: /blobs/1?X-Amz-Signature={SECRET} (Caused by",
            "exceeded with url: /blobs/1?*** (Caused by",
        ),
        (f"exceeded with url: /blobs/1?{SECRET} (Caused by", "exceeded with url: /blobs/1?*** (Caused by"),
        (f"exceeded with url: /blobs/1?a%3D{SECRET}/x (Caused by", "exceeded with url: /blobs/1?*** (Caused by"),
        (f"exceeded with url: //x?{SECRET} (Caused by", "exceeded with url: //x?*** (Caused by"),
        (f"with url: x/y?sig={SECRET}", "with url: x/y?***"),
        (f"('/blobs/1?{SECRET}', 7)", "('/blobs/1?***', 7)"),
        (f'with url: /blobs/1?sig="{SECRET}" (Caused by', 'with url: /blobs/1?***" (Caused by'),
        (f"'/blobs/1?sig=\"{SECRET}\"'", "'/blobs/1?***\"'"),
        (f'"/blobs/1?{SECRET}": no', '"/blobs/1?***": no'),
    ],
)
def test_no_user_information_and_no_query_is_left(text: str, expected: str) -> None:
    assert SECRET not in redacted(text)
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "quay.io/team/image:tag@sha256:" + "a" * 64,
        "https://quay.io/v2/team/image/manifests/a@sha256:" + "a" * 64,
        "https://[::1]:5000/x is it there?",
        "is it at https://host/x?",
        "Vendor <packages@vendor.example>",
        "127.0.0.1:5080/beegfs-client:8.98.1-6.1.0-56-amd64",
        "nothing found: why? a=b",
        "is it '/srv/x'? or '/srv/y'?",
        "with url: /x",
        "with url: /x? (Caused by",
        "(with url: /x?)",
        "is it '/srv/x?', or not?",
    ],
)
def test_the_rest_of_a_text_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{SECRET}@quay.io/team", "***@quay.io/team"),
        (f"user:{SECRET}@quay.io/team", "***@quay.io/team"),
        (f"https://{SECRET}@quay.io/team", "https://***@quay.io/team"),
        ("quay.io/team/x@sha256:12", "quay.io/team/x@sha256:12"),
    ],
)
def test_a_user_before_a_registry_is_taken_out(text: str, expected: str) -> None:
    assert redacted_reference(text) == expected


def test_every_error_is_born_without_secrets() -> None:
    address = f"https://user:{SECRET}@host/x?sig={SECRET}"
    for error in (
        InputError(f"wrong: {address}", f"see {address}", (Problem("file", f"is {address}"),)),
        UnreachableError("graph", address, f"failed: {address}", f"see {address}"),
        BuildError(f"failed: {address}", (f"curl {address}",)),
    ):
        told = f"{error} {error!r} {error.args} {error.message} {error.hint} {getattr(error, 'excerpt', '')}"
        assert SECRET not in told
