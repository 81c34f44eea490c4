"""Settings of a profile that options and environment override for one run, under the rules of matrix.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from pydantic import ValidationError

from kmatrix.values.errors import InputError, Problem
from kmatrix.values.fields import fault
from kmatrix.values.matrix import Profile


@dataclass(frozen=True)
class Overrides:
    """Texts as given by options or environment; None leaves the profile's own value.

    `mirrors` is FROM=TO[,FROM=TO…] and replaces the profile's mirrors.
    """

    graph: str | None = None
    packages: str | None = None
    key_fingerprint: str | None = None
    base: str | None = None
    target: str | None = None
    mirrors: str | None = None
    lock: str | None = None

    def given(self) -> dict[str, str]:
        """Return the overrides that are set, by the profile's key."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}

    def or_else(self, weaker: Overrides) -> Overrides:
        """Return these, completed by those of `weaker` (options take precedence over the environment)."""
        return Overrides(**{**weaker.given(), **self.given()})


NAMES = tuple(field.name for field in fields(Overrides))


def option(name: str) -> str:
    """Return the option that sets a key: key_fingerprint → --key-fingerprint."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable that sets a key: key_fingerprint → KMATRIX_KEY_FINGERPRINT."""
    return f"KMATRIX_{name.upper()}"


def overrides_from_environment(environment: Mapping[str, str], names: Iterable[str] = NAMES) -> Overrides:
    """Return the overrides that KMATRIX_* variables give; an empty variable counts as not set.

    Args:
        environment: all variables.
        names: the keys to look for.
    """
    return Overrides(**{name: value for name in names if (value := environment.get(variable(name), ""))})


def override(profile: Profile, overrides: Overrides) -> Profile:
    """Return the profile with the overrides applied.

    Raises:
        InputError: values break the rules of matrix.yaml; names the option and the variable of each.
    """
    given = overrides.given()
    changes: dict[str, object] = dict(given)
    problems = []
    if "mirrors" in given:
        pairs = [part.strip().partition("=") for part in given["mirrors"].split(",") if part.strip()]
        changes["mirrors"] = {before.strip(): after.strip() for before, _, after in pairs}
        problems += [
            Problem(_where("mirrors"), f"{before!r} has no =: write FROM=TO") for before, sign, _ in pairs if not sign
        ]
    whole = {name: getattr(profile, name) for name in Profile.model_fields}
    try:
        changed = Profile.model_validate({**whole, **changes})
    except ValidationError as error:
        unsaid = [detail for detail in error.errors() if not problems or detail["loc"][0] != "mirrors"]
        faults = [fault(detail, lambda _: []) for detail in unsaid]
        problems += [Problem(_where(str(path[0])), message) for path, message in faults]
    if problems:
        raise InputError("an option or an environment variable is wrong", "Correct it or unset it.", tuple(problems))
    return changed


def _where(name: str) -> str:
    return f"{option(name)} (or {variable(name)})"
