"""What a check has found, for people and for programs, and what of it is a problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import final

from smtpstate import Reply
from smtpstate._check import Report, Verdict
from smtpstate._text import visible
from smtpstate_cli._certificates import Certificate, read_certificate
from smtpstate_cli._exits import Exit

_TIMES = ("connect", "tls", "greeting", "hello", "noop")


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One endpoint's report, judged at a time."""

    report: Report
    now: datetime
    expiry_days: float  #: a certificate that expires within so many is a problem

    @property
    def certificate(self) -> Certificate | None:
        """The server's, where it has one that can be read."""
        der = self.report.tls.certificate if self.report.tls else None
        return read_certificate(der) if der else None

    @property
    def code(self) -> Exit:
        """What of the exit codes it comes to."""
        if self.report.verdict is Verdict.REFUSED or self._expiry() is not None:
            return Exit.REJECTED
        return Exit.DEFERRED if self.report.verdict is Verdict.DEFERRED else Exit.DELIVERED

    @property
    def problems(self) -> list[str]:
        """What is wrong; nothing where the code is 0."""
        report = self.report
        said = [] if report.reply is None else [f"{report.phase.value}: {report.reply}"]
        expiry = self._expiry()
        return said if expiry is None else [*said, expiry]

    def _expiry(self) -> str | None:
        certificate = self.certificate
        if certificate is None:
            return None
        left = certificate.days_left(self.now)
        if left <= 0:
            return f"the certificate has expired on {_date(certificate.not_after)}"
        if left <= self.expiry_days:
            return f"the certificate expires on {_date(certificate.not_after)}, in {left:.1f} days"
        return None

    def lines(self) -> list[str]:
        """Return it for people, without anything that could steer a terminal."""
        ready = self.report.verdict is Verdict.READY
        word = "expiring" if ready and self.code else self.report.verdict.value
        return [f"{self.report.endpoint}  {word}", *(f"  {line}" for line in self._details())]

    def _details(self) -> Iterator[str]:
        report = self.report
        for problem in self.problems:
            yield f"problem       {problem}"
        if report.remote is not None:
            yield f"address       {visible(report.remote)}"
        if report.greeting is not None:
            yield f"greeting      {report.greeting}"
        offered = report.capabilities
        if report.hello is not None:
            yield f"hello         {report.hello.code} {report.hello.visible_lines[0]}".rstrip()
            names = sorted(set(offered) - {"AUTH", "SIZE", "LIMITS"})
            yield "extensions    " + (", ".join(" ".join((name, *offered[name])) for name in names) or "none")
            size = f"size {offered.size} octets" if offered.size else "no fixed size"
            yield "limits        " + ", ".join((size, *offered.get("LIMITS", ())))
            yield "mechanisms    " + (" ".join(offered.mechanisms) or "none")
        yield from self._tls_lines()
        if report.user is not None:
            yield f"user          {visible(report.user)}"
        if took := self._times():
            named = ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in took.items())
            yield f"round trips   {named}"

    def _tls_lines(self) -> Iterator[str]:
        report, certificate = self.report, self.certificate
        if report.tls is None:
            if report.hello is not None or report.tls_failure is not None:
                yield "tls           " + visible(
                    f"none: {report.tls_failure}" if report.tls_failure else "none"
                )
            return
        yield f"tls           {visible(report.tls.version)}, {visible(report.tls.cipher)}"
        if report.tls.verified:
            yield "verified      yes"
        else:
            yield f"verified      no: {visible(report.tls_failure or 'the settings say so')}"
        if certificate is None:
            yield "certificate   cannot be read"
            return
        yield "certificate   " + (", ".join(certificate.names) or f"no names; subject {certificate.subject}")
        yield f"issuer        {certificate.issuer}"
        left = certificate.days_left(self.now)
        yield f"valid         {_date(certificate.not_before)} to {_date(certificate.not_after)}, {left:.1f} days left"

    def _times(self) -> dict[str, float]:
        took: dict[str, float | None] = {name: getattr(self.report, f"{name}_time") for name in _TIMES}
        return {name: seconds for name, seconds in took.items() if seconds is not None}

    def json(self) -> str:
        """Return it as a JSON object on one line, in ASCII."""
        report, tls = self.report, self.report.tls
        return json.dumps(
            {
                "endpoint": str(report.endpoint),
                "ok": self.code is Exit.DELIVERED,
                "verdict": report.verdict.value,
                "phase": report.phase.value,
                "problems": self.problems,
                "address": report.remote,
                "greeting": _words(report.greeting),
                "hello": _words(report.hello),
                "extensions": {name: list(words) for name, words in report.capabilities.items()},
                "size": report.capabilities.size,
                "mechanisms": list(report.capabilities.mechanisms),
                "tls": tls and {"version": tls.version, "cipher": tls.cipher, "verified": tls.verified},
                "tls_failure": report.tls_failure,
                "certificate": self._certificate_json(),
                "user": report.user,
                "seconds": self._times(),
            }
        )

    def _certificate_json(self) -> dict[str, object] | None:
        certificate = self.certificate
        if certificate is None:
            return None
        return {
            "names": list(certificate.names),
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
            "days_left": round(certificate.days_left(self.now), 3),
        }


def _date(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _words(reply: Reply | None) -> str | None:
    return None if reply is None else str(reply)
