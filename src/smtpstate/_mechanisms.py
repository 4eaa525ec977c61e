"""The SASL mechanisms: each is a generator that is sent challenges and yields responses (RFC 4422 §3)."""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import b64decode
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias, final

from smtpstate._errors import LocalProtocolError, RemoteProtocolError
from smtpstate._text import visible

# No half of a surrogate pair can be written in UTF-8, and NUL separates the parts of PLAIN (RFC 4616 §2).
_NO_PASSWORD = re.compile("[\0\ud800-\udfff]")
# A control character in a user name is always a mistake; ^A separates the parts of OAuth's responses.
_NO_USER = re.compile("[\0-\x1f\x7f\ud800-\udfff]")
_TOKEN = re.compile("[A-Za-z0-9._~+/-]+=*")


class MechanismFailed(RemoteProtocolError):
    """What the server said within a SASL exchange is not to be believed, or makes no sense there."""


@final
@dataclass(frozen=True, slots=True)
class Response:
    """What a mechanism answers, and what it would think of a success right after it."""

    data: bytes | None = field(
        repr=False
    )  #: before base64; a secret; None as the first: the server speaks first
    #: Whether a success may be believed after this response: all of the credential has been sent, and
    #: where the mechanism lets the server prove itself too, it has.
    proven: bool = True
    detail: str | None = None  #: what the server gave as the reason of a failure, safe to show


#: One run of a mechanism. Octets alone are a ``Response`` of them. None as the first response means that
#: the server speaks first; None later means that it is not to be believed, as does ``MechanismFailed``.
Exchange: TypeAlias = Generator[Response | bytes | None, bytes, None]


def decode_challenge(text: bytes) -> bytes:
    """Return the octets of a challenge, whose text after ``334`` is base64 (RFC 4954 §4). It may be empty.

    Raises:
        MechanismFailed: ``text`` is no base64.
    """
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        raise MechanismFailed("the challenge is no base64") from None


def checked_user(user: str) -> str:
    """Return ``user`` if a mechanism can carry it as a user name.

    Raises:
        LocalProtocolError: it is empty, holds a control character, or is not valid Unicode.
    """
    return _checked(user, "user name", _NO_USER, "a control character")


def checked_password(password: str) -> str:
    """Return ``password`` if a mechanism can carry it. The error never shows it.

    Raises:
        LocalProtocolError: it is empty, holds a NUL, or is not valid Unicode.
    """
    return _checked(password, "password", _NO_PASSWORD, "a NUL")


def checked_token(token: str) -> str:
    """Return ``token`` if it can be a bearer token (RFC 7628 §3.1). The error never shows it.

    Raises:
        LocalProtocolError: it is empty, or holds something else, such as a line end.
    """
    if not _TOKEN.fullmatch(token):
        raise LocalProtocolError("the token is not letters, digits and -._~+/, with = only at its end")
    return token


def _checked(text: str, what: str, forbidden: re.Pattern[str], which: str) -> str:
    # Nothing is tried and caught here: the exceptions of codecs carry the whole text.
    if not text:
        raise LocalProtocolError(f"the {what} is empty")
    if forbidden.search(text):
        raise LocalProtocolError(f"the {what} holds {which}, or is not valid Unicode")
    return text


# User names and passwords go out in UTF-8 as they were given. Preparing them is the server's part
# (RFC 4616 §2), and most servers compare octets: to prepare them here too would change what some of
# them were told when the password was set. SCRAM is different, since only a hash of it goes out.


def plain(user: str, password: str) -> Exchange:
    """PLAIN: the user name and the password in one response (RFC 4616 §2)."""
    yield f"\0{checked_user(user)}\0{checked_password(password)}".encode()


def login(user: str, password: str) -> Exchange:
    """LOGIN: the user name, then the password, each when asked for.

    No RFC describes it, and servers word the prompts as they like, so it is their order that counts.
    """
    name, secret = checked_user(user).encode(), checked_password(password).encode()
    yield Response(None, proven=False)
    yield Response(name, proven=False)
    yield secret


def cram_md5(user: str, password: str) -> Exchange:
    """CRAM-MD5: the challenge, keyed with the password and hashed (RFC 2195 §2)."""
    name, key = checked_user(user).encode(), checked_password(password).encode()
    challenge = yield Response(None, proven=False)
    yield name + b" " + hmac.new(key, challenge, "md5").hexdigest().encode()


def external(identity: str = "") -> Exchange:
    """EXTERNAL: who we are is known from elsewhere, such as our certificate (RFC 4422 §3.4.1).

    ``identity`` is whom to act as; empty leaves that to the server.
    """
    yield (checked_user(identity) if identity else identity).encode()


def xoauth2(user: str, token: str) -> Exchange:
    """XOAUTH2: a bearer token, in the form that came before OAUTHBEARER and is still the most common."""
    error = yield f"user={checked_user(user)}\x01auth=Bearer {checked_token(token)}\x01\x01".encode()
    # An error comes as a challenge; the refusal itself comes once that is answered, by nothing.
    yield Response(b"", proven=False, detail=_reason(error, token))


def oauthbearer(user: str, token: str, host: str | None, port: int | None) -> Exchange:
    """OAUTHBEARER: a bearer token, and where it is sent to (RFC 7628 §3.1).

    ``host`` and ``port`` are the server's as we know it; None where it has none, as on unix sockets.
    """
    name = checked_user(user).replace("=", "=3D").replace(",", "=2C")
    said = [f"n,a={name},"]
    if host is not None:
        said.append(f"host={host}")
    if port is not None:
        said.append(f"port={port}")
    said.append(f"auth=Bearer {checked_token(token)}")
    error = yield ("\x01".join(said) + "\x01\x01").encode()
    # RFC 7628 §3.2.3: an error comes as a challenge, and the refusal itself once that is answered, by one ^A
    yield Response(b"\x01", proven=False, detail=_reason(error, token))


def _reason(error: bytes, token: str) -> str | None:
    """Return the JSON of an OAuth error on one line, without the token should the server repeat it."""
    text = error.decode(errors="replace")
    with suppress(ValueError, RecursionError):  # no JSON: shown as it came
        # Read and written again, it has no escapes that a token could hide behind.
        text = json.dumps(json.loads(text), ensure_ascii=False)
    return visible(text.replace(token, "****")) or None
