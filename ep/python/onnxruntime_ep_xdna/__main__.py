"""``python -m onnxruntime_ep_xdna``: versions, the library, devices, and what is in the way."""

from __future__ import annotations

import importlib.metadata
import sys

from . import describe, get_ep_name, register
from ._library import get_library_path
from ._registration import runtime, takes_names

# All of them install the module `onnxruntime`, so two of them overwrite each other.
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-qnn")


def main() -> int:
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
    sys.exit(main())
