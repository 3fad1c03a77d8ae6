#!/usr/bin/env python3
"""The real graph of whisper-tiny above the pretended NPU: its encoder whole, down through XRT, has to give what the simulated device gives.

Called by run_fake.sh:  tiny.py npu1|npu4 WORK BUNDLES PROGRAM…   (PROGRAM: loader, preloaded device, command)

Its weights are seeded noise (`tests/graphs/materialize.py`, which needs onnx and numpy), so its words are none. But both devices compute the same
bits, and the decoder, which the host computes in both, turns other bits of the encoder's output into other scores: the tokens and all digits of
their scores have to be equal. That they are not equal by themselves is seen on the host device, whose sums are rounded elsewhere.
"""

import pathlib
import subprocess
import sys

from pretended import Failed, Machine

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SPEECH = str(ROOT / "tests/audio/000-en.mp3")
# Of both encoder and decoder.
LAYERS = 4
# The encoder's two convolutions; in each of its layers six products (query, key, value, output, two of the MLP) and attention; and of each layer of
# the decoder the keys and values of the encoder's output, which has as many rows.
KERNELS = 2 + LAYERS * (6 + 1) + LAYERS * 2


def main() -> None:
    silicon, work, bundles, *program = sys.argv[1:]
    machine = Machine(silicon, work, bundles, program)
    model = machine.work / "model"
    subprocess.run([sys.executable, ROOT / "tests/graphs/materialize.py", "whisper-tiny", model], check=True)
    # Decoded once, whatever random weights say: another temperature would compute the decoder's keys and values again.
    # Without times, which would cut the noise into pieces of half a letter, and those are no segments.
    once = ["--no-fallback", "--decode-all", "--no-timestamps"]
    words = ["transcribe", "--model", str(model), "--language", "en", "-f", "json", *once, SPEECH]
    simulated = machine.plain("sim", [*words, "--device", "sim", "--target", silicon])
    host = machine.plain("host", [*words, "--device", "host"])
    npu = machine.npu("npu", [*words, "--device", "npu"])
    expected, got = simulated.result(), npu.result()
    simulated.needs(bool(expected["segments"]), "it wrote no segments: there is nothing to compare")
    host.needs(host.result()["segments"] != expected["segments"], "its scores are the simulator's: they tell nothing")
    npu.needs(got["segments"] == expected["segments"], f"these are not the simulator's segments: {expected['segments']}")
    npu.left_nothing_open()
    npu.needs(npu.log == "", "the device complained")
    windows, kernels = got["run"]["windows"], got["run"]["kernel_calls"].get("npu")
    npu.needs(kernels == windows * KERNELS, f"not {KERNELS} kernels on the NPU for each of {windows} windows")
    npu.needs(npu.counters["executed"] >= kernels, "not as many commands were executed as kernels counted")
    tokens, executed = got["run"]["tokens"], npu.counters["executed"]
    print(f"whisper-tiny, {silicon}: the simulator's scores of {tokens} tokens, with {executed} commands executed")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
