"""The directive language: what a text means, where its mistakes are, and that printing keeps everything."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from smtpstate._auth import Auth
from smtpstate._commands import Protocol
from smtpstate._directives import DIRECTIVES, Shape
from smtpstate._endpoints import Endpoint
from smtpstate._errors import ConfigError
from smtpstate._language import print_target, targets_of
from smtpstate._tls import TlsClient

A, B = Endpoint("tcp", "a.example", 25), Endpoint("tcp", "b.example", 25)
SECRET = "Tr0ub4dor.3"


def settings(text: str, name: str = "", env: Mapping[str, str] | None = None) -> dict[str, object]:
    return targets_of(text, "relay.conf", env or {})[name].settings


def inside(directive: str) -> object:
    """Return the value of the only directive in a target."""
    found = settings(f"target.smtp {{\n{directive}\n}}")
    (name,) = found.keys() - {"protocol", "targets"}
    return found[name]


def refusal(text: str, env: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        targets_of(text, "relay.conf", env or {})
    told = str(caught.value)
    assert told.isprintable()
    assert SECRET not in repr(caught.value)
    assert SECRET not in repr(caught.value.__context__)
    assert told.startswith("relay.conf: line ")
    return told.removeprefix("relay.conf: ")


# Targets.


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("target.smtp { targets tcp://a.example:25 tcp://b.example:25 }", "smtp"),
        ("target.lmtp {\n targets tcp://a.example:25 tcp://b.example:25\n}", "lmtp"),
        ("target.smtp tcp://a.example:25 tcp://b.example:25", "smtp"),
        ("deliver_to smtp tcp://a.example:25 tcp://b.example:25", "smtp"),
        ("deliver_to lmtp tcp://a.example:25 tcp://b.example:25", "lmtp"),
        ("deliver_to lmtp tcp://a.example:25 {\n targets tcp://b.example:25\n}", "lmtp"),
        ("target.smtp tcp://a.example:25 { targets tcp://b.example:25 }", "smtp"),
        ("deliver_to smtp { targets tcp://a.example:25 tcp://b.example:25 }", "smtp"),
    ],
)
def test_a_target_has_a_protocol_and_endpoints_those_of_the_opening_line_first(
    text: str, protocol: str
) -> None:
    assert settings(text) == {"protocol": protocol, "targets": (A, B)}


def test_targets_may_have_names() -> None:
    found = targets_of(
        "target.smtp out { }\ntarget.lmtp in.box-1\ndeliver_to smtp tcp://a.example:25", "x", {}
    )
    assert list(found) == ["out", "in.box-1", ""]
    assert settings("target.smtp out tcp://a.example:25 tcp://b.example:25", "out")["targets"] == (A, B)
    assert settings("target.smtp {env:NAME}", "out", {"NAME": "out"})["protocol"] == "smtp"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: there is no target; write one as in target.smtp { targets tcp://mx.example:25 }"),
        (
            "debug\n",
            "line 1: there is no target; write one as in target.smtp { targets tcp://mx.example:25 }",
        ),
        (
            "target.smtp\n\ntarget.lmtp",
            "line 3: target.lmtp: a second target without a name, the first is on line 1",
        ),
        (
            "target.smtp a\ntarget.lmtp a",
            "line 2: target.lmtp: a second target named a, the first is on line 1",
        ),
        ("target.smtp -a", "line 1: target.smtp: the name of a target is made of letters, digits and . _ -"),
        ("target.smtp a/b", "line 1: target.smtp: the name of a target is made of letters, digits and . _ -"),
        ("target.smtp a b", "line 1: targets: not an endpoint: 'b': "),
        ("target.smtp a:25", "line 1: targets: not an endpoint: 'a:25': "),
        (
            "deliver_to",
            "line 1: deliver_to: expected smtp or lmtp, then endpoints such as tcp://mx.example:25",
        ),
        ("deliver_to tcp://a.example:25", "line 1: deliver_to: expected smtp or lmtp, then endpoints"),
        ("deliver_to smtp out { }", "line 1: targets: not an endpoint: 'out': "),
        ("target.http a", "line 1: target.http: unknown here; did you mean target."),
        (
            "targets tcp://a.example:25",
            "line 1: targets: unknown here; it belongs into the block of a target",
        ),
        (
            "smtp {\n}",
            "line 1: smtp: unknown here; expected one of target.smtp target.lmtp deliver_to debug hostname",
        ),
        (
            "target.smtp {\n debug\n target.lmtp\n}",
            "line 3: target.lmtp: unknown here; it belongs outside of all blocks",
        ),
        ("a\x1b {\n}", "line 1: an invisible character within a word; remove it, or quote the word"),
    ],
)
def test_a_target_out_of_shape_is_refused(text: str, why: str) -> None:
    assert refusal(text).startswith(why)


# Defaults.


def test_lines_outside_of_targets_are_defaults_for_all_of_them_wherever_they_stand() -> None:
    text = "debug\ntarget.smtp a { }\ntarget.smtp b {\n debug no\n hostname b.example\n}\nhostname x.example"
    assert settings(text, "a") == {"protocol": "smtp", "targets": (), "debug": True, "hostname": "x.example"}
    assert settings(text, "b") == {"protocol": "smtp", "targets": (), "debug": False, "hostname": "b.example"}


def test_a_tls_client_of_a_target_replaces_the_default_as_a_whole() -> None:
    text = "tls_client {\n root_ca /ca.pem\n verify no\n}\ntarget.smtp a {\n tls_client {\n curves p256\n }\n}\ntarget.smtp b"
    assert settings(text, "a")["tls_client"] == TlsClient(curves=("p256",))
    assert settings(text, "b")["tls_client"] == TlsClient(root_ca=("/ca.pem",), verify=False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("debug\ndebug no", "line 2: debug: given twice, first on line 1; remove one"),
        ("require_tls\n", "line 1: require_tls: unknown here; it belongs into the block of a target"),
        ("cert x\n", "line 1: cert: unknown here; it belongs into a block of tls_client"),
        ("hostname a b\n", "line 1: hostname: expected one word, given: 2"),
        ("target.smtp { }\nhostname -\n", "line 2: hostname: expected a name or an address literal"),
    ],
)
def test_a_mistake_in_a_default_is_on_its_own_line(text: str, why: str) -> None:
    assert refusal(text).startswith(why)


# Directives.


@pytest.mark.parametrize(
    ("directive", "value"),
    [
        ("debug", True),
        ("debug yes", True),
        ("debug OFF", False),
        ("attempt_starttls 0", False),
        ("require_tls true", True),
        ("insecure_auth on", True),
        ("pipelining no", False),
        ("chunking false", False),
        ("connect_timeout 5m", 300.0),
        ("command_timeout 1h 5m", 3900.0),
        ('submission_timeout "1h 5m"', 3900.0),
        ("idle_timeout 1.5h", 5400.0),
        ("failed_endpoint_delay 0", 0.0),
        ("transaction_timeout off", None),
        ("transaction_timeout 1h", 3600.0),
        ("max_connections 3", 3),
        ("max_messages 1", 1),
        ("hostname client.example", "client.example"),
        ("source_address 192.0.2.1", "192.0.2.1"),
        ("failover connect auth", frozenset({"connect", "auth"})),
        ("failover transient", frozenset({"connect", "transient"})),
        ("ignore_keywords chunking Size", frozenset({"CHUNKING", "SIZE"})),
        ("auth off", Auth.off()),
        (f'auth plain me "{SECRET} x"', Auth.plain("me", f"{SECRET} x")),
        (f"auth xoauth2 me {SECRET}", Auth.xoauth2("me", SECRET)),
        ("auth forward", Auth.forward()),
        ("tls_client { }", TlsClient()),
        (
            "tls_client {\n protocols tls1.2 tls1.3\n ciphers ECDHE-RSA-AES128-GCM-SHA256 AES128-SHA\n curves X25519\n"
            ' root_ca /a "/b c"\n cert /c\n key /k\n server_name mx.example\n verify no\n}',
            TlsClient(
                protocols=("tls1.2", "tls1.3"),
                ciphers=("ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"),
                curves=("X25519",),
                root_ca=("/a", "/b c"),
                cert="/c",
                key="/k",
                server_name="mx.example",
                verify=False,
            ),
        ),
        ("tls_client { verify }", TlsClient(verify=True)),
    ],
)
def test_what_each_directive_says(directive: str, value: object) -> None:
    assert inside(directive) == value


@pytest.mark.parametrize(
    ("directive", "why"),
    [
        ("require_tls maybe", "line 3: require_tls: expected yes or no, got 'maybe'"),
        ("require_tls yes no", "line 3: require_tls: expected yes or no, given: 2"),
        ("hostname", "line 3: hostname: expected one word, given: 0"),
        ("connect_timeout", "line 3: connect_timeout: expected a duration such as 5m, given: 0"),
        (
            "connect_timeout 0",
            "line 3: connect_timeout: expected a duration such as 5m, or a number of seconds, above 0",
        ),
        (
            "connect_timeout 5",
            "line 3: connect_timeout: expected a duration such as 5m, or a number of seconds, above 0",
        ),
        (
            "transaction_timeout 0",
            "line 3: transaction_timeout: expected a duration such as 5m, or a number of",
        ),
        ("max_messages 0", "line 3: max_messages: expected a whole number above 0, got '0'"),
        ("targets", "line 3: targets: expected one word or more, given: 0"),
        ("failover", "line 3: failover: expected one word or more, given: 0"),
        ("ignore_keywords", "line 3: ignore_keywords: expected one word or more, given: 0"),
        ("auth", "line 3: auth: expected one word or more, given: 0"),
        (f"auth plain {SECRET}", "line 3: auth: expected plain USER PASSWORD; words given after plain: 1"),
        (
            f"auth plain me my {SECRET}",
            "line 3: auth: expected plain USER PASSWORD; words given after plain: 3",
        ),
        (f"auth me {SECRET}", "line 3: auth: expected one of off, plain USER PASSWORD"),
        (
            f"auth plain me\n{SECRET}",
            "line 3: auth: expected plain USER PASSWORD; words given after plain: 1",
        ),
        (f"auth plain me x\n{SECRET}", "line 4: unknown directive after auth, whose words stand on one line"),
        (f'auth plain me "{SECRET}', "line 3: the quote that begins here is never closed"),
        (f'auth plain me "{SECRET}\nhostname "x.example', "line 3: put a blank after the closing quote"),
        (f"auth plain me {SECRET}{{", "line 3: a brace within a word"),
        (f"auth plain me {SECRET} {{ }}", "line 3: auth: takes no block, but one word or more"),
        ("debug { }", "line 3: debug: takes no block, but yes or no"),
        ("debug\nDebug", "line 4: Debug: unknown here; did you mean debug?"),
        ("debug\n\ndebug", "line 5: debug: given twice, first on line 3; remove one"),
        ("require-tls yes", "line 3: require-tls: unknown here; did you mean require_tls?"),
        ("protocol smtp", "line 3: protocol: unknown here; "),
        ("limits 5", "line 3: limits: unknown here; "),
        ("verify no", "line 3: verify: unknown here; it belongs into a block of tls_client"),
        ("tls_client", "line 3: tls_client: expected a block, as in tls_client { verify yes }"),
        ("tls_client verify no", "line 3: tls_client: expected a block, as in tls_client { verify yes }"),
        (
            "tls_client no {\n verify no\n}",
            "line 3: tls_client: expected a block, as in tls_client { verify yes }",
        ),
        (
            "tls_client {\n verify no\n verify no\n}",
            "line 5: tls_client: verify: given twice, first on line 4",
        ),
        ("tls_client {\n debug\n}", "line 4: debug: unknown here; it belongs into the block of a target"),
        ("tls_client {\n cert\n}", "line 4: tls_client: cert: expected one word, given: 0"),
        ("tls_client {\n\n cert x\n}", "line 5: tls_client: cert: cert and key are needed together"),
        ("tls_client {\n verify no\n key {\n }\n}", "line 5: tls_client: key: takes no block, but one word"),
        ("tls_client {\n curves p25\n}", "line 4: tls_client: curves: 'p25' is unknown; did you mean p256?"),
        (
            "tls_client {\n protocols tls1.0\n}",
            "line 4: tls_client: protocols: tls1.0 is no longer safe (RFC 8996)",
        ),
        ("targets mx.example", "line 3: targets: not an endpoint: 'mx.example': "),
        ("hostname {env:UNSET}", "line 3: hostname: the environment has no UNSET; set it, or give a default"),
    ],
)
def test_a_mistake_is_told_with_its_line_its_directive_the_reason_and_the_remedy(
    directive: str, why: str
) -> None:
    assert refusal(f"target.smtp tcp://a.example:25 {{\n # the mistake\n{directive}\n}}").startswith(why)


def test_a_secret_from_the_environment_is_not_shown_either() -> None:
    text = "target.smtp {\n auth plain {env:PASSWORD}\n}"
    assert refusal(text, {"PASSWORD": SECRET}).startswith("line 2: auth: expected plain USER PASSWORD")


def test_a_block_does_not_show_what_it_holds() -> None:
    block = targets_of(f"target.smtp {{\n auth plain me {SECRET}\n}}", "x", {})[""]
    assert SECRET not in repr(block)


# Printing.


def test_each_value_is_printed_as_the_words_that_say_it() -> None:
    printed = print_target(
        [
            ("targets", (A, Endpoint("unix", path="/run/{a}"))),
            ("debug", False),
            ("auth", Auth.plain("me", 'se"cret ')),
            ("tls_client", TlsClient(curves=("p256",), cert="/c d", key="/k", verify=False)),
            ("connect_timeout", 90.0),
            ("hostname", None),
            ("max_messages", 7),
            ("failover", frozenset({"connect", "auth"})),
            ("ignore_keywords", frozenset[str]()),
            ("source_address", "::1"),
        ],
        Protocol.LMTP,
        "out",
    )
    assert printed == (
        "target.lmtp out {\n"
        '    targets tcp://a.example:25 "unix:///run/{a}"\n'
        "    debug no\n"
        '    auth plain me "se\\"cret "\n'
        "    tls_client {\n"
        "        curves p256\n"
        '        cert "/c d"\n'
        "        key /k\n"
        "        verify no\n"
        "    }\n"
        "    connect_timeout 1m30s\n"
        "    max_messages 7\n"
        "    failover auth connect\n"
        "    source_address ::1\n"
        "}\n"
    )


@pytest.mark.parametrize("name", ["-a", "a b", "tcp://a:25", "a\n", "{", "#a", "ü"])
def test_a_name_that_could_not_be_read_is_not_printed(name: str) -> None:
    with pytest.raises(ConfigError, match="^not a name of a target: ") as caught:
        print_target([], Protocol.SMTP, name)
    assert str(caught.value).isprintable()


def test_each_directive_has_a_shape() -> None:
    assert {directive.shape for directive in DIRECTIVES.values()} == set(Shape)
