"""The wheel: what it holds, and that all of it imports where nothing but it is installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"smtpstate"} | {path.name for path in (ROOT / "src" / "adapters").glob("smtpstate_*")}
#: Packages that need what an extra brings.
NEEDS_EXTRA = {"smtpstate_cli", "smtpstate_relay", "smtpstate_trio", "smtpstate_anyio"}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return what ``command`` prints; fail with what it said if it failed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built without any network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(
        sys.executable,
        *("-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"),
        *("--no-deps", "--no-index", wheel),
    )
    return python


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == PACKAGES | {"smtpstate-0.1.0.dist-info"}
    assert {name for name in names if name.endswith("/py.typed")} == {f"{name}/py.typed" for name in PACKAGES}
    assert [
        name for name in names if name.rpartition("/")[2].startswith("test_") or name.endswith(".pyc")
    ] == []


def test_every_package_without_extra_imports_where_only_the_wheel_is(fresh: Path, tmp_path: Path) -> None:
    packages = ", ".join(sorted(PACKAGES - NEEDS_EXTRA))
    origin = run(fresh, "-I", "-c", f"import {packages}; print(smtpstate.__file__)", cwd=tmp_path)
    assert Path(origin.strip()).is_relative_to(fresh.parent.parent)


def test_the_other_packages_import_where_their_extras_are_too(fresh: Path, tmp_path: Path) -> None:
    # Only what pip installs is lent, behind the wheel; files that extend the path, as an editable
    # installation has them, are not read from there.
    lent = sysconfig.get_path("purelib")
    for package in sorted(PACKAGES & NEEDS_EXTRA):
        origin = run(
            fresh, "-I", "-c", f"import sys; sys.path.append({lent!r}); import {package}; print({package}.__file__)",
            cwd=tmp_path,
        )  # fmt: skip
        assert Path(origin.strip()).is_relative_to(fresh.parent.parent)


def test_the_program_is_installed(fresh: Path) -> None:
    assert (fresh.parent / "smtpstate").is_file()
