#!/usr/bin/env python3
"""`undertone npu bring-up` above the pretended NPU, through the real XRT: the whole ladder, with AMD's real `xrt-smi`; each fault of the driver at
each rung; faults of the array, which stop at the rung that is about them; and a rung that hangs, which is ended at its limit.

Called by run_fake.sh:  bring_up.py npu1|npu4 WORK BUNDLES PROGRAM…   (PROGRAM: loader, preloaded device, command)

Where the ladder stops for each fault of the array is `kernels/tests/ladder/mod.rs`'s table, which the ladder's own tests go through here and on the
simulator: here is one fault for each rung.
"""

import concurrent.futures
import json
import os
import pathlib
import stat
import sys

from faults import WORDS
from pretended import Failed, Machine, Run

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNGS = range(2, 7)
# Commands that hang cost the device's limit of 10 s, or the driver's watchdog.
LIMIT = 240
# What is wrong with the array, the rung that finds it, and words of what it finds.
OF_THE_ARRAY = {
    "lists": (2, "a list of 2 commands"),
    "strides": (3, "steps of descriptors are ignored"),
    "product": (4, "fp32 products"),
    "dead-core 1 2": (5, "row 1 of cores, column 2"),
    "attention": (6, "attention on the whole array"),
}


class Tests:
    def __init__(self, machine: Machine):
        self.machine = machine

    def run(self, name: str, words: list, fault: str = "") -> tuple[Run, dict]:
        """A ladder, and its report."""
        file = self.machine.work / f"{name.replace(' ', '-')}.json"
        models = [] if "--models" in words else ["--models", str(ROOT / "models/reference")]
        run = self.machine.npu(name.replace(" ", "-"), ["npu", "bring-up", "--report", str(file), *models, *words], fault, LIMIT)
        run.needs(file.exists(), "there is no report")
        return run, json.loads(file.read_text())

    def stops(self, name: str, words: list, fault: str, rung: int, said: str, verdict: str = "failed") -> dict:
        """A ladder that stops at a rung, with words in its report: the rung."""
        run, report = self.run(name, words, fault)
        run.needs(run.code == 1 and f"error: stopped at rung {rung}," in run.stderr, f"it does not end at rung {rung}")
        run.needs(f"Stopped at rung {rung}." in run.stdout, "it does not say where it stopped")
        for found in report["rungs"]:
            expected = "passed" if found["rung"] < rung else verdict if found["rung"] == rung else "not_reached"
            run.needs(found["verdict"] == expected, f"rung {found['rung']} is {found['verdict']}, not {expected}")
        stopped = next(found for found in report["rungs"] if found["rung"] == rung)
        run.needs(said in json.dumps(stopped, ensure_ascii=False), f'"{said}" is not in {stopped}')
        return stopped

    def whole(self) -> None:
        run, report = self.run("whole", [])
        run.needs(run.code == 0, "it stopped")
        run.needs([rung["verdict"] for rung in report["rungs"]] == ["passed"] * 7, "not all seven rungs are passed")
        run.needs(report["target"] == self.machine.silicon, "another NPU is named")
        run.left_nothing_open()
        # AMD's program asks for what the pretended driver does not tell (EOPNOTSUPP).
        complaints = [line for line in run.log.splitlines() if not line.endswith("is answered with errno 95")]
        run.needs(not complaints, "the device complained")
        checks = {check["name"]: check for rung in report["rungs"] for check in rung["checks"]}
        # AMD's program is Debian's, which has no tests in it.
        run.needs(checks["power mode"]["found"] == "default", f"no power mode: {checks['power mode']}")
        run.needs("No such file" in checks["xrt-smi validate"]["found"], f"not Debian's xrt-smi: {checks}")
        figures = checks["reference, int8"]["figures"]
        for figure in ["cosine", "array_ms", "predicted_array_ms", "npu_window_ms", "host_window_ms"]:
            run.needs(figures.get(figure, 0) > 0, f"{figure} is missing: {figures}")
        # Cycles of a core are no figure here: the simulator computes once what a core repeats.
        for cost in ["dispatch", "listed"]:
            run.needs(report["core_costs"].get(cost, 0) > 0, f"{cost} is missing: {report['core_costs']}")
        for personal in [str(self.machine.work), str(ROOT), os.uname().nodename]:
            run.needs(personal in ["", "localhost"] or personal not in json.dumps(report), f"{personal} is in the report")

    def of_the_driver(self, fault: str, rung: int) -> None:
        only = ["--from", str(rung), "--up-to", str(rung)]
        self.stops(f"{fault} at rung {rung}", only, fault, rung, WORDS[fault])

    def of_the_array(self, fault: str) -> None:
        rung, said = OF_THE_ARRAY[fault]
        self.stops(fault, ["--from", "2"], fault, rung, said)

    def in_a_model(self) -> None:
        """Commands fail after attention, within a model's encoder."""
        run, _ = self.run("attention alone", ["--from", "6", "--up-to", "6", "--models", "undertone/no-such-model"])
        executed = run.counters["executed"]
        run.needs(run.code == 0 and executed > 0, "attention is not well")
        only = ["--from", "6", "--up-to", "6"]
        stopped = self.stops("error in a model", only, f"error {executed + 5}", 6, WORDS["error"])
        if stopped["checks"][-1]["name"] != "reference, int8":
            raise Failed(f"it is not the model that failed: {stopped}")

    def ended_at_its_limit(self) -> None:
        words = ["--from", "2", "--up-to", "3", "--limit", "3"]
        stopped = self.stops("ended at its limit", words, "timeout", 2, "no answer within 3 s", "timed_out")
        if stopped["seconds"] > 9:
            raise Failed(f"it was ended late: {stopped}")

    def all(self) -> dict:
        """Every test by name; those that wait come first."""
        slow_first = sorted(WORDS, key=lambda fault: fault not in ["timeout", "hang"])
        tests = {"the whole ladder": (self.whole,), "a rung that hangs": (self.ended_at_its_limit,)}
        tests |= {f"{fault} at rung {rung}": (self.of_the_driver, fault, rung) for fault in slow_first for rung in RUNGS}
        tests |= {f"{fault}, in the array": (self.of_the_array, fault) for fault in OF_THE_ARRAY}
        return tests | {"error in a model": (self.in_a_model,)}


def xrt_smi(work: pathlib.Path, program: list) -> None:
    """Puts AMD's program, started as the command is, first into the PATH."""
    work.mkdir(parents=True)
    file = work / "xrt-smi"
    # The loader is ROOT/usr/lib64/….
    original = pathlib.Path(program[0]).parents[1] / "bin/xrt-smi"
    file.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in [*program[:-1], original]) + ' "$@"\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] = f"{work}:{os.environ['PATH']}"


def main() -> None:
    silicon, work, bundles, *program = sys.argv[1:]
    xrt_smi(pathlib.Path(work) / "bin", program)
    tests = Tests(Machine(silicon, work, bundles, program))
    failures, done = [], 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        running = {name: pool.submit(*test) for name, test in tests.all().items()}
        for name, test in running.items():
            try:
                test.result()
                done += 1
            except Failed as failure:
                failures.append(str(failure))
                print(f"FAILED: {silicon}: {name}", flush=True)
    print(f"the ladder, {silicon}: {done} of {len(running)} climbs end as they have to")
    if failures:
        sys.exit("\n\n".join(failures))


if __name__ == "__main__":
    main()
