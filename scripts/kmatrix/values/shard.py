"""Define a shard: one of several equal parts of a plan, each built on a machine of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHARD = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`; both count from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/5`.

        Raises:
            ValueError: it has another form, or there is no such part.
        """
        found = _SHARD.fullmatch(text)
        if found is None or int(found[1]) > int(found[2]):
            raise ValueError(f"{text!r} is not a part of a whole such as 2/5, from 1/N to N/N")
        return cls(int(found[1]), int(found[2]))
