"""From what a target asks of TLS to the standard library's contexts."""

from __future__ import annotations

import os
import ssl
from typing import final

from smtpstate._ciphers import openssl_cipher
from smtpstate._errors import ConfigError
from smtpstate._tls import TlsClient

_VERSIONS = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}
_CURVES = {"p256": "prime256v1", "p384": "secp384r1", "p521": "secp521r1", "x25519": "X25519"}


@final
class Contexts:
    """The contexts of one target: each is made once, and reads its files then."""

    def __init__(self) -> None:
        self._made: dict[TlsClient, ssl.SSLContext] = {}

    def get(self, tls: TlsClient) -> ssl.SSLContext:
        """Return the context for ``tls``.

        Raises:
            ConfigError: a file cannot be read, or this TLS library lacks what is asked for.
        """
        context = self._made.get(tls)
        if context is None:
            context = self._made[tls] = context_for(tls)
        return context


def context_for(tls: TlsClient) -> ssl.SSLContext:
    """Make a context: the standard library's secure defaults, changed by what ``tls`` says.

    Raises:
        ConfigError: a file cannot be read, or this TLS library lacks what is asked for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What Python 3.13 sets by itself, on every version alike.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.hostname_checks_common_name = False  # RFC 9525 §2: names are in subjectAltName or nowhere
    context.minimum_version = _VERSIONS[tls.protocols[0]] if tls.protocols else ssl.TLSVersion.TLSv1_2
    if len(tls.protocols) == 2:
        context.maximum_version = _VERSIONS[tls.protocols[1]]
    if tls.verify:
        _trust(context, tls.root_ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None and tls.key is not None:
        _identify(context, tls.cert, tls.key)
    if tls.ciphers:
        _choose_ciphers(context, tls.ciphers)
    if tls.curves:
        _choose_curve(context, *tls.curves)
    return context


def _trust(context: ssl.SSLContext, files: tuple[str, ...]) -> None:
    if not files:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for file in files:
        try:
            context.load_verify_locations(file)
        except ssl.SSLError:
            raise ConfigError(f"tls_client: root_ca: {file}: there is no certificate in it") from None
        except OSError as error:
            raise _unreadable("root_ca", file, error) from None


def _identify(context: ssl.SSLContext, cert: str, key: str) -> None:
    for name, file in (("cert", cert), ("key", key)):
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            raise _unreadable(name, file, error) from None
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"tls_client: key: {key}: it is not the key of the certificate in {cert}"
            ) from None
        raise ConfigError(f"tls_client: cert and key: no such pair is in {cert} and {key}") from None
    except _EncryptedKeyError:
        raise ConfigError(f"tls_client: key: {key}: it is encrypted; give one without a password") from None


class _EncryptedKeyError(Exception):
    """The key file asks for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _choose_ciphers(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    ciphers = [(name, openssl_cipher(name)) for name in names]
    try:
        context.set_ciphers(":".join(cipher for _, cipher in ciphers))
    except ssl.SSLError:
        raise ConfigError(f"tls_client: ciphers: this TLS library has none of {' '.join(names)}") from None
    available = {entry["name"] for entry in context.get_ciphers()}
    for name, cipher in ciphers:
        if cipher not in available:
            raise ConfigError(f"tls_client: ciphers: this TLS library has no {name}")


def _choose_curve(context: ssl.SSLContext, name: str, *more: str) -> None:
    if more:
        raise ConfigError("tls_client: curves: this Python can set one curve only")
    try:
        context.set_ecdh_curve(_CURVES[name.lower()])
    except (ValueError, ssl.SSLError):
        raise ConfigError(f"tls_client: curves: this Python cannot set {name}") from None


def _unreadable(name: str, file: str, error: OSError) -> ConfigError:
    why = os.strerror(error.errno) if error.errno is not None else str(error)
    return ConfigError(f"tls_client: {name}: cannot read {file}: {why.lower()}")
