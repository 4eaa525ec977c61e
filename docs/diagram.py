"""Print the state diagram into every page that shows it, from the transition table."""

from __future__ import annotations

import re
from pathlib import Path

from smtpstate._diagram import diagram

ROOT = Path(__file__).parent.parent
BETWEEN_MARKS = re.compile(r"(?<=<!-- diagram -->\n).*?(?=<!-- /diagram -->)", re.DOTALL)


def shown() -> str:
    """Return what stands between the marks."""
    return f"```mermaid\n{diagram()}\n```\n"


if __name__ == "__main__":
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text("utf-8")
        page.write_text(BETWEEN_MARKS.sub(lambda _: shown(), text), "utf-8")
