"""The server's side of SCRAM (RFC 5802, RFC 7677), with and without channel binding."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from unicodedata import normalize

from smtpstate.testing._sasl import Accounts, Exchange, Mechanism

# RFC 5802 §7: gs2-header, client-first-message-bare and client-final-message
_FIRST = re.compile(rb"((n|y|p=([A-Za-z0-9.-]+)),(?:a=[^,]+)?,)(n=([^,]*),r=([!-+\--~]+))")
_FINAL = re.compile(rb"(c=([^,]*),r=([^,]*)),p=([^,]*)")


def scram(digest: str, *, plus: bool) -> Mechanism:
    """Return the mechanism with this hash function, with channel binding if ``plus``."""

    def keyed(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, digest).digest()

    def exchange(accounts: Accounts) -> Exchange:
        begun = _FIRST.fullmatch((yield b""))
        if begun is None:
            return None
        header, flag, binding, bare, name, nonce = begun.groups()
        # RFC 5802 §6: "y" says that no binding was offered; if one was, somebody has hidden it.
        hidden = flag == b"y" and any(mechanism.endswith("-PLUS") for mechanism in accounts.offered)
        bound = accounts.bindings.get(binding.decode()) if binding is not None else b""
        user = name.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8", "replace")
        password = accounts.users.get(user)
        if hidden or (binding is not None) != plus or bound is None or password is None:
            return None
        nonce += accounts.nonce
        first = b"r=%b,s=%b,i=%d" % (nonce, b64encode(accounts.salt), accounts.iterations)
        ended = _FINAL.fullmatch((yield first))
        if ended is None:
            return None
        unproved, channel, same_nonce, proof = ended.groups()
        secret = normalize("NFKC", password).encode()
        salted = hashlib.pbkdf2_hmac(digest, secret, accounts.salt, accounts.iterations)
        client_key = keyed(salted, b"Client Key")
        said = b",".join((bare, first, unproved))
        signature = keyed(hashlib.new(digest, client_key).digest(), said)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if (channel, same_nonce, proof) != (b64encode(header + bound), nonce, b64encode(expected)):
            return None
        # RFC 4954 §4: SMTP cannot send this with its success, so it is one challenge more.
        yield b"v=" + b64encode(keyed(keyed(salted, b"Server Key"), said))
        return user

    return exchange


#: The SCRAM mechanisms by their names.
SCRAM_MECHANISMS = {
    "SCRAM-SHA-1": scram("sha1", plus=False),
    "SCRAM-SHA-1-PLUS": scram("sha1", plus=True),
    "SCRAM-SHA-256": scram("sha256", plus=False),
    "SCRAM-SHA-256-PLUS": scram("sha256", plus=True),
}
