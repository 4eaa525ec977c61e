"""Say in Markdown and in a chart what was found."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.sax.saxutils import escape

from measure import Run, median, ratio
from rows import OURS, Row

BAR, GAP, LEFT, WIDTH = 22, 6, 170, 760  # pixels
OWN, OTHER = "#1f6f8b", "#b9c3c9"


def heading() -> list[str]:
    """Return what it was measured on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    versions = [f"Python {platform.python_version()}"]
    for package in ("aiosmtplib", "smtpproto", "python-slimta", "trio", "anyio"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    return [f"{platform.system()} {platform.release()}, {processor}; {', '.join(versions)}.", ""]


def table(row: Row, found: dict[str, list[Run]]) -> list[str]:
    """Return a row's figures and how it did against its goals."""
    count = row.work.messages * row.work.connections
    per = "message" if count > 1 else "run"
    lines = [f"### {row.title[0].upper()}{row.title[1:]}", ""]
    lines += [
        f"| client | {per}s a second | ms a {per} | client CPU, ms | memory, MiB |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, runs in found.items():
        seconds = median([run.seconds for run in runs]) / count
        cpu = median([run.cpu for run in runs]) / count
        memory = max(run.memory for run in runs) / 1024
        lines.append(
            f"| {name} | {1 / seconds:,.1f} | {seconds * 1e3:,.3f} | {cpu * 1e3:,.3f} | {memory:.1f} |"
        )
    return [*lines, ""]


def judged(row: Row, found: dict[str, list[Run]]) -> list[str]:
    """Return a line for each goal of a row."""
    lines: list[str] = []
    for goal in row.goals:
        if goal.ours not in found or goal.theirs not in found:
            lines.append(
                f"| {row.title} | {goal.ours} | {goal.theirs} | {goal.factor:.2g} | not measured | |"
            )
            continue
        ours = [getattr(run, goal.of) for run in found[goal.ours]]
        theirs = [getattr(run, goal.of) for run in found[goal.theirs]]
        reached = ratio(ours, theirs)
        what = "" if goal.of == "seconds" else " (CPU)"
        met = "yes" if reached >= goal.factor else "no"
        lines.append(
            f"| {row.title}{what} | {goal.ours} | {goal.theirs} | {goal.factor:.2g} | {reached:.2f} | {met} |"
        )
    return lines


def chart(row: Row, found: dict[str, list[Run]]) -> str:
    """Return the messages a second of each client as bars."""
    rates = {
        name: row.work.messages * row.work.connections / median([run.seconds for run in runs])
        for name, runs in found.items()
    }
    most = max(rates.values())
    height = (BAR + GAP) * len(rates) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<text x="0" y="18">{escape(row.title)}: messages a second</text>',
    ]
    for number, (name, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
        top = 32 + number * (BAR + GAP)
        length = rate / most * (WIDTH - LEFT - 70)
        colour = OWN if name in OURS else OTHER
        label = f"smtpstate, {name}" if name in OURS else name
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LEFT + length + 6:.0f}" y="{top + 16}">{rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
