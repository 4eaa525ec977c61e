"""The test kit: model servers that keep to the rules or break them, and a playground without a network.

A model server is a strict SMTP or LMTP server without any I/O. Rules say
where it departs from what a correct server does::

    server = ModelServer(
        extensions=("PIPELINING", "8BITMIME", "SIZE 1000000"),
        rules=[
            on("RCPT", "bob@y.example").reply(550, "5.1.1 no such user"),
            on("RCPT", occurrence=range(101, 1000)).reply(452, "4.5.3 too many recipients"),
            on("message").delay(30).reply(451, "4.3.0 later"),
        ],
    )

A ``Playground`` runs a dialogue against it, or against several, on a clock
that passes only by waiting::

    playground = Playground({"tcp://mx.example:25": server})
    result = playground.run(dialogue)
    assert server.violations == []
    assert server.messages[0].recipients == ("c@y.example",)
    assert playground.turns == 4

**Rules.** ``on(step, argument, occurrence=, connection=, across_connections=,
after=)`` selects, then methods say what happens, in their order: ``reply``,
``say`` (octets as they are), ``answer`` (the usual one), ``drip``, ``delay``,
``close``, ``reset``, ``silence``, ``stop_reading``, ``refuse``. The steps are
the verbs, ``*``, and ``connect``, ``tls``, ``greeting``, ``response``,
``content``, ``message``. ``Cut`` ends a connection after any octet.

**Server.** ``ModelServer(...)`` keeps ``messages`` (``StoredMessage``),
``connections`` (``Peer``), ``commands`` and ``violations``.

**Drivers of your own.** ``peer = server.connect()``, then carry out the actions
that ``peer.greet()``, ``peer.receive(octets)`` and ``peer.tls_started()`` return:
``Say``, ``Delay``, ``StartTls``, ``Close``, ``Reset``, ``Silence``, ``StopReading``, ``Refuse``.

**Playground.** ``Playground(network, split=, faults=, latency=, ...)`` with
``run``, ``clock``, ``requests``, ``transcript``, ``turns``, ``server_does``, ``close``. A
``Fault`` makes one request fail or abandons the dialogue there; ``whole``,
``octet_by_octet`` and ``split_at`` cut what servers say into pieces.

**Scripts.** ``Script.parse(text)`` is a network that plays a written transcript
and compares what the client says with it.
"""

from __future__ import annotations

from smtpstate.testing._actions import (
    Action,
    Close,
    Delay,
    Refuse,
    Reset,
    Say,
    Silence,
    StartTls,
    StopReading,
)
from smtpstate.testing._connection import ServerSide, VirtualClock
from smtpstate.testing._peer import Peer
from smtpstate.testing._playground import Abandoned, Fault, Network, Playground
from smtpstate.testing._rules import Rule, on
from smtpstate.testing._sasl import Accounts, Exchange, Mechanism
from smtpstate.testing._script import Script
from smtpstate.testing._server import ModelServer
from smtpstate.testing._settings import Cut, ModelTls
from smtpstate.testing._splitting import Split, octet_by_octet, pieces, split_at, whole
from smtpstate.testing._stored import StoredMessage
from smtpstate.testing._transcript import Transcript

__all__ = [
    "Abandoned",
    "Accounts",
    "Action",
    "Close",
    "Cut",
    "Delay",
    "Exchange",
    "Fault",
    "Mechanism",
    "ModelServer",
    "ModelTls",
    "Network",
    "Peer",
    "Playground",
    "Refuse",
    "Reset",
    "Rule",
    "Say",
    "Script",
    "ServerSide",
    "Silence",
    "Split",
    "StartTls",
    "StopReading",
    "StoredMessage",
    "Transcript",
    "VirtualClock",
    "octet_by_octet",
    "on",
    "pieces",
    "split_at",
    "whole",
]
