"""The commands that a next step names, as a person can copy them."""

from __future__ import annotations

import shlex


def command(name: str, profile_name: str = "", *arguments: str) -> str:
    """Return a command in backquotes: `nox -s build -- --profile ocp --only '8.1-*'`.

    Args:
        name: the nox session.
        profile_name: whose cells it is to act on; without it, it acts on whichever profile is the default then.
        arguments: what else it is given; each is quoted where a shell needs that.
    """
    given = [*(("--profile", profile_name) if profile_name else ()), *arguments]
    return "`" + shlex.join(["nox", "-s", name, *(["--", *given] if given else [])]) + "`"
