"""XCLIENT and XFORWARD: only what exists can be told of a client."""

from __future__ import annotations

import pytest

from smtpstate._about_client import Xclient, Xforward
from smtpstate._errors import LocalProtocolError


@pytest.mark.parametrize("kind", [Xclient, Xforward])
def test_the_attributes_of_a_client_are_those_that_exist(kind: type[Xclient | Xforward]) -> None:
    with pytest.raises(LocalProtocolError, match=f"^{kind.verb} needs an attribute$"):
        kind(())
    for name in ("", "addr", "ADDR=1 NAME", "OTHER"):
        with pytest.raises(LocalProtocolError, match=f"^not an attribute of {kind.verb}: '"):
            kind(((name, "1"),))
    with pytest.raises(LocalProtocolError, match=r"^not valid Unicode: "):
        kind((("NAME", "\ud800"),))
