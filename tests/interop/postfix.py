"""Postfix: an instance of its own, with STARTTLS, logins by way of Dovecot, and maildirs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from interop.daemons import DOMAIN, HOST, OWNER, folder, free_ports, listens, running, wait_until
from interop.identities import Identities

_PROGRAMS = "/usr/lib/postfix/sbin"

_MAIN = """
compatibility_level = 3.6
queue_directory = {path}/spool
data_directory = {path}/data
command_directory = /usr/sbin
daemon_directory = {programs}
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {path}/log
maillog_file_prefixes = {path}
myhostname = {host}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks =
local_header_rewrite_clients =
disable_dns_lookups = yes
smtpd_peername_lookup = no
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {path}/mail
virtual_minimum_uid = 100
virtual_uid_maps = static:{owner}
virtual_gid_maps = static:{owner}
virtual_mailbox_maps = inline:{{ {{ alice@{domain} = alice/ }} {{ bob@{domain} = bob/ }} {{ δοκιμή@{domain} = bob/ }} }}
recipient_delimiter = +
message_size_limit = 20480000
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ busy@{domain} = 450 4.2.1 mailbox busy }} }}, reject_unlisted_recipient
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 100
smtpd_junk_command_limit = 1000
smtpd_tls_chain_files = {identities.server.key}, {identities.server.cert}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth_socket}
header_checks = regexp:{{ {{ /^X-Refuse: for good/ REJECT 5.7.1 refused after the message }} {{ /^X-Refuse: for now/ REJECT 4.7.1 refused for now }} }}
"""

_MASTER = """
127.0.0.1:{mx} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_security_options=noanonymous
  -o {{ smtpd_recipient_restrictions = permit_sasl_authenticated, reject }}
127.0.0.1:{smtps} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
127.0.0.1:{plain} inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_tls_auth_only=no
  -o smtpd_discard_ehlo_keywords=pipelining,chunking,dsn
127.0.0.1:{other} inet n - n - - smtpd
  -o {{ smtpd_tls_chain_files = {identities.other.key}, {identities.other.cert} }}
127.0.0.1:{cram} inet n - n - - smtpd
  -o smtpd_sasl_mechanism_filter=cram-md5
127.0.0.1:{scram} inet n - n - - smtpd
  -o smtpd_sasl_mechanism_filter=scram-sha-1
127.0.0.1:{hasty} inet n - n - - smtpd
  -o smtpd_timeout=1s
127.0.0.1:{old} inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o {{ smtpd_command_filter = regexp:{{ {{ /^EHLO/ UNKNOWN }} }} }}
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """Where a running Postfix is."""

    mx: str  #: STARTTLS, logins inside it, every extension
    submission: str  #: STARTTLS and a login are compulsory
    smtps: str
    plain: str  #: logins without TLS; neither PIPELINING nor CHUNKING
    other: str  #: STARTTLS with a certificate for another name
    cram: str  #: offers CRAM-MD5 alone
    scram: str  #: offers SCRAM-SHA-1 alone
    hasty: str  #: says 421 to who is silent for a second
    old: str  #: knows no EHLO
    path: Path

    def mailbox(self, user: str) -> Path:
        """Return the maildir of a user, once everything that was accepted has been delivered."""
        wait_until(lambda: not any(self._queued()), "messages are left in the queue")
        return self.path / "mail" / user

    def _queued(self) -> Generator[Path, None, None]:
        for queue in ("incoming", "active", "deferred", "maildrop"):
            yield from (each for each in (self.path / "spool" / queue).rglob("*") if each.is_file())


@contextmanager
def serving_postfix(identities: Identities, mx: int, auth_socket: Path) -> Generator[Postfix, None, None]:
    """Run Postfix, of which the port ``mx`` is known before."""
    with folder("postfix") as path:
        _make_folders(path)
        submission, smtps, plain, other, cram, scram, hasty, old = ports = free_ports(8)
        (path / "main.cf").write_text(
            _MAIN.format(
                path=path,
                programs=_PROGRAMS,
                host=HOST,
                domain=DOMAIN,
                owner=OWNER,
                identities=identities,
                auth_socket=auth_socket,
            )
        )
        (path / "master.cf").write_text(
            _MASTER.format(
                mx=mx,
                submission=submission,
                smtps=smtps,
                plain=plain,
                other=other,
                cram=cram,
                scram=scram,
                hasty=hasty,
                old=old,
                identities=identities,
            )
        )
        command = [f"{_PROGRAMS}/master", "-c", str(path)]
        with running(command, path / "output", ready=lambda: listens(mx, *ports)):
            yield Postfix(
                mx=f"tcp://127.0.0.1:{mx}",
                submission=f"tcp://127.0.0.1:{submission}",
                smtps=f"tls://127.0.0.1:{smtps}",
                plain=f"tcp://127.0.0.1:{plain}",
                other=f"tcp://127.0.0.1:{other}",
                cram=f"tcp://127.0.0.1:{cram}",
                scram=f"tcp://127.0.0.1:{scram}",
                hasty=f"tcp://127.0.0.1:{hasty}",
                old=f"tcp://127.0.0.1:{old}",
                path=path,
            )


def _make_folders(path: Path) -> None:
    spool = path / "spool"
    for name in (
        "active",
        "bounce",
        "corrupt",
        "defer",
        "deferred",
        "flush",
        "hold",
        "incoming",
        "private",
        "saved",
        "trace",
    ):
        (spool / name).mkdir(parents=True, mode=0o700)
        shutil.chown(spool / name, "postfix")
    (spool / "pid").mkdir()
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        (spool / name).mkdir()
        (spool / name).chmod(mode)
        shutil.chown(spool / name, "postfix", "postdrop")
    (path / "data").mkdir()
    shutil.chown(path / "data", "postfix")
    (path / "mail").mkdir()
    os.chown(path / "mail", OWNER, OWNER)


@contextmanager
def sink(*options: str) -> Generator[str, None, None]:
    """Run Postfix's own test server, which misbehaves as its options say; yield where it is."""
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    with folder("sink") as path:
        (path / "main.cf").write_text("compatibility_level = 3.6\n")
        command = ["/usr/bin/env", f"MAIL_CONFIG={path}", "/usr/sbin/smtp-sink", "-u", "nobody"]
        with running([*command, *options, address, "16"], path / "output", ready=lambda: listens(port)):
            yield f"tcp://{address}"
