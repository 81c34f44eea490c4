"""Challenges as registries and the proxies before them send them.

The form is RFC 9110's, 11.2 to 11.6.1. Examples: RFC 9110, 11.6.1 (several in one header); Harbor's
(goharbor/harbor, src/server/middleware/v2auth/auth.go, getChallenge); the quoted pairs of distribution's own test
(distribution/distribution, internal/client/auth/challenge/authchallenge_test.go, TestAuthChallengeParse).
"""

from __future__ import annotations

import pytest

from kmatrix.effects.registry.challenges import Challenge, parse_challenges

TOKEN = {"realm": "https://h/token", "service": "s"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Bearer realm="https://h/token",service="s"'], [("bearer", TOKEN)]),
        (['Bearer  realm = "https://h/token" ,\tservice\t=\t"s"'], [("bearer", TOKEN)]),
        (['bEARER Realm="https://h/token",SERVICE=s'], [("bearer", TOKEN)]),
        (["Bearer realm=https://h/token, service=s"], [("bearer", TOKEN)]),
        (
            ['Bearer realm="https://h/token",service="s"', 'Basic realm="r"'],
            [("bearer", TOKEN), ("basic", {"realm": "r"})],
        ),
        (
            ['Bearer realm="https://h/token",service="s", Basic realm="r"'],
            [("bearer", TOKEN), ("basic", {"realm": "r"})],
        ),
        (
            ['Basic realm="r", Bearer realm="https://h/token",service="s"'],
            [("basic", {"realm": "r"}), ("bearer", TOKEN)],
        ),
        (["Negotiate", 'Basic realm="r"'], [("negotiate", {}), ("basic", {"realm": "r"})]),
        (['Negotiate, Basic realm="r"'], [("negotiate", {}), ("basic", {"realm": "r"})]),
        (['Negotiate YII+/a==, Basic realm="r"'], [("negotiate", {}), ("basic", {"realm": "r"})]),
        (['Bearer realm="https://h/token",service=""'], [("bearer", {"realm": "https://h/token", "service": ""})]),
        (['Bearer realm="https://h/token",service='], [("bearer", {"realm": "https://h/token", "service": ""})]),
        (
            ['Bearer realm="https://h/token",service="s",other=fun,slashed="he\\"\\l\\lo"'],
            [("bearer", {**TOKEN, "other": "fun", "slashed": 'he"llo'})],
        ),
        (
            ['Bearer realm="https://h/token",service="s",scope="repository:a/b:pull,push registry:catalog:*"'],
            [("bearer", {**TOKEN, "scope": "repository:a/b:pull,push registry:catalog:*"})],
        ),
        (
            ['Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'],
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        (['Basic realm="a", Basic'], [("basic", {"realm": "a"}), ("basic", {})]),
        ([', ,Basic realm="r",,'], [("basic", {"realm": "r"})]),
        (['Basic realm="harbor"'], [("basic", {"realm": "harbor"})]),
        (['"?, Basic realm="r"'], []),
        (['= , Basic realm="r"'], [("basic", {"realm": "r"})]),
        (['Basic realm="never closed'], [("basic", {"realm": ""})]),
        ([""], []),
        ([], []),
    ],
)
def test_challenges_are_read_by_the_standard(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)
