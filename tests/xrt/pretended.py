"""The command `undertone transcribe` above the pretended NPU, as the Python tests of run_fake.sh run it."""

import json
import os
import pathlib
import subprocess

# What must be 0 when a program has ended (`fake/src/counters.rs`).
OPEN = ["clients", "contexts", "buffers", "buffer_bytes", "mappings", "mapped_bytes", "pending"]


class Failed(Exception):
    """A run that did something else than it has to."""


class Run:
    """A run that has ended: exit code, output, what the pretended device counted and what it complained of."""

    def __init__(self, name: str, arguments: list, done: subprocess.CompletedProcess, folder: pathlib.Path | None):
        self.name, self.arguments, self.code = name, arguments, done.returncode
        self.stdout, self.stderr = done.stdout.decode(), done.stderr.decode()
        read = lambda file: (folder / file).read_text() if folder and (folder / file).exists() else ""
        self.counters, self.log = json.loads(read("counters") or "{}"), read("log")

    def needs(self, holds: bool, what: str) -> None:
        """Fails, with all that is known of the run, if something does not hold."""
        if not holds:
            raise Failed(
                f"{self.name}: {what}\n  {' '.join(map(str, self.arguments))}\n  exit code {self.code}, {self.counters}\n"
                f"--- standard output\n{self.stdout}\n--- standard error\n{self.stderr}\n--- the device's log\n{self.log}"
            )

    def result(self) -> dict:
        """The result of a run that succeeded, as JSON."""
        self.needs(self.code == 0, "it did not succeed")
        return json.loads(self.stdout)

    def left_nothing_open(self) -> None:
        """After a program has ended, nothing of the device is open."""
        left = {name: self.counters.get(name) for name in OPEN if self.counters.get(name) != 0}
        self.needs(not left, f"left open: {left}")


class Machine:
    """Where the command runs: `program` is its words, with the loader, the preloaded device and the command itself."""

    def __init__(self, silicon: str, work: str, bundles: str, program: list):
        self.silicon, self.work, self.bundles, self.program = silicon, pathlib.Path(work), bundles, program

    def npu(self, name: str, arguments: list, fault: str = "", limit: float = 120) -> Run:
        """Above a pretended NPU with a fault (words of `fake/src/faults.rs`)."""
        folder = self.work / name
        folder.mkdir(parents=True)
        (folder / "fault").write_text(fault)
        device = {"UNDERTONE_FAKE_NPU": str(folder), "UNDERTONE_FAKE_NPU_TARGET": self.silicon}
        return self._run(name, [*self.program, *arguments, "--bundle-dir", self.bundles], device, folder, limit)

    def plain(self, name: str, arguments: list, limit: float = 120) -> Run:
        """As on any machine: without XRT and without an NPU."""
        return self._run(name, [self.program[-1], *arguments], {}, None, limit)

    def _run(self, name: str, words: list, device: dict, folder: pathlib.Path | None, limit: float) -> Run:
        try:
            done = subprocess.run(words, env=os.environ | device, capture_output=True, timeout=limit, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired as late:
            done = subprocess.CompletedProcess(words, -1, late.stdout or b"", late.stderr or b"")
            Run(name, words, done, folder).needs(False, f"it did not end within {limit} s")
        return Run(name, words, done, folder)
