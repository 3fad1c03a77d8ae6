"""`python -m undertone`: the command `undertone`, which is in this package as a program of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

from undertone._libraries import PACKAGE, command_name, ep_library, onnxruntime_library


def main() -> int:
    """Runs the command with this process's arguments, in its place where the system can do that."""
    command = PACKAGE / "bin" / command_name()
    if not command.is_file():
        print(f"error: {command} is not there: this package was built without the command", file=sys.stderr)
        return 1
    environment = dict(os.environ, UNDERTONE_EP_LIBRARY=ep_library())
    # Without one the command says what is missing, if it needs it.
    with contextlib.suppress(ImportError):
        environment["ORT_DYLIB_PATH"] = onnxruntime_library()
    arguments = [str(command), *sys.argv[1:]]
    if os.name == "nt":
        # There a new program would not take this one's place, but run beside it.
        return subprocess.run(arguments, env=environment, check=False).returncode
    os.execve(command, arguments, environment)


if __name__ == "__main__":
    sys.exit(main())
