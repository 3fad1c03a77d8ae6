"""Builds the wheel: cargo the execution provider and the command, stripped into `undertone/bin`, then maturin the rest.

pip calls it (`pip wheel ./runner/python`). Where these two are built already, the variables below name them, and cargo
builds the extension alone.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from maturin import get_requires_for_build_wheel, prepare_metadata_for_build_wheel

__all__ = ["build_wheel", "get_requires_for_build_wheel", "prepare_metadata_for_build_wheel"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# A library of the execution provider that is built, and a command.
EP_VARIABLE = "UNDERTONE_EP_LIBRARY"
COMMAND_VARIABLE = "UNDERTONE_COMMAND"


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """The hook of PEP 517."""
    binaries = put_binaries()
    out = Path(wheel_directory)
    before = set(out.glob("*.whl"))
    # maturin's own hook names wheels after the machine and checks nothing; this names them after what they need.
    arguments = ["maturin", "build", "--release", "--out", str(out.resolve()), "--interpreter", sys.executable]
    run([*arguments, *compatibility(binaries)], cwd=HERE)
    (wheel,) = set(out.glob("*.whl")) - before
    return wheel.name


def put_binaries() -> list[Path]:
    """Fills `undertone/bin`."""
    libraries = runpy.run_path(str(HERE / "undertone" / "_libraries.py"))
    folder = HERE / "undertone" / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    binaries = []
    for variable, package, name in (
        (EP_VARIABLE, "onnxruntime-ep-xdna", libraries["library_name"]()),
        (COMMAND_VARIABLE, "undertone", libraries["command_name"]()),
    ):
        named = os.environ.get(variable)
        source = Path(named) if named else built(package, name)
        if not source.is_file():
            sys.exit(f"error: {source} is not there: correct or unset {variable}")
        shutil.copy(source, folder / name)
        strip(folder / name)
        binaries.append(folder / name)
    return binaries


def compatibility(binaries: list[Path]) -> list[str]:
    """What the wheel is called. maturin looks at the extension alone, and these may need a newer C library."""
    versions = [int(minor) for file in binaries for minor in re.findall(rb"\0GLIBC_2\.(\d+)", file.read_bytes())]
    # No older policies are in use.
    return ["--compatibility", f"manylinux_2_{max(17, *versions)}"] if versions else []


def built(package: str, name: str) -> Path:
    """Lets cargo build a package, and returns its file of that name."""
    cargo = os.environ.get("CARGO", "cargo")
    done = run(
        [cargo, "build", "--release", "--package", package, "--message-format", "json-render-diagnostics"],
        cwd=ROOT,
        out=subprocess.PIPE,
    )
    for line in done.stdout.splitlines():
        for file in json.loads(line).get("filenames", []):
            if Path(file).name == name:
                return Path(file)
    sys.exit(f"error: cargo built {package} and left no {name}")


def strip(file: Path) -> None:
    """Leaves the debugging information away, which is most of the file."""
    tool = shutil.which("strip")
    if tool and os.name != "nt":
        run([tool, "-x" if sys.platform == "darwin" else "--strip-all", str(file)], cwd=HERE)


def run(arguments: list[str], cwd: Path, out: Any = None) -> subprocess.CompletedProcess[str]:
    """Ends the build with one line where a program fails, below its own words."""
    done = subprocess.run(arguments, cwd=cwd, stdout=out, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(arguments)} ended with {done.returncode}")
    return done


if __name__ == "__main__":
    put_binaries()
