"""The table of extensions names a test for each row, and each of those tests has a row."""

from __future__ import annotations

import re
from pathlib import Path

import test_extensions

PAGE = Path(__file__).parent.parent / "docs" / "extensions.md"


def test_every_row_of_the_table_has_a_test_of_its_own() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")][2:]
    named = [name for row in rows for name in re.findall(r"`(test_\w+)` \|$", row)]
    assert len(named) == len(rows)
    assert sorted(named) == sorted(name for name in vars(test_extensions) if name.startswith("test_"))
