r"""How settings are written: words, quotes, comments, blocks and variables; and what printing keeps."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpstate._errors import ConfigError
from smtpstate._syntax import Statement, Text, written
from strategies import hostile_text

ENV = {"HOST": "mx.example", "EMPTY": "", "ODD": 'a b"{}\n# {env:HOST}', "_1": "one"}


def read(text: object, env: Mapping[str, str] = ENV) -> tuple[Statement, ...]:
    return Text("relay.conf", env).statements(text)


def words(text: str) -> tuple[str, ...]:
    """Return the words of the only directive of ``text``, its name included."""
    (statement,) = read(text)
    assert statement.block is None
    return (statement.name, *statement.words)


def refusal(text: object) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)
    return str(caught.value)


# Words and lines.


@pytest.mark.parametrize("text", ["", "\n", "  \t\r\n\n", "# nothing", "#\n  # a\r\n", "\ufeff", "\\\n"])
def test_a_text_may_say_nothing(text: str) -> None:
    assert read(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "a b c",
        "a b c\n",
        "  a\tb   c  \r\n",
        "\na b c\n\n",
        "\ufeffa b c",
        "a b c # d",
        'a "b" "c"',
        "a b c#",
    ],
)
def test_words_are_split_at_white_space_and_directives_at_line_ends(text: str) -> None:
    assert words(text)[:2] == ("a", "b")


def test_a_line_is_a_directive() -> None:
    assert read("a b\n\nc\r\n  d e f") == (
        Statement(1, "a", ("b",)),
        Statement(3, "c", ()),
        Statement(4, "d", ("e", "f")),
    )


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("a b#c", "b#c"),
        ("a #b", "a"),
        ("a b #c", "b"),
        ('a b #c "d {', "b"),
        ('a "#b"', "#b"),
        ('a "b" #c', "b"),
    ],
)
def test_a_comment_begins_with_the_sign_at_the_start_of_a_word(text: str, last: str) -> None:
    assert words(text)[-1] == last


def test_a_lone_backslash_at_the_end_continues_a_line() -> None:
    assert words("a b \\\n  c \\ \r\n d") == ("a", "b", "c", "d")
    assert read("a \\\n\\\nb\nc")[1] == Statement(4, "c", ())
    assert read("a \\\n\nb") == (Statement(1, "a", ()), Statement(3, "b", ()))


def test_a_backslash_within_a_word_is_a_backslash() -> None:
    assert words("a b\\\n") == ("a", "b\\")
    assert words("a \\b c\\d") == ("a", "\\b", "c\\d")


@pytest.mark.parametrize("text", ["a\nb \\", "a\nb \\ c", "a\nb \\ # c\nd"])
def test_a_lone_backslash_elsewhere_is_refused(text: str) -> None:
    assert refusal(text) == "relay.conf: line 2: a lone \\ continues a line, and must be the last on it"


# Quotes.


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('""', ""),
        ('"b c"', "b c"),
        ('" b "', " b "),
        ('"b\\"c"', 'b"c'),
        ('"\\""', '"'),
        ('"\\\\"c"', '\\"c'),
        ('"b\\c"', "b\\c"),
        ('"b\\\\c"', "b\\\\c"),
        ('"b\nc"', "b\nc"),
        ('"b\r\nc"', "b\r\nc"),
        ('"b \\\nc"', "b \\\nc"),
        ('"{"', "{"),
        ('"}"', "}"),
        ('"{ a }"', "{ a }"),
        ('"# b"', "# b"),
        ('"\\ "', "\\ "),
        ('"\0\x1b\u2028"', "\0\x1b\u2028"),
    ],
)
def test_quotes_hold_anything_and_know_one_escape(text: str, word: str) -> None:
    assert words(f"a {text}") == ("a", word)
    assert words(f"a {text} z\n") == ("a", word, "z")


def test_a_quote_that_spans_lines_is_counted() -> None:
    assert [statement.line for statement in read('a "b\n\nc" d\ne')] == [1, 4]


@pytest.mark.parametrize("text", ['a "secret', 'a "secret\\"', 'a "secret\n b\n c\n', '"', 'a "'])
def test_a_quote_that_is_never_closed_is_refused_where_it_begins(text: str) -> None:
    assert refusal(f"x\n{text}") == (
        'relay.conf: line 2: the quote that begins here is never closed; a " within one is \\"'
    )


@pytest.mark.parametrize(
    "text", ['a "secret"b', 'a "secret""b"', 'a "secret"#', 'a "secret"{', 'a "secret"\\']
)
def test_something_right_after_a_quote_is_refused(text: str) -> None:
    assert refusal(text) == (
        'relay.conf: line 1: put a blank after the closing quote; a " within quotes is \\"'
    )


@pytest.mark.parametrize("text", ['a secret"', 'a secret"b"', 'a sec"ret', 'a"secret"'])
def test_a_quote_within_a_word_is_refused(text: str) -> None:
    assert refusal(text) == (
        'relay.conf: line 1: a quote within a word; quote the whole word and write \\" for it'
    )


def test_a_quoted_directive_is_refused_without_being_shown() -> None:
    assert refusal('a\n"secret" b') == (
        "relay.conf: line 2: expected the name of a directive, got a quoted word"
    )


@pytest.mark.parametrize(
    "character", ["\0", "\x1b", "\x0b", "\x0c", "\x85", "\xa0", "\u200b", "\u2028", "\u3000", "\ufeff"]
)
def test_an_invisible_character_outside_of_quotes_is_refused(character: str) -> None:
    assert refusal(f"a\nb secret{character}") == (
        "relay.conf: line 2: an invisible character within a word; remove it, or quote the word"
    )


# Blocks.

INNER = (Statement(1, "b", ("c",)),)


@pytest.mark.parametrize("text", ["a x { b c }", "a x { b c }\n", "a x { b c } # d", "  a x\t{ b c }\r\n"])
def test_a_block_may_be_on_one_line(text: str) -> None:
    assert read(text) == (Statement(1, "a", ("x",), INNER),)


def test_a_block_may_be_on_lines_of_its_own() -> None:
    assert read("a {\n b c\n d\n}\ne") == (
        Statement(1, "a", (), (Statement(2, "b", ("c",)), Statement(3, "d", ()))),
        Statement(5, "e", ()),
    )


def test_the_last_directive_may_end_the_block() -> None:
    assert read("a {\n b\n c d }\ne") == (
        Statement(1, "a", (), (Statement(2, "b", ()), Statement(3, "c", ("d",)))),
        Statement(4, "e", ()),
    )


def test_blocks_nest_on_one_line_too() -> None:
    nested = (Statement(1, "a", (), (Statement(1, "b", ("c",), (Statement(1, "d", ()),)),)),)
    assert read("a { b c { d } }") == nested
    assert read("a { b c { d\n} }") == nested
    assert read("a { }") == read("a {\n\n}") == (Statement(1, "a", (), ()),)


def test_an_argument_in_braces_is_text_where_it_is_quoted() -> None:
    assert read('a "{" { b "}" }') == (Statement(1, "a", ("{",), (Statement(1, "b", ("}",)),)),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a {\n b", "line 1: a: the block is never closed; add }"),
        ("a\n b {\n c {\n }", "line 2: b: the block is never closed; add }"),
        ("a\n}", "line 2: } without the { that it would end"),
        ("a { b } }", "line 1: } without the { that it would end"),
        ("{ a }", "line 1: { belongs at the end of the line of its directive"),
        ("a\n{\n b\n}", "line 2: { belongs at the end of the line of its directive"),
        ("a { { b } }", "line 1: { belongs at the end of the line of its directive"),
        ("a { b } secret", "line 1: begin a new line after }"),
        ("a {\n b\n} \\\n secret", "line 4: begin a new line after }"),
        ("a{ b }", "line 1: a brace within a word; put blanks around it, or quote the word"),
        ("a { secret}", "line 1: a brace within a word; put blanks around it, or quote the word"),
        ("a { b }}", "line 1: a brace within a word; put blanks around it, or quote the word"),
        ("a sec{ret", "line 1: a brace within a word; put blanks around it, or quote the word"),
        ("a { " * 9, "line 1: blocks within blocks, too deep"),
        ("a {\n" * 10**5, "line 9: blocks within blocks, too deep"),
    ],
)
def test_a_block_out_of_shape_is_refused(text: str, why: str) -> None:
    assert refusal(text) == f"relay.conf: {why}"


# Variables.


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{env:HOST}", "mx.example"),
        ("tcp://{env:HOST}:25", "tcp://mx.example:25"),
        ("{env:HOST}{env:_1}", "mx.exampleone"),
        ('"at {env:HOST} "', "at mx.example "),
        ("{env:EMPTY}", ""),
        ("{env:ODD}", ENV["ODD"]),
        ('"{env:ODD}"', ENV["ODD"]),
        ("{env:UNSET:-25}", "25"),
        ("{env:UNSET:-}", ""),
        ("{env:EMPTY:-25}", "25"),
        ("{env:HOST:-25}", "mx.example"),
        ("{env:UNSET:-a:-b}", "a:-b"),
        ("{env:UNSET:-{a}", "{a"),
        ('"{env:UNSET:-a \\"b\\" #\nc}"', 'a "b" #\nc'),
        ('"{env::-{}env:HOST}"', "{env:HOST}"),
        ('"a b{env::-\\}"', "a b\\"),
        ('"{ENV:HOST} {env} { env:HOST}"', "{ENV:HOST} {env} { env:HOST}"),
    ],
)
def test_a_variable_is_replaced_within_arguments(text: str, word: str) -> None:
    assert words(f"a {text}") == ("a", word)


def test_a_value_is_one_word_whatever_it_holds() -> None:
    assert read("a {env:ODD} b {\n c {env:ODD}\n}") == (
        Statement(1, "a", (ENV["ODD"], "b"), (Statement(2, "c", (ENV["ODD"],)),)),
    )


def test_the_name_of_a_directive_is_never_replaced() -> None:
    assert words("{env:HOST} b") == ("{env:HOST}", "b")


def test_a_variable_that_is_not_set_is_named() -> None:
    assert refusal("a\nb \\\n c{env:UNSET}") == (
        "relay.conf: line 3: b: the environment has no UNSET; set it, or give a default as in {env:UNSET:-default}"
    )


@pytest.mark.parametrize(
    "text", ["{env:}", "{env:A-B}", "{env:1}", "{env: A}", '"{env:A B}"', "{env:É}", "{env:A-B:-c}"]
)
def test_a_variable_without_a_proper_name_is_refused(text: str) -> None:
    assert refusal(f"a {text}".replace(": A", ":.A")) == (
        "relay.conf: line 1: a: a variable is written {env:NAME} or {env:NAME:-default}"
    )


@pytest.mark.parametrize(
    "text", ['"{env:HOST"', '"{env:A:B}"', '"{env:{HOST}"', '"{env:HOST:-a{b}"', '"{env:HOST} {env:"']
)
def test_a_variable_that_is_not_closed_is_refused(text: str) -> None:
    assert refusal(f"a {text}") == (
        "relay.conf: line 1: a: {env: is not closed as in {env:NAME}; for itself write {env::-{}env:"
    )


# The whole.


def test_what_is_no_text_is_refused() -> None:
    assert refusal(b"a b") == "relay.conf: expected text, got bytes"
    assert refusal(None) == "relay.conf: expected text, got NoneType"


def test_the_name_of_a_file_cannot_steer_a_terminal() -> None:
    assert str(Text("a\x1b[2J", {}).mistake(3, "b", "c")) == "a\\x1b[2J: line 3: b: c"


def test_the_words_of_a_statement_are_not_shown() -> None:
    assert "secret" not in repr(read("auth plain me secret"))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("mx.example", "mx.example"),
        ("tcp://[fe80::1%eth0]:25", "tcp://[fe80::1%eth0]:25"),
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a\\", '"a{env::-\\}"'),
        ("#a", '"#a"'),
        ("{env:HOST}", '"{env::-{}env:HOST}"'),
        ("ünï", '"ünï"'),
    ],
)
def test_a_word_is_written_in_quotes_where_it_must_be(word: str, text: str) -> None:
    assert written(word) == text


@given(st.lists(st.text(st.sampled_from('{}env:-\\" #\n\rHOSTa'), max_size=20) | hostile_text | st.text()))
def test_every_word_is_read_as_it_was_written(several: list[str]) -> None:
    text = " ".join(["a", *map(written, several)])
    assert words(text) == ("a", *several)
    assert read(f"x {{\n{text}\n}}") == (Statement(1, "x", (), (Statement(2, "a", tuple(several)),)),)
    assert read(f"x {{ {text} }}") == (Statement(1, "x", (), (Statement(1, "a", tuple(several)),)),)


PIECES = [
    "a",
    " ",
    "\n",
    "\r\n",
    "{",
    "}",
    " { ",
    " }\n",
    '"',
    '\\"',
    "\\",
    "\\\n",
    "#",
    "{env:HOST}",
    "{env:",
    ":-",
    "\0",
]


@example('"\n" { ')
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | hostile_text)
def test_any_text_is_read_or_a_config_error(text: str) -> None:
    try:
        read(text)
    except ConfigError as error:
        assert str(error).isprintable()
        assert str(error).startswith("relay.conf: line ")
