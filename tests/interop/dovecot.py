"""Dovecot: LMTP into maildirs, submission with every SASL mechanism, and logins for Postfix."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.daemons import DOMAIN, HOST, OWNER, USERS, folder, free_ports, listens, running
from interop.identities import Identities

_CONFIGURATION = """
base_dir = {path}/run
state_dir = {path}/run
log_path = {path}/log
protocols = lmtp submission
listen = 127.0.0.1
hostname = {host}
mail_location = maildir:~/Maildir
mail_plugins = quota
first_valid_uid = 100
disable_plaintext_auth = yes
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 xoauth2 oauthbearer external
auth_ssl_username_from_cert = yes
auth_username_format = %Ln
auth_failure_delay = 0
ssl = yes
ssl_cert = <{identities.server.cert}
ssl_key = <{identities.server.key}
ssl_ca = <{identities.root_ca}
ssl_require_crl = no
ssl_verify_client_cert = yes
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {path}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=y
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
  args = {path}/users
}}
userdb {{
  driver = passwd-file
  args = {path}/users
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=1G
}}
recipient_delimiter = +
service lmtp {{
  process_min_avail = 1
  inet_listener lmtp {{
    port = {lmtp}
  }}
  inet_listener lmtps {{
    port = {lmtps}
    ssl = yes
  }}
  unix_listener {path}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener {path}/auth {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_max_mail_size = 20M
service submission-login {{
  inet_listener submission {{
    port = {submission}
  }}
  inet_listener submissions {{
    port = {submissions}
    ssl = yes
  }}
}}
"""

_OAUTH2 = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={path}/keys/
username_attribute = sub
username_format = %u
issuers = test
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dovecot:
    """Where a running Dovecot is, and what it knows."""

    lmtp: str  #: with STARTTLS
    lmtps: str
    lmtp_socket: str
    submission: str  #: with STARTTLS; passes messages on to Postfix
    submissions: str
    auth_socket: Path  #: where Postfix asks about logins
    token: str  #: alice's, good for an hour
    expired_token: str
    mail: Path  #: the maildirs

    def mailbox(self, user: str) -> Path:
        """Return the maildir of a user."""
        return self.mail / user / "Maildir"


@contextmanager
def serving_dovecot(identities: Identities, relay: int) -> Generator[Dovecot, None, None]:
    """Run Dovecot; its submission service passes messages on to the port ``relay``."""
    with folder("dovecot") as path:
        (path / "mail").mkdir()
        os.chown(path / "mail", OWNER, OWNER)
        lmtp, lmtps, submission, submissions = free_ports(4)
        configuration = _CONFIGURATION.format(
            path=path,
            host=HOST,
            identities=identities,
            lmtp=lmtp,
            lmtps=lmtps,
            submission=submission,
            submissions=submissions,
            relay=relay,
        )
        (path / "dovecot.conf").write_text(configuration)
        (path / "users").write_text("".join(_accounts(path)))
        (path / "oauth2.conf").write_text(_OAUTH2.format(path=path))
        key = secrets.token_bytes(32)
        keys = path / "keys" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_bytes(base64.b64encode(key))
        command = ["/usr/sbin/dovecot", "-F", "-c", str(path / "dovecot.conf")]

        def ready() -> bool:
            return (path / "lmtp").exists() and listens(lmtp, lmtps, submission, submissions)

        with running(command, path / "output", ready=ready):
            now = int(time.time())
            yield Dovecot(
                lmtp=f"tcp://127.0.0.1:{lmtp}",
                lmtps=f"tls://127.0.0.1:{lmtps}",
                lmtp_socket=f"unix://{path}/lmtp",
                submission=f"tcp://127.0.0.1:{submission}",
                submissions=f"tls://127.0.0.1:{submissions}",
                auth_socket=path / "auth",
                token=_token(key, now - 60, now + 3600),
                expired_token=_token(key, now - 7200, now - 3600),
                mail=path / "mail",
            )


def _accounts(path: Path) -> Generator[str, None, None]:
    users = {**USERS, "full": "x", "broken": "x"}
    extra = {"full": "userdb_quota_rule=*:bytes=100", "broken": "userdb_mail=maildir:/proc/nowhere"}
    for user, password in users.items():
        fields = (f"{{PLAIN}}{password}:{OWNER}:{OWNER}:", f"{path}/mail/{user}:", extra.get(user, ""))
        yield f"{user}:{':'.join(fields)}\n"


def _token(key: bytes, since: int, until: int) -> str:
    """Return a JSON Web Token for alice."""

    def encoded(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    claims = {"sub": "alice", "iss": "test", "iat": since, "nbf": since, "exp": until}
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signature = hmac.digest(key, ".".join(parts).encode(), hashlib.sha256)
    return ".".join((*parts, encoded(signature)))


#: Recipients, and what Dovecot says of them.
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
FULL = f"full@{DOMAIN}"  # over its quota: said after the message
BROKEN = f"broken@{DOMAIN}"  # cannot be opened: a failure for now, said after the message
UNKNOWN = f"nobody-here@{DOMAIN}"
