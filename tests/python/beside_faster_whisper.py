#!/usr/bin/env python3
"""Speed and word errors of the command beside faster-whisper, on the same recordings, with the same weights, in turn.

    pip install faster-whisper==1.2.1 jiwer soundfile scipy
    python tests/python/beside_faster_whisper.py LIST.jsonl --model base --ctranslate2 FOLDER [--orders 8]

LIST.jsonl has a line for each recording: `file` (beside the list), `language`, `text`. The recordings of a language are joined,
with half a second of silence after each, in several random orders: which words share a window, and which window loops, is chance.
Everything is without fallback, in int8 on two threads, and greedy unless `--beam-size` says otherwise. The model is loaded before the clock starts, for both. For each
language and program: times real time (median), word errors in per cent (mean), and both for each order.
"""
import argparse
import collections
import json
import pathlib
import random
import statistics
import subprocess
import tempfile
import time
import unicodedata

import jiwer
import numpy as np
import soundfile
from faster_whisper import BatchedInferencePipeline, WhisperModel
from scipy.signal import resample_poly

RATE = 16000


def read(path: pathlib.Path) -> np.ndarray:
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound = sound.mean(axis=1)
    return sound if rate == RATE else resample_poly(sound, RATE, rate).astype(np.float32)


def words(text: str) -> str:
    """Words as Whisper's basic normaliser leaves them: small letters, without marks and punctuation."""
    text = unicodedata.normalize("NFKC", text.lower())
    return " ".join("".join(" " if unicodedata.category(c)[0] in "MSP" else c for c in text).split())


def errors(truth: str, heard: str) -> float:
    """Wrong, missing and invented words, in per cent of the true ones."""
    found = jiwer.process_words(words(truth), words(heard))
    return 100 * found.wer


def programs(args) -> dict:
    """Name → a function from a WAV file and its language to seconds and text."""
    model = WhisperModel(args.ctranslate2, device="cpu", compute_type="int8", cpu_threads=args.threads)
    batched = BatchedInferencePipeline(model)

    def faster(call, **options):
        def run(wav, language):
            start = time.perf_counter()
            segments, _ = call(str(wav), language=language, beam_size=args.beam_size, temperature=0, **options)
            text = " ".join(segment.text for segment in segments)
            return time.perf_counter() - start, text
        return run

    def ours(*options):
        def run(wav, language):
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(
                    [args.undertone, "transcribe", "--quiet", "--model", args.model, "--device", "host", "--no-fallback",
                     "--beam-size", str(args.beam_size), "--threads", str(args.threads), "--language", language, "--output-format", "json", "--output-dir", folder, *options, wav], check=True)
                result = json.loads(next(pathlib.Path(folder).glob("*.json")).read_text())
            return soundfile.info(wav).duration / result["run"]["realtime_factor"], result["text"]
        return run

    return {
        "faster-whisper": faster(model.transcribe, condition_on_previous_text=False),
        "faster-whisper, 8 windows": faster(batched.transcribe, batch_size=8, without_timestamps=False),
        "faster-whisper, 8, no timestamps": faster(batched.transcribe, batch_size=8, without_timestamps=True),
        "undertone --batch 1": ours("--batch", "1"),
        "undertone --batch 8": ours("--batch", "8"),
        "undertone, pauses by loudness": ours("--batch", "8", "--vad-model", "loudness"),
        "undertone --vad-filter": ours("--batch", "8", "--vad-filter"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=pathlib.Path)
    parser.add_argument("--model", default="base", help="what the command calls the model")
    parser.add_argument("--ctranslate2", required=True, help="the folder of the same weights for faster-whisper")
    parser.add_argument("--undertone", default="target/release/undertone")
    parser.add_argument("--languages", help="codes, separated by commas [default: all of the list]")
    parser.add_argument("--source", default="", help="only recordings whose `source` has this word")
    parser.add_argument("--only", default="", help="only programs whose name has this word")
    parser.add_argument("--orders", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beam-size", type=int, default=1)
    args = parser.parse_args()

    recordings = collections.defaultdict(list)
    for line in args.list.read_text().splitlines():
        entry = json.loads(line)
        if args.source in entry.get("source", ""):
            recordings[entry["language"]].append((read(args.list.parent / entry["file"]), entry["text"]))
    run = {name: program for name, program in programs(args).items() if args.only in name}
    for language in args.languages.split(",") if args.languages else sorted(recordings):
        shuffled, results = recordings[language], collections.defaultdict(list)
        for order in range(args.orders):
            random.Random(order).shuffle(shuffled)
            sound = np.concatenate([part for recording, _ in shuffled for part in (recording, np.zeros(RATE // 2, np.float32))])
            truth = " ".join(text for _, text in shuffled)
            with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
                soundfile.write(wav.name, sound, RATE)
                for name, transcribe in run.items():
                    if order == 0:
                        transcribe(wav.name, language)  # The first run warms up.
                    seconds, text = transcribe(wav.name, language)
                    results[name].append((len(sound) / RATE / seconds, errors(truth, text)))
        print(f"{language}: {len(words(truth).split())} words, {len(sound) / RATE:.0f} s")
        for name, rows in results.items():
            speeds, rates = zip(*rows)
            each = " ".join(f"{speed:.0f}/{rate:.1f}" for speed, rate in rows)
            print(f"  {name:34} {statistics.median(speeds):6.1f} x real time, {statistics.mean(rates):5.1f} % wrong   ({each})", flush=True)


if __name__ == "__main__":
    main()
