"""Find in the kernel log why the client refused a mount."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Words about a configuration that is refused: the vendor's (client_module/source/app/config/Config.c and app/App.c of
# ThinkParQ/beegfs, 7.2 to 8.3), and those of the lab's stand-in (images/lab-client/module/source).
_CONFIGURATION = re.compile(
    r"config argument '.*' is invalid|Invalid argument for \w+: |Failed to open config file|reading the config file|"
    r"cannot read the configuration file|Management host undefined|is not an IP address|connAuthFile\b|"
    r"[Aa]uth file(: '| is )|Unable to load configured "
)
# The vendor's client says this after each of them, and after every other failure of its first initialisation too.
_GENERAL = re.compile(r"Configuration error")
_OTHER = re.compile(r"usable (NIC|interface)")
_FAULT = re.compile(
    r"\b(fail(ed|s|ure)?|errors?|unable|cannot|could ?n[o']t|can't|denied|refus\w+|(unknown|invalid) mount option)\b",
    re.IGNORECASE,
)
# A client that does without something is not stopped by it.
_RECOVERED = re.compile(r"falling back", re.IGNORECASE)
_CLIENT = re.compile(r"\bbeegfs\b")


@dataclass(frozen=True)
class Refusal:
    """The client's own line about a refused mount, empty if it logged none; whether it blames the configuration."""

    line: str
    configuration: bool


def why_refused(log: Sequence[str]) -> Refusal:
    """Return the reason for a refused mount.

    Args:
        log: the kernel log of the mount, without time stamps.
    """
    for pattern in (_CONFIGURATION, _OTHER, _GENERAL):
        line = next((line for line in log if pattern.search(line)), None)
        if line is not None:
            return Refusal(line, pattern is not _OTHER)
    own = [line for line in log if _CLIENT.search(line)]
    # The first fault is the cause of the others.
    faults = [line for line in own if _FAULT.search(line) and not _RECOVERED.search(line)]
    return Refusal(next(iter(faults), own[-1] if own else ""), configuration=False)
