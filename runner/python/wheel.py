"""Builds the wheel: cargo the execution provider and the command, stripped into `undertone/bin`, then maturin the rest.

pip calls it (`pip wheel ./runner/python`). Where these two are built already, the variables below name them, and cargo builds the extension
alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import maturin
from maturin import get_requires_for_build_wheel, prepare_metadata_for_build_wheel

__all__ = ["build_wheel", "get_requires_for_build_wheel", "prepare_metadata_for_build_wheel"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# A library of the execution provider that is built, and a command.
EP_VARIABLE = "UNDERTONE_EP_LIBRARY"
COMMAND_VARIABLE = "UNDERTONE_COMMAND"


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """The hook of PEP 517."""
    put_binaries()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def put_binaries() -> None:
    """Fills `undertone/bin`."""
    sys.path.insert(0, str(HERE))
    names = names_of_binaries()
    folder = HERE / "undertone" / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for variable, package, name in ((EP_VARIABLE, "onnxruntime-ep-xdna", names[0]), (COMMAND_VARIABLE, "undertone", names[1])):
        named = os.environ.get(variable)
        source = Path(named) if named else built(package, name)
        if not source.is_file():
            sys.exit(f"error: {source} is not there: correct or unset {variable}")
        shutil.copy(source, folder / name)
        strip(folder / name)


def names_of_binaries() -> tuple[str, str]:
    """What the two files are called on this system; the package's own file says it, which needs no other."""
    space: dict[str, Any] = {"__file__": str(HERE / "undertone" / "_libraries.py"), "__name__": "_libraries"}
    exec((HERE / "undertone" / "_libraries.py").read_text(), space)
    return space["library_name"](), space["command_name"]()


def built(package: str, name: str) -> Path:
    """Lets cargo build a package, and returns its file of that name."""
    arguments = ["cargo", "build", "--release", "--package", package, "--message-format", "json-render-diagnostics"]
    done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: cargo could not build {package}")
    for line in done.stdout.splitlines():
        for file in json.loads(line).get("filenames", []):
            if Path(file).name == name:
                return Path(file)
    sys.exit(f"error: cargo built {package} and left no {name}")


def strip(file: Path) -> None:
    """Leaves the debugging information away, which is most of the file."""
    tool = shutil.which("strip")
    if tool and os.name != "nt":
        subprocess.run([tool, "-x" if sys.platform == "darwin" else "--strip-all", str(file)], check=True)


if __name__ == "__main__":
    put_binaries()
