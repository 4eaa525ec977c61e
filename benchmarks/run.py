"""Measure smtpstate beside its peers: python benchmarks/run.py [--quick] [WORDS-OF-A-ROW]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import micro
import report
from measure import Lost, Run, have, run
from rows import QUICK, ROWS, Row

LARGE = 200 << 20  # octets of the large message


def measured(row: Row, large: Path) -> dict[str, list[Run]]:
    """Run all clients of a row in turn, so many times; one that fails is left out, and told of."""
    work = replace(row.work, path=str(large)) if row.work.path else row.work
    found: dict[str, list[Run]] = {name: [] for name in row.sinks if have(name)}
    for name in row.sinks.keys() - found.keys():
        print(f"{name} is not here", file=sys.stderr)
    for _ in range(row.repeat):
        for name in list(found):
            try:
                found[name].append(run(name, work, row.sinks[name], pinned=row.pinned))
            except (Lost, RuntimeError, OSError) as error:
                print(f"{row.title}: {name} is left out: {error}", file=sys.stderr)
                del found[name]
    return found


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"a {QUICK}th of the messages")
    parser.add_argument("--chart", type=Path, help="write the first row as an SVG picture to this file")
    parser.add_argument("words", nargs="?", default="", help="only rows whose title has these words")
    choice = parser.parse_args()
    rows = [row.quick() if choice.quick else row for row in ROWS if choice.words in row.title]
    goals: list[str] = []
    print("\n".join(report.heading()))
    with tempfile.TemporaryDirectory() as directory:
        large = Path(directory) / "large.eml"
        with large.open("wb") as file:
            text = micro.base64_text(1 << 20)
            size = LARGE // QUICK if choice.quick else LARGE
            file.writelines([b"Subject: large\r\n\r\n", *[text[: text.rindex(b"\r\n") + 2]] * (size >> 20)])
        for row in rows:
            found = measured(row, large)
            print("\n".join(report.table(row, found)), flush=True)
            goals += report.judged(row, found)
            if choice.chart and row is rows[0]:
                choice.chart.write_text(report.chart(row, found), "utf-8")
    if not choice.words:
        goals += micro.main(3 if choice.quick else 9)
    print("| what | ours | theirs | to reach | reached | met |\n|---|---|---|--:|--:|---|")
    print("\n".join(goals))


if __name__ == "__main__":
    main()
