"""Send what stands on standard input, from Twisted: ``twisted_send.py ENDPOINT SENDER RECIPIENT...``."""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import smtpstate
from twisted_adapter import drive


async def send(reactor: Any, endpoint: str, sender: str, *recipients: str) -> None:
    """Print one outcome for each recipient."""
    delivery = smtpstate.Delivery(smtpstate.Envelope(sender, recipients), sys.stdin.buffer.read())
    await drive(smtpstate.forwarding(delivery, smtpstate.TargetConfig(targets=endpoint)), reactor)
    for outcome in delivery.outcomes:
        print(outcome)


def main(reactor: Any, *arguments: str) -> Deferred[None]:
    """Do so in a reactor that runs until it is done."""
    return Deferred.fromCoroutine(send(reactor, *arguments))


if __name__ == "__main__":
    react(main, sys.argv[1:])
