r"""Whatever octets arrive, whatever is sent between them, a connection answers, waits, or raises RemoteProtocolError.

Exceptions allowed, and why: ``RemoteProtocolError`` from ``next_event`` and
``tls_started``, for the octets are the server's; ``LocalProtocolError`` from
``send`` and ``tls_started``, for the fuzzer asks for what is illegal. Besides:

- a command that was refused has changed nothing;
- a connection that has failed fails again, and sends nothing more;
- no more is outstanding than was sent, and after the end nothing is.

An input is a line of letters, which say what the client does, and then all that
the server sends: ``-e-m\n220 mx\r\n250 mx\r\n`` receives a line, sends EHLO,
receives a line, sends MAIL.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["smtpstate"]):
    from smtpstate import _commands as commands
    from smtpstate import _questions as questions
    from smtpstate._connection import Connection
    from smtpstate._errors import LocalProtocolError, RemoteProtocolError
    from smtpstate._events import NEED_DATA, ConnectionEnded, MessageAnswered, ServiceClosing

COMMANDS: dict[str, commands.Command] = {
    "e": commands.Ehlo("client.example"),
    "h": commands.Helo("client.example"),
    "l": commands.Lhlo("client.example"),
    "s": commands.StartTls(),
    "a": commands.AuthBegin("PLAIN", b"\0user\0password"),
    "A": commands.AuthBegin("LOGIN"),
    "r": commands.AuthResponse(b"user"),
    "*": commands.AuthAbort(),
    "m": commands.Mail("a@x.example"),
    "M": commands.Mail("", (("SIZE", "100"), ("BODY", "8BITMIME"))),
    "R": commands.Rcpt("b@y.example"),
    "N": commands.Rcpt("c@y.example", (("NOTIFY", "NEVER"),)),
    "d": commands.Data(),
    "c": commands.Content(b".\r\n..\n\r"),
    "E": commands.EndOfContent(),
    "b": commands.Bdat(b".\r\n"),
    "B": commands.Bdat(b"", last=True),
    "x": commands.Rset(),
    "n": commands.Noop(),
    "v": questions.Vrfy("b"),
    "p": questions.Expn("list"),
    "?": questions.Help(),
    "q": commands.Quit(),
}


class Session:
    """A client that does as it is told, and checks the invariant after each step."""

    def __init__(self, protocol: commands.Protocol, wire: bytes) -> None:
        self.connection = Connection(protocol)
        self.wire = wire
        self.failed = False

    def act(self, letter: str) -> None:
        """Do what ``letter`` stands for: a command, or one of four ways to receive."""
        if letter in COMMANDS:
            self.send(COMMANDS[letter])
        elif letter == "1":
            self.receive(1)
        elif letter == "-":
            self.receive(self.wire.find(b"\n") + 1 or len(self.wire))
        elif letter == "+":
            self.receive(len(self.wire))
        elif letter == "t":
            self.start_tls()

    def send(self, command: commands.Command) -> None:
        """Send ``command`` if that is legal."""
        connection = self.connection
        before = (connection.state, connection.ahead, connection.outstanding)
        try:
            wire = connection.send(command)
        except LocalProtocolError:
            assert (connection.state, connection.ahead, connection.outstanding) == before
        else:
            assert not self.failed
            assert wire.endswith(b"\n") or not wire or isinstance(command, (commands.Content, commands.Bdat))
            assert 0 <= connection.outstanding - before[2] <= 1

    def start_tls(self) -> None:
        """Say that the handshake is done, if one was due."""
        try:
            self.connection.tls_started()
        except LocalProtocolError:
            return
        except RemoteProtocolError:  # the octets came in clear
            assert self.connection.closed
            self.failed = True
            return
        assert not self.failed
        assert not self.connection.holds_octets
        assert self.connection.outstanding == 0

    def receive(self, size: int) -> None:
        """Hand over the next ``size`` octets; none that are left are the end of the stream."""
        piece, self.wire = self.wire[:size], self.wire[size:]
        connection = self.connection
        connection.receive_data(piece)
        for _ in range(2 + len(piece) + connection.outstanding):
            before = connection.outstanding
            try:
                event = connection.next_event()
            except RemoteProtocolError:
                self.failed = True
                break
            assert not self.failed
            if event is NEED_DATA:
                return
            assert connection.outstanding <= before
            if isinstance(event, (ServiceClosing, ConnectionEnded)) or (
                isinstance(event, MessageAnswered) and event.early
            ):
                assert connection.closed
                assert connection.outstanding == 0
        else:
            raise AssertionError("more events than octets")
        assert connection.closed


def one_input(data: bytes) -> None:
    """Check the invariant for one input, as SMTP and as LMTP."""
    plan, _, wire = data.partition(b"\n")
    for protocol in commands.Protocol:
        session = Session(protocol, wire)
        for letter in plan.decode("latin-1"):
            session.act(letter)
        session.act("+")
        session.act("+")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
