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


@pytest.mark.parametrize("way", ["data", "bdat"])
def test_a_gibibyte_takes_no_more_memory_than_a_mebibyte(
    way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    peak_of = load().peak_of
    small, large = peak_of(way, 1), peak_of(way, 1024)
    with capsys.disabled():
        print(
            f"\n{way}: peak memory {small:.1f} MiB for 1 MiB, {large:.1f} MiB for 1 GiB ",
            end="",
            file=sys.stderr,
        )
    assert abs(large - small) <= FLAT


@pytest.mark.parametrize("adapter", ["blocking", "asyncio"])
@pytest.mark.parametrize("way", ["data", "binary"])
def test_a_large_file_takes_no_more_memory_than_a_small_one(way: str, adapter: str, tmp_path: Path) -> None:
    memory = load()
    peaks: list[float] = []
    for mebibytes in (1, 64):
        memory.write_file(tmp_path / "message", mebibytes)
        peaks.append(memory.peak_of(way, mebibytes, adapter, str(tmp_path / "message")))
    assert abs(peaks[1] - peaks[0]) <= FLAT


def test_a_message_that_is_held_in_memory_is_seen_by_the_measure() -> None:
    peak_of = load().peak_of
    assert peak_of("held", 16) - peak_of("held", 1) > 8
