"""Runs examples with Undertone's execution provider and without it, compares their words, and measures both.

    run.sh NAME...|all [--model base] [--recordings MANIFEST.jsonl] [--every N] [--turns N] [--timed] [--results FILE]
    run.sh --check [--results FILE]      the checks again, on the results that are there
    run.sh --table [--results FILE]      writes the table in docs/pipelines.md; --print-table prints it
    run.sh --list

In each turn every example runs with `cpu` (without the provider), `f32`, `bf16` and `int8`, one after the other, each in a
process of its own. A line of JSON for each recording, each count and each share goes to the results, at their end. Exits with
1 if a pipeline failed or its words are not as promised (`check.py`).

MANIFEST.jsonl: a line `{"file": …, "text": …, "language": "en"}` for each recording, files relative to it; those in other
languages are left out, those of more than 30 s are for pipelines that take them. Default: a person from the command's sample
and some of speech/. `--timed` marks results of a quiet machine: only these count as times.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import wave

import check
import prepare
import table
from pipelines import BY_NAME, PIPELINES

PRECISIONS = ("cpu", "f32", "bf16", "int8")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="of --list, or all")
    arguments.add_argument("--model", default="base", help="base, tiny.en, or reference: the small one of models/reference")
    arguments.add_argument("--recordings", type=pathlib.Path)
    arguments.add_argument("--every", type=int, default=1, help="only each Nth recording")
    arguments.add_argument("--turns", type=int, default=1)
    arguments.add_argument("--timed", action="store_true")
    arguments.add_argument("--results", type=pathlib.Path, default=prepare.HOME / "results.jsonl")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--table", action="store_true")
    arguments.add_argument("--print-table", action="store_true")
    arguments.add_argument("--list", action="store_true")
    arguments = arguments.parse_args()
    if arguments.list:
        print(*(f"{pipeline.name:18} {pipeline.what}" for pipeline in PIPELINES), sep="\n")
        return 0
    if arguments.table:
        table.write(read(arguments.results))
        return 0
    if arguments.print_table:
        print(table.made(read(arguments.results)))
        return 0
    if arguments.check:
        return 1 if check.check(read(arguments.results)) else 0
    names = list(BY_NAME) if arguments.names == ["all"] else arguments.names
    if not names or (unknown := set(names) - set(BY_NAME)):
        sys.exit(f"no pipeline is called {', '.join(unknown)}; --list names them" if names else "which pipelines? --list names them, `all` runs all")
    results, failed = [], False
    recordings = prepare.recordings(arguments.recordings, arguments.every, arguments.model)
    for name in names:
        print(f"# {name}", flush=True)
        try:
            new = run(BY_NAME[name], arguments, recordings)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            print(f"FAILED {name}: {error}")
            failed = True
            continue
        with arguments.results.open("a") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in new)
        results += new
    return 1 if check.check(results) or failed else 0


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(pipeline, arguments, recordings):
    """All results of a pipeline."""
    command, environment = prepare.program(pipeline)
    name = pipeline.model or arguments.model
    model = prepare.model(name, pipeline.layout)
    common = {"pipeline": pipeline.name, "model": name, "date": str(datetime.date.today()), "timed": arguments.timed}
    graphs = zip(("encoder", "decoder"), pipeline.graphs)
    results = [common | {"share": {part: prepare.share(model / graph) for part, graph in graphs}}]
    recordings = [recording for recording in recordings if pipeline.long or seconds(recording["wav"]) <= 30]
    for turn in range(arguments.turns):
        for precision in PRECISIONS:
            counted = prepare.HOME / "counters.json"
            counted.unlink(missing_ok=True)
            files = [recording["wav"] for recording in recordings]
            lines = started([*command, str(model), precision, *files], environment | {"EXAMPLE_COUNTERS": str(counted)})
            texts = [line[1:] for line in lines if line[0] == "text"]
            if len(texts) != len(recordings):
                raise ValueError(f"{len(texts)} texts of {len(recordings)} recordings")
            run = common | {"precision": precision, "turn": turn}
            for recording, (_, all_seconds, sessions, text) in zip(recordings, texts):
                results.append(run | {"recording": recording["name"], "said": recording["text"], "text": text, "audio": seconds(recording["wav"]),
                                      "seconds": float(all_seconds), "sessions": float(sessions)})
            counters = {name: (int(before), int(after)) for kind, name, before, after in (line for line in lines if line[0] == "counter")}
            counters = counters or counts(counted)
            results.append(run | {"counters": counters})
            total = sum(float(text[2]) for text in texts)
            print(f"{precision:5} {total:7.2f} s in ONNX Runtime, {counters['fused_nodes_executed'][1]} fused nodes", flush=True)
    return results


def counts(path):
    """The counters of a program that cannot ask for them itself: the library wrote them at its end."""
    written = json.loads(path.read_text()) if path.exists() else {}
    return {name: (0, written.get(name, 0)) for name in check.COUNTERS}


def started(command, environment):
    """The lines that a program printed, as lists of fields."""
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command[:3])}… ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return [line.split("\t") for line in done.stdout.splitlines() if line.startswith(("text\t", "counter\t"))]


def seconds(path):
    with wave.open(path) as file:
        return file.getnframes() / file.getframerate()


if __name__ == "__main__":
    sys.exit(main())
