#!/usr/bin/env python3
"""Writes tests/vectors/vad.json: what Silero's own model and faster-whisper's rules say, for tests/runner_vad.rs.

    pip install faster-whisper==1.2.1 soundfile
    pip download --no-deps silero-vad==6.2.3 && python -m zipfile -e silero_vad-6.2.3-py3-none-any.whl unpacked
    python tests/python/make_vad_vectors.py unpacked/silero_vad/data/silero_vad.onnx SAMPLE

SAMPLE is the recording of a person that `undertone transcribe --sample` fetches. Probabilities: Silero's stepwise export, piece by
piece, on 16 kHz mono as soundfile reads it; every fourth is kept. Stretches: `get_speech_timestamps` of faster-whisper over
probabilities drawn by chance (in hundredths), with options drawn by chance.
"""
import json
import pathlib
import random
import sys

import numpy as np
import onnxruntime
import soundfile
from faster_whisper import vad

ROOT = pathlib.Path(__file__).resolve().parents[2]
PIECE, CONTEXT, RATE = 512, 64, 16000


def probabilities(session, samples):
    samples = np.pad(samples, (0, PIECE - len(samples) % PIECE))
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT, np.float32), []
    for at in range(0, len(samples), PIECE):
        piece = np.concatenate([context, samples[at:at + PIECE]])
        value, state = session.run(None, {"input": piece[None], "state": state, "sr": np.array(RATE)})
        context = piece[-CONTEXT:]
        found.append(float(value[0, 0]))
    return found


def drawn(rng):
    """Speech and silence of lengths drawn by chance, with doubtful pieces among them, in hundredths."""
    values = []
    while len(values) < rng.choice([40, 150, 400]):
        level, length = rng.choice([2, 20, 40, 47, 60, 97]), rng.choice([1, 2, 3, 4, 8, 20, 60, 120])
        values += [min(100, max(0, level + rng.randint(-5, 5))) for _ in range(length)]
    return values


def stretches(rng):
    values = drawn(rng)
    options = {
        "threshold": rng.choice([0.5, 0.5, 0.3, 0.65]),
        "neg_threshold": rng.choice([None, None, 0.2]),
        "min_speech_duration_ms": rng.choice([0, 0, 100, 250]),
        "max_speech_duration_s": rng.choice([None, None, 30, 3, 1.5]),
        "min_silence_duration_ms": rng.choice([2000, 2000, 160, 100, 500]),
        "speech_pad_ms": rng.choice([400, 400, 30, 200, 0]),
    }
    samples = (len(values) - 1) * PIECE + rng.randint(0, PIECE - 1)
    vad.get_vad_model = lambda: lambda audio: np.array(values, np.float32) / np.float32(100)
    given = {**options, "max_speech_duration_s": options["max_speech_duration_s"] or float("inf")}
    found = vad.get_speech_timestamps(np.zeros(samples, np.float32), vad.VadOptions(**given))
    return {"options": options, "samples": samples, "hundredths": values, "stretches": [[s["start"], s["end"]] for s in found]}


def main():
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    recordings = []
    for name, path in (("sample", pathlib.Path(sys.argv[2])), ("long/pauses-4min.flac", ROOT / "speech/long/pauses-4min.flac")):
        samples, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE and samples.ndim == 1, path
        samples = samples[:60 * RATE]
        every = [round(value, 5) for value in probabilities(session, samples)[::4]]
        recordings.append({"file": name, "samples": len(samples), "every": 4, "probabilities": every})
    rng = random.Random(1)
    content = {"made_by": "tests/python/make_vad_vectors.py", "recordings": recordings, "drawn": [stretches(rng) for _ in range(60)]}
    lines = json.dumps(content).replace('{"options"', '\n{"options"').replace('{"file"', '\n{"file"')
    (ROOT / "tests/vectors/vad.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
