"""``python -m onnxruntime_ep_xdna``: versions, the library, devices, and what is in the way.

``python -m onnxruntime_ep_xdna run [-o KEY=VALUE]... PROGRAM.py ARGUMENT...`` (or ``-m MODULE``) runs a program inside
:func:`everywhere`.
"""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import sys
from typing import Any

from . import EpError, describe, everywhere, get_ep_name, register
from ._library import get_library_path
from ._registration import runtime, takes_names

# All of them install the module `onnxruntime`, so two of them overwrite each other.
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn")


def main(arguments: list[str]) -> int:
    """What to do, by the first argument; gives the exit code."""
    if not arguments:
        return tell()
    if arguments[0] == "run" and (asked := _asked(arguments[1:])) is not None:
        return run(*asked)
    print(
        "usage: python -m onnxruntime_ep_xdna [run [-o KEY=VALUE]... (PROGRAM.py | -m MODULE) ARGUMENT...]",
        file=sys.stderr,
    )
    return 2


def run(options: dict[str, Any], program: list[str]) -> int:
    """Runs a program whose sessions get the provider, as Python would run it."""
    try:
        everywhere(**options)
    except (EpError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if program[0] == "-m":
        sys.argv = program[1:]
        # As Python does it, in place of this package's own folder.
        sys.path[0] = os.getcwd()
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path[0] = os.path.dirname(os.path.abspath(program[0]))
        runpy.run_path(program[0], run_name="__main__")
    return 0


def _asked(arguments: list[str]) -> tuple[dict[str, str], list[str]] | None:
    """The options and the program; ``None`` if it is not understood."""
    options: dict[str, str] = {}
    while arguments[:1] == ["-o"] and len(arguments) > 1 and "=" in arguments[1]:
        key, _, value = arguments[1].partition("=")
        options[key] = value
        arguments = arguments[2:]
    understood = arguments and (not arguments[0].startswith("-") or (arguments[0] == "-m" and len(arguments) > 1))
    return (options, arguments) if understood else None


def tell() -> int:
    """Prints one line for each thing; 1 if the provider cannot be used."""
    problems: list[str] = []

    def line(name: str, value: object) -> None:
        print(f"{name:<21}{value}")

    try:
        line("onnxruntime-ep-xdna", importlib.metadata.version("onnxruntime-ep-xdna"))
    except importlib.metadata.PackageNotFoundError:
        line("onnxruntime-ep-xdna", "not installed: this is its source")
    line("Python", sys.version.split()[0])
    try:
        module = runtime()
        line("ONNX Runtime", f"{module.__version__} in {module.__path__[0]}")
        device = register()
        line("provider", f"{device.ep_name}, registered")
        understood = takes_names(module)
        line("providers=[…]", "understood" if understood else "needs 1.25: use session() or everywhere()")
    except (RuntimeError, OSError) as error:
        problems.append(str(error))
    present = [name for name in PACKAGES if _version(name)]
    if len(present) > 1:
        problems.append(
            f"{' and '.join(present)} are installed over each other: uninstall them all, and install the one you want"
        )
    try:
        line("library", get_library_path())
        about = describe()
        line("version", f"{about['version']}, build {about['build']}")
        line("devices", ", ".join(about["devices"]))
        line("device=auto", about["auto"])
        line("NPU", about["npu"])
        for name, value in sorted(about.get("npu_software", {}).items()):
            line(f"  {name}", value)
        line("instruction set", about["instruction_set"])
        line("options", ", ".join(about["options"]))
    except (RuntimeError, OSError) as error:
        if str(error) not in problems:
            problems.append(str(error))
    for problem in problems:
        print(f"problem: {problem}")
    if not problems:
        print(f"{get_ep_name()} can be used")
    return 1 if problems else 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
