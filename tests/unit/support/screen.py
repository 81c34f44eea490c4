"""A terminal's screen, as far as our output needs one: what a person sees of it, scrolled-off lines included.

ECMA-48 has the sequences: CUU (cursor up), EL (erase in line), SGR (colours, which are skipped), and the private modes
of xterm that hide and show the cursor (DECTCEM). Any other is an error.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(\?)?([0-9;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """The lines on a terminal of some width, and whether its cursor can be seen."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.cursor = True
        self._lines = [""]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        """The lines, without blanks at their ends and empty ones at the end of the screen."""
        return "\n".join(line.rstrip() for line in self._lines).rstrip("\n").split("\n")

    def write(self, output: str) -> Screen:
        """Print what a program wrote to the terminal."""
        at = 0
        while at < len(output):
            found = _TOKEN.match(output, at)
            assert found, f"what is {output[at : at + 20]!r}?"
            at = found.end()
            if found[3]:
                self._control(found[1] or "", found[2], found[3])
            elif found[0] == "\r":
                self._column = 0
            elif found[0] == "\n":
                self._down()
            else:
                for character in found[0]:
                    self._put(character)
        return self

    def _control(self, private: str, number: str, command: str) -> None:
        if private:
            assert (number, command) in (("25", "h"), ("25", "l"))
            self.cursor = command == "h"
        elif command == "A":
            self._row = max(0, self._row - int(number or 1))
        elif command == "K":
            assert number == "2"
            self._lines[self._row] = ""
        else:
            assert command == "m", command

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append("")

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._column = 0
            self._down()
        line = self._lines[self._row].ljust(self._column)
        self._lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
        self._column += 1
