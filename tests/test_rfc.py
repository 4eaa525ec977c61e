"""Every citation of an RFC names a section that exists, in the one form that can be searched for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rfc import SECTIONS

ROOT = Path(__file__).parent.parent
FILES = sorted(
    [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        *(ROOT / "fuzz").glob("*.py"),
        *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)),
    ]
)
_NUMBER = r"[0-9A-F](?:\.[0-9]+)*"
_CITATION = re.compile(rf"RFC (?P<rfc>[0-9]+)(?P<sections>(?:,? (?:and )?§{_NUMBER})*)")
#: What looks like a citation; each must be one that ``_CITATION`` reads whole.
_ANY_MENTION = re.compile(r"\bRFC[ -]?(?!822\b)[0-9]+")  # RFC822 is a type of addresses
_OTHER_FORM = re.compile(r"\b[Ss]ec(?:tion|\.) ?[0-9]+\.[0-9]|§ [0-9]|§§")


def mistakes(text: str) -> list[str]:
    """Return what is wrong with the citations in ``text``."""
    flat = re.sub(r"\s*\n[\s#:*>]*", " ", text)  # a citation may be broken across lines of a comment
    found: list[str] = []
    read = 0
    for citation in _CITATION.finditer(flat):
        read += 1
        rfc = int(citation["rfc"])
        if rfc not in SECTIONS:
            found.append(f"RFC {rfc} is not in tests/rfc.py")
            continue
        cited: list[str] = re.findall(rf"§({_NUMBER})", citation["sections"])
        found += [f"RFC {rfc} has no §{section}" for section in cited if section not in SECTIONS[rfc]]
    if read != len(_ANY_MENTION.findall(flat)):
        found.append("write RFC 5321 §4.2: an RFC is mentioned in another form")
    found += [f"write RFC 5321 §4.2, not {other!r}" for other in _OTHER_FORM.findall(flat)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_cited_section_exists(path: Path) -> None:
    assert mistakes(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "RFC 5321 §4.5.9",
        "RFC 5321 §4.2.1, §9.9",
        "RFC 99999",
        "RFC5321",
        "RFC 5321, section 4.2",
        "RFC 5321 § 4.2",
    ],
)
def test_a_wrong_citation_is_seen(text: str) -> None:
    assert mistakes(text) != []


@pytest.mark.parametrize(
    "text",
    ["RFC 5321 §4.2", "RFC 5321 §4.2, §4.5.3.1.5.", "RFC 1047", "(RFC 2033 §4.2,\n    # RFC 5321 §3.8)"],
)
def test_a_right_citation_is_taken(text: str) -> None:
    assert mistakes(text) == []
