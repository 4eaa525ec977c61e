"""Say in Markdown and in a chart what was found."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.sax.saxutils import escape

from measure import Run, median, ratio
from rows import OURS, Ceiling, Figure, Goal, Row
from sinks import delay_of

BAR, GAP, LEFT, WIDTH = 22, 6, 190, 760  # pixels
OWN, OTHER, INK = "#1f6f8b", "#b9c3c9", "#222"


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
    versions = [f"Python {platform.python_version()}", f"smtpstate {own_version()}"]
    for package in ("aiosmtplib", "smtpproto", "python-slimta", "trio", "anyio"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    versions.append(
        told(["node", "-p", "'nodemailer ' + require('nodemailer/package.json').version"], "nodemailer")
    )
    versions.append(told(["postconf", "-h", "mail_version"], "Postfix", before="Postfix "))
    cores = f"{processor}, {os.cpu_count()} processors"
    return [f"{platform.system()} {platform.release()}, {cores}. {', '.join(versions)}.", ""]


def own_version() -> str:
    """Return the version of the source that is measured, installed or not."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    return str(project["project"]["version"])


def told(program: list[str], name: str, *, before: str = "") -> str:
    """Return what a program says of its version."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"no {name}"
    return before + done.stdout.strip()


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
        memory = "" if "nodemailer" in name or "smtp-source" in name else f"{most_memory(runs):.1f}"
        lines.append(f"| {name} | {1 / seconds:,.1f} | {seconds * 1e3:,.3f} | {cpu * 1e3:,.3f} | {memory} |")
    return [*lines, ""]


def judged(row: Row, found: dict[str, list[Run]]) -> list[str]:
    """Return a line for each goal of a row."""
    lines: list[str] = []
    for goal in row.goals:
        what = row.title if goal.of == "seconds" else f"{row.title} (CPU)"
        who, wanted = f"{goal.ours} | times as fast as {goal.theirs}", f"at least {goal.factor:.2g}"
        if goal.ours not in found or goal.theirs not in found:
            lines.append(verdict(what, who, wanted))
            continue
        reached = between(found, goal, goal.of)
        by_cpu = f"{between(found, goal, 'cpu'):.2f}"
        lines.append(verdict(what, who, wanted, f"{reached:.2f}", met=reached >= goal.factor, by_cpu=by_cpu))
    for ceiling in row.ceilings:
        who, wanted = f"{ceiling.client} | {ceiling.what}", f"at most {ceiling.most:.3g}"
        if ceiling.client not in found:
            lines.append(verdict(row.title, who, wanted))
            continue
        needed = need(row, found[ceiling.client], ceiling)
        lines.append(verdict(row.title, who, wanted, f"{needed:.1f}", met=round(needed, 1) <= ceiling.most))
    return lines


def between(found: dict[str, list[Run]], goal: Goal, of: Figure) -> float:
    """Return how many times as much of a figure theirs took, as ours."""
    ours, theirs = ([getattr(run, of) for run in found[name]] for name in (goal.ours, goal.theirs))
    return ratio(ours, theirs)


def need(row: Row, runs: list[Run], ceiling: Ceiling) -> float:
    """Return how much of something a client needed."""
    if ceiling.what == "MiB":
        return most_memory(runs)
    if ceiling.what == "KiB a connection":
        return median([run.memory for run in runs]) / row.work.connections
    # A client waits for the greeting before it can speak: that is no turn of its own.
    delay = delay_of(row.sinks[ceiling.client])
    return float(int(median([run.seconds for run in runs]) / delay) - 1)


def most_memory(runs: list[Run]) -> float:
    """Return the most that a peak of memory grew by, in MiB."""
    return max(run.memory for run in runs) / 1024


def verdict(
    what: str, who: str, wanted: str, reached: str = "not measured", *, met: bool = False, by_cpu: str = ""
) -> str:
    """Return a line of the table of goals."""
    said = "" if reached == "not measured" else "yes" if met else "no"
    return f"| {what} | {who} | {wanted} | {reached} | {said} | {by_cpu} |"


def goals(lines: list[str]) -> list[str]:
    """Return the table of goals."""
    heads = ["what", "who", "figure", "goal", "reached", "met", "the same by client CPU"]
    return [f"| {' | '.join(heads)} |", "|---|---|---|--:|--:|---|--:|", *lines, ""]


def chart(panels: list[tuple[Row, dict[str, list[Run]]]]) -> str:
    """Return the messages a second of each client as bars, a panel for each row."""
    parts: list[str] = []
    top = 0
    for row, found in panels:
        rates = {
            name: row.work.messages / median([run.seconds for run in runs]) for name, runs in found.items()
        }
        parts.append(f'<text x="0" y="{top + 18}" font-weight="bold">{escape(panel_title(row))}</text>')
        top += 30
        for name, rate in sorted(rates.items(), key=lambda item: -item[1]):
            parts += bar(name, rate, rate / max(rates.values()) * (WIDTH - LEFT - 70), top)
            top += BAR + GAP
        top += 14
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="{INK}">'
    return "\n".join([start, f'<rect width="{WIDTH}" height="{top}" fill="white"/>', *parts, "</svg>", ""])


def panel_title(row: Row) -> str:
    """Return what stands above a panel."""
    title = row.title.replace("the same", "1 KiB to one recipient")
    return f"{title[0].upper()}{title[1:]}: messages a second"


def bar(name: str, rate: float, length: float, top: int) -> list[str]:
    """Return a bar and what stands beside it."""
    colour = OWN if name in OURS else OTHER
    label = f"smtpstate, {name}" if name in OURS else name
    return [
        f'<text x="{LEFT - 8}" y="{top + 16}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{LEFT + length + 6:.0f}" y="{top + 16}">{rate:,.0f}</text>',
    ]
