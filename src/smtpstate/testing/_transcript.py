"""The record of a dialogue, in the form in which transcripts are written."""

from __future__ import annotations

from typing import Literal, final


def escaped(line: bytes) -> str:
    """Return ``line`` as a transcript shows it: printable ASCII, all else escaped."""
    text = line.decode("latin-1")
    return "".join(c if " " <= c <= "~" and c != "\\" else c.encode("unicode_escape").decode() for c in text)


@final
class Transcript:
    """What two sides said, in order, whatever pieces it came in."""

    def __init__(self) -> None:
        self._parts: list[tuple[Literal["!", "C", "S"], list[bytes]]] = []

    def note(self, what: str) -> None:
        """Note that something happened which is not said."""
        self._parts.append(("!", [what.encode()]))

    def client(self, data: bytes) -> None:
        """Note what the client has sent."""
        self._say("C", data)

    def server(self, data: bytes) -> None:
        """Note what the client has received; nothing stands for the end of the stream."""
        if data:
            self._say("S", data)
        else:
            self.note("close")

    def _say(self, who: Literal["C", "S"], data: bytes) -> None:
        if self._parts and self._parts[-1][0] == who:
            self._parts[-1][1].append(data)
        else:
            self._parts.append((who, [data]))

    @property
    def lines(self) -> list[str]:
        """All of it, line by line. What does not end in CRLF is followed by a backslash."""
        lines: list[str] = []
        for who, data in self._parts:
            octets = b"".join(data)
            if who == "!":
                lines.append(f"! {octets.decode()}")
                continue
            *whole, rest = octets.split(b"\r\n")
            lines += [f"{who}: {escaped(line)}" for line in whole]
            if rest:
                lines.append(f"{who}: {escaped(rest)}\\")
        return lines
