"""The commands that next steps name, ready to be copied into a shell."""

from __future__ import annotations

import shlex


def command(name: str, profile_name: str = "", *arguments: str) -> str:
    """Return a command in backquotes: `nox -s build -- --profile ocp --only '8.1-*'`.

    Args:
        name: the nox session.
        profile_name: the profile it acts on; without it, that is whichever profile is the default then.
        arguments: its other options and arguments; each is quoted where a shell needs that.
    """
    given = [*(("--profile", profile_name) if profile_name else ()), *arguments]
    return "`" + shlex.join(["nox", "-s", name, *(["--", *given] if given else [])]) + "`"
