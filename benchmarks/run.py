"""Measure smtpstate beside its peers: python benchmarks/run.py [--quick] [WORDS-OF-A-ROW]."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import micro
import report
from measure import Lost, Run, have, median, run
from rows import GROWTHS, LARGE, QUICK, ROWS, Growth, Row
from work import Work

FAILURES = (Lost, RuntimeError, OSError, subprocess.SubprocessError)
BEGINS = "## Figures\n"  # what follows this line of a page is written anew


class Files:
    """Large messages, which are files."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def of(self, work: Work) -> Work:
        """Return the work with its file, if it has one."""
        if work.size < LARGE:
            return work
        path = self._directory / f"{work.size}.eml"
        if not path.exists():
            text = micro.base64_text(LARGE)
            with path.open("wb") as file:
                file.write(b"Subject: large\r\n\r\n")
                file.writelines([text[: text.rindex(b"\r\n") + 2]] * (work.size // LARGE))
        return replace(work, path=str(path))


def measured(row: Row, work: Work) -> dict[str, list[Run]]:
    """Run all clients of a row in turn, so many times; one that fails is left out, and told of."""
    found: dict[str, list[Run]] = {name: [] for name in row.sinks if have(name)}
    for name in row.sinks.keys() - found.keys():
        print(f"{row.title}: {name} is not here", file=sys.stderr)
    for _ in range(row.repeat):
        for name in list(found):
            try:
                found[name].append(run(name, work, row.sinks[name], pinned=row.pinned))
            except FAILURES as error:
                print(f"{row.title}: {name} is left out: {error}", file=sys.stderr)
                del found[name]
    return found


def growth(each: Growth, files: Files, rounds: int) -> str:
    """Return a line of the table of goals."""
    took = [
        median([run(each.client, files.of(work), each.sink).cpu for _ in range(rounds)])
        for work in (each.small, each.large)
    ]
    return micro.growth_line(each.title, each.client, micro.grown(*took))


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"a {QUICK}th of the work")
    parser.add_argument("--chart", type=Path, help="draw some of the rows into this SVG picture")
    parser.add_argument("--page", type=Path, help="write the figures into this Markdown page too")
    parser.add_argument("words", nargs="?", default="", help="only rows whose title has these words")
    choice = parser.parse_args()
    tables: list[str] = []
    goals: list[str] = []
    panels: list[tuple[Row, dict[str, list[Run]]]] = []
    heading = report.heading()
    if choice.quick:
        heading += [f"A quick run: a {QUICK}th of the work, and fewer rounds. Its figures are rough.", ""]
    print("\n".join(heading))
    with tempfile.TemporaryDirectory() as directory:
        files = Files(directory)
        for row in [row.quick() if choice.quick else row for row in ROWS if choice.words in row.title]:
            found = measured(row, files.of(row.work))
            tables += (table := report.table(row, found))
            print("\n".join(table), flush=True)
            goals += report.judged(row, found)
            if row.charted:
                panels.append((row, found))
        for each in GROWTHS:
            if choice.words in each.title:
                try:
                    one = growth(each.quick(), files, 1) if choice.quick else growth(each, files, 3)
                    goals.append(one)
                except FAILURES as error:
                    print(f"{each.title}: {error}", file=sys.stderr)
    if not choice.words:
        goals += micro.main(3 if choice.quick else 9)
    print("\n".join(report.goals(goals)))
    if choice.chart:
        choice.chart.write_text(report.chart(panels), "utf-8")
    if choice.page:
        before, begins, _ = choice.page.read_text("utf-8").partition(BEGINS)
        lines = [before + begins, *heading, *report.goals(goals), *tables]
        choice.page.write_text("\n".join(lines).rstrip("\n") + "\n", "utf-8")


if __name__ == "__main__":
    main()
