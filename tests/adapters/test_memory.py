"""Memory stays constant, however large the message: measured in processes of their own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "memory.py"
#: MiB by which two peaks may differ.
FLAT = 2.0


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("way", "adapter", "source"),
    [
        ("data", "blocking", "iterable"),
        ("bdat", "blocking", "iterable"),
        ("data", "blocking", "file"),
        ("binary", "blocking", "file"),
        ("data", "asyncio", "file"),
        ("data", "asyncio", "async iterable"),
    ],
)
def test_a_gibibyte_takes_no_more_memory_than_a_mebibyte(
    way: str, adapter: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = load()
    path = tmp_path / "message"
    peaks: list[float] = []
    for mebibytes in (1, 1024):
        if source == "file":
            memory.write_file(path, mebibytes)
        peaks.append(memory.peak_of(way, mebibytes, adapter, str(path) if source == "file" else source))
    path.unlink(missing_ok=True)
    with capsys.disabled():
        print(
            f"\n{way}, {adapter}, {source}: peak memory {peaks[0]:.1f} MiB for 1 MiB,"
            f" {peaks[1]:.1f} MiB for 1 GiB ",
            end="",
            file=sys.stderr,
        )
    assert abs(peaks[1] - peaks[0]) <= FLAT


def test_a_message_that_is_held_in_memory_is_seen_by_the_measure() -> None:
    peak_of = load().peak_of
    assert peak_of("held", 16) - peak_of("held", 1) > 8
