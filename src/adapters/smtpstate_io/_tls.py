"""TLS without I/O: encrypted octets on one side, plain ones on the other."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import final

from smtpstate._errors import TlsFailed
from smtpstate._requests import Negotiated
from smtpstate_io._bindings import Bindings

_RECORD = 16384  # octets of a record, at most (RFC 8446 §5.1)
_BLOCK = 65536  # octets given out at once, at most


@final
class Tls:
    """One TLS connection, as a client. It is fed what arrives, and says what to send.

    Raises:
        TlsFailed: ``server_name`` cannot be the name of a server.
    """

    __slots__ = ("_failure", "_incoming", "_outgoing", "_ssl", "_verified", "negotiated")

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._failure: TlsFailed | None = None  # after which nothing can be read
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._verified = context.verify_mode == ssl.CERT_REQUIRED
        #: what was agreed on; None until the handshake is done
        self.negotiated: Negotiated | None = None
        # Certificates hold neither the scope of an address nor the dot of an absolute name (RFC 6066 §3).
        name = server_name.partition("%")[0].removesuffix(".")
        try:
            self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        except (TypeError, ValueError, ssl.SSLError) as error:  # empty, with a NUL, too long
            raise TlsFailed(f"{server_name!r} cannot be the name of a TLS server") from error

    def feed(self, octets: bytes) -> None:
        """Take what the peer sent; empty is the end of its stream."""
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    def shake(self) -> bytes:
        """Carry the handshake on as far as it goes, and return what must be sent now.

        Raises:
            TlsFailed: it failed; ``farewell`` has an alert that says so to the server.
        """
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise _failed(error) from error
        else:
            self.negotiated = _negotiated(self._ssl, self._verified)
        return self._outgoing.read()

    def seal(self, data: bytes) -> bytes:
        """Encrypt ``data``, and return what must be sent now."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._ssl.write(view) :]
        except ssl.SSLError as error:
            raise _failed(error) from error
        return self._outgoing.read()

    def read(self) -> bytes | None:
        """Return plain octets, 65536 at most, empty at the end of the stream, None if more must be fed first.

        A stream that ends without TLS's own farewell ends all the same: what
        it leaves unfinished is seen in the lines themselves.
        """
        data = self._read_record()
        while data and len(data) <= _BLOCK - _RECORD and (self._incoming.pending or self._ssl.pending()):
            try:
                more = self._read_record()
            except TlsFailed as failure:
                self._failure = failure  # what came before it counts
                break
            if not more:  # which it will say again
                break
            data += more
        return data

    def _read_record(self) -> bytes | None:
        if self._failure is not None:
            raise self._failure
        try:
            return self._ssl.read(_RECORD)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise _failed(error) from error

    def farewell(self) -> bytes:
        """Return the last octets to send: an alert that waits, or the close of TLS (RFC 8446 §6.1)."""
        if self.negotiated is not None:
            with suppress(ssl.SSLError):  # the server's own farewell is not waited for
                self._ssl.unwrap()
        return self._outgoing.read()


def _negotiated(done: ssl.SSLObject, verified: bool) -> Negotiated:
    version = done.version() or ""
    cipher = done.cipher()
    return Negotiated(
        version,
        cipher[0] if cipher else "",
        verified,
        done.getpeercert(binary_form=True),
        Bindings(done),
    )


def _failed(error: ssl.SSLError) -> TlsFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.removesuffix(".")
        if why[1:2].islower():  # and not "IP address mismatch"
            why = f"{why[0].lower()}{why[1:]}"
        return TlsFailed(f"the server's certificate is refused: {why}", certificate=True)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return TlsFailed("the server closed the connection in the middle of TLS")
    why = error.reason or error.strerror or "unknown reason"
    return TlsFailed(f"TLS failed: {why.lower().replace('_', ' ')}")
