"""The model server against any octets, cut in any way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpstate.testing import Action, Close, ModelServer, StartTls
from strategies import splits
from test_testing import ALL, said

SESSION = (
    b"EHLO a.example\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<\xc3\xa4@y>\r\nDATA\r\n"
    b"one\r\n..two\r\n\r\n..\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@y>\r\nBDAT 5\r\n\r\n.\r\nBDAT 2 LAST\r\n\r\nRSET\r\nQUIT\r\n"
)


@given(st.data())
def test_any_split_of_what_the_client_says_gives_the_same(data: st.DataObject) -> None:
    outcomes: list[tuple[list[Action], object]] = []
    for parts in ([SESSION], data.draw(splits(SESSION))):
        server = ModelServer(extensions=("PIPELINING", "CHUNKING"))
        peer = server.connect()
        peer.greet()
        outcomes.append(([action for part in parts for action in peer.receive(part)], server.messages))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0][-1] == Close()


#: Pieces of which clients' mistakes are made.
_PIECES = st.sampled_from(
    [
        *(
            b"EHLO a",
            b"MAIL FROM:<a@x>",
            b"RCPT TO:<b@y>",
            b"DATA",
            b"BDAT 3",
            b"BDAT 0 LAST",
            b"AUTH PLAIN",
            b"STARTTLS",
        ),
        *(
            b"SIZE=",
            b"=",
            b"<",
            b">",
            b'"',
            b" ",
            b".",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"*",
            b"\xff",
            b"\0",
        ),
    ]
)


@given(st.lists(_PIECES | st.binary(max_size=5), max_size=40), st.booleans())
def test_whatever_a_client_says_the_server_answers_or_waits(said_by_client: list[bytes], lmtp: bool) -> None:
    server = ModelServer("lmtp" if lmtp else "smtp", (*ALL, "STARTTLS"), line_limit=60)
    peer = server.connect()
    peer.greet()
    for piece in said_by_client:
        actions = peer.receive(piece)
        if StartTls() in actions:
            actions += peer.tls_started()
        for line in said(actions):
            assert line[:3].isdigit() or line in ("Close", "StartTls")
