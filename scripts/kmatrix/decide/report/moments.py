"""Times as results have them, where they are computed with."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(text: str) -> datetime | None:
    """Return a time in ISO 8601, in UTC if it names no zone; None for an empty text, and for one that is no time."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def in_words(minutes: float) -> str:
    """Return a time span for people: `45 min`, `2 h 45 min`, `3 d 4 h`."""
    whole = round(minutes)
    if whole < 60:
        return f"{whole} min"
    hours, left = divmod(whole, 60)
    if hours < 48:
        return f"{hours} h {left} min" if left else f"{hours} h"
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
