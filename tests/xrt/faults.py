#!/usr/bin/env python3
"""`undertone transcribe` on an NPU that fails: while it is opened, and in the middle of the encoder. What must hold:

- `--device auto` ends well, with the right words, and says what fell back and why in XRT's words: in the result and on standard error;
- `--device npu` ends with exit code 1 and one line with XRT's words, and nothing on standard output;
- nothing of the device is left open, and the process ends in time;
- an NPU whose fault passes is used again, unless it failed three times in a row: then it is left alone.

Called by run_fake.sh:  faults.py npu1|npu4 WORK BUNDLES PROGRAM…   (PROGRAM: loader, preloaded device, command)

The words are those of the simulated device, which computes what the pretended NPU does. After a fault some kernels are computed by the host
device, whose sums are rounded elsewhere: tokens' scores differ in their last digits, and only the words can be asked to be equal. That host and
simulated device by themselves write the same words is checked first: were it not so, there would be no right words for a mixture of them.
"""

import concurrent.futures
import json
import pathlib
import sys

from pretended import Failed, Machine, Run

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TRANSCRIBE = ["transcribe", "--model", str(ROOT / "models/reference"), "--language", "en", "-f", "json"]
SPEECH = str(ROOT / "tests/audio/000-en.mp3")

# Seconds that a run may take on a busy machine; where commands hang, each design's first costs the device's limit of 10 s.
LIMIT, HANGING_LIMIT = 90, 120
# So many commands of the encoder fail, from its first on: kernels that fall back. The first two are the convolutions. The third is the list of the
# first layer's query, key and value, with which attention's group begins. Then its kernels are tried without the group, so the fourth is that list
# again; and where a list fails, each of its products is tried once more by itself. After three kernels in a row that failed so, the NPU is left
# alone with all others (`kernels/src/npu/open.rs`).
ALL = None
FAILURES = {1: 1, 2: 2, 3: 2, 4: 2, 5: ALL}

# What XRT, or the driver below it, calls each fault.
WORDS = {
    "timeout": "did not answer within 10s",
    "hang": "ERT_CMD_STATE_TIMEOUT",
    "error": "ERT_CMD_STATE_ERROR",
    "abort": "ERT_CMD_STATE_ABORT",
    "refused": "EXEC_CMD",
    "lost": "No such device",
    "no-memory": "Cannot allocate memory",
    "contexts": "CREATE_HWCTX",
}
# Faults that strike while the device itself is opened; all others leave it open and strike when its kernels are prepared.
PREVENTS_OPENING = ["lost", "no-memory"]


class Tests:
    def __init__(self, machine: Machine):
        self.machine = machine
        # So small a model's kernels may stay with a fast host, and where each goes must not change from run to run: this NPU costs next to nothing.
        self.costs = machine.work / "costs.json"
        self.costs.parent.mkdir(parents=True, exist_ok=True)
        nothing = dict.fromkeys(["dispatch", "listed", "product", "mac", "add", "compare", "convert"], 1e-9)
        self.costs.write_text(json.dumps({"target": machine.silicon, "memory": 1e13, **nothing}))
        texts = {device: machine.plain(device, self.words(device)).result()["text"] for device in ["sim", "host"]}
        if texts["sim"] != texts["host"] or not texts["sim"].strip():
            raise Failed(f"the simulated device and the host device write different words, or none: {texts}")
        self.text = texts["sim"]
        self.sound = machine.npu("sound", self.words("npu"))
        result = self.sound.result()
        self.sound.needs(result["text"] == self.text, f"these are not the simulator's words: {self.text}")
        self.sound.left_nothing_open()
        self.kernels = result["run"]["kernel_calls"]["npu"]
        # Before the first kernel a design shows on two small problems, a linear layer and attention, that it can be trusted.
        self.trials = 2 * self.sound.counters["contexts_made"]

    def words(self, device: str) -> list:
        costs = ["--core-costs", str(self.costs)] if device != "host" else []
        return [*TRANSCRIBE, "--device", device, *costs, *(["--target", self.machine.silicon] if device == "sim" else []), SPEECH]

    def middle(self, fault: str) -> str:
        """When a fault strikes in the middle of a run: how often what it is about works before."""
        counters = self.sound.counters
        return {
            # The last buffers are those of the encoder's first layer: weights are there by then.
            "no-memory": f"no-memory {counters['buffers_made'] - 4}",
            "refused": f"refused {counters['submissions'] // 2}",
        }.get(fault, f"{fault} {counters['executed'] // 2}")

    def run(self, name: str, device: str, fault: str) -> Run:
        limit = HANGING_LIMIT if fault.startswith(("timeout", "hang")) else LIMIT
        run = self.machine.npu(name, self.words(device), fault, limit)
        run.left_nothing_open()
        run.needs(run.counters["wrong"] == 0, "the device was given wrong commands")
        return run

    def goes_on(self, name: str, fault: str) -> tuple[Run, dict]:
        """A run with `auto` that ends well and says what happened: the run, and its account of the NPU."""
        run = self.run(name, "auto", fault)
        result = run.result()
        words = WORDS[fault.split()[0]]
        run.needs(result["text"] == self.text, f"the words are not: {self.text}")
        run.needs(result["run"]["fallback"] is None, "windows were run again on ONNX Runtime's CPU provider")
        npu = result["run"].get("npu") or {}
        fallbacks = npu.get("fallbacks", {})
        run.needs(words in (fallbacks.get("reason") or ""), f'the result\'s reason is not "{words}"')
        warnings = [line for line in run.stderr.splitlines() if line.startswith("warning:") and words in line]
        run.needs(len(warnings) == 1, f'no warning with "{words}" on standard error, or several')
        # Each kernel was computed once, here or there.
        run.needs(
            fallbacks["refused"] > 0 or npu["target"] == "" or self.by_npu(result) + fallbacks["calls"] == self.kernels,
            f"not as many kernels as without the fault: {self.kernels}",
        )
        return run, result

    @staticmethod
    def by_npu(result: dict) -> int:
        return result["run"]["kernel_calls"].get("npu", 0)

    def auto_from_the_start(self, fault: str) -> None:
        run, result = self.goes_on(f"auto-start-{fault}", fault)
        npu = result["run"]["npu"]
        opened = npu["target"] != ""
        run.needs(opened != (fault in PREVENTS_OPENING), "the device was opened, or was not")
        run.needs(opened == (npu["fallbacks"]["refused"] > 0), "kernels that were not taken are not told")
        run.needs(self.by_npu(result) == 0 and run.counters["executed"] == 0, "something ran on the NPU")

    def auto_in_the_middle(self, fault: str) -> None:
        run, result = self.goes_on(f"auto-middle-{fault}", self.middle(fault))
        fallbacks = result["run"]["npu"]["fallbacks"]
        run.needs(fallbacks["calls"] > 0, "nothing fell back")
        run.needs(0 < self.by_npu(result) < self.kernels, "all on the NPU, or nothing")

    def npu(self, fault: str, when: str) -> None:
        run = self.run(f"npu-{when}-{fault}", "npu", self.middle(fault) if when == "middle" else fault)
        run.needs(run.code == 1, "the exit code is not 1")
        run.needs(run.stdout == "", "there is something on standard output")
        errors = [line for line in run.stderr.splitlines() if line.startswith("error:")]
        run.needs(len(errors) == 1 and WORDS[fault] in errors[0], f'not one line of error with "{WORDS[fault]}"')
        if when == "middle":
            run.needs(run.counters["executed"] > 0, "the fault did not strike in the middle")

    def lifted(self, times: int, fall_back: int | None) -> None:
        """The encoder's first commands fail, then the device works: it is used again, unless it was given up."""
        run, result = self.goes_on(f"lifted-{times}", f"error {self.trials} {times}")
        run.needs(run.counters["failed"] == times, f"not {times} commands failed")
        calls = result["run"]["npu"]["fallbacks"]["calls"]
        run.needs(calls == (self.kernels if fall_back is ALL else fall_back), f"{calls} kernels fell back, not {fall_back or 'all'}")
        executed = self.trials if fall_back is ALL else self.sound.counters["executed"] - fall_back
        run.needs(run.counters["executed"] == executed, f"not {executed} commands were executed")

    def all(self) -> dict:
        """Every test by name; those that wait for a time limit come first, beside which the others run."""
        tests = {}
        for fault in WORDS:
            tests[f"auto, {fault} from the start"] = (self.auto_from_the_start, fault)
            tests[f"npu, {fault} from the start"] = (self.npu, fault, "start")
            # One context serves all kernels of a number format.
            if fault != "contexts":
                tests[f"auto, {fault} in the middle"] = (self.auto_in_the_middle, fault)
                tests[f"npu, {fault} in the middle"] = (self.npu, fault, "middle")
        for times, fall_back in FAILURES.items():
            tests[f"auto, {times} commands fail and no more"] = (self.lifted, times, fall_back)
        return tests


def main() -> None:
    silicon, work, bundles, *program = sys.argv[1:]
    tests = Tests(Machine(silicon, work, bundles, program))
    failures = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        running = {name: pool.submit(*test) for name, test in tests.all().items()}
        for name, test in running.items():
            try:
                test.result()
                print(f"ok: {silicon}: {name}", flush=True)
            except Failed as failure:
                failures.append(str(failure))
                print(f"FAILED: {silicon}: {name}", flush=True)
    if failures:
        sys.exit("\n\n".join(failures))


if __name__ == "__main__":
    main()
