"""What a pipeline needs before it runs: packages, programs, the model in its layout, recordings as WAV.

Everything is made once, in `pipelines` in Cargo's target directory, under another name until it is whole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HOME = TARGET / "pipelines"
HOME.mkdir(parents=True, exist_ok=True)
EXAMPLES = ROOT / "examples/pipelines"
EXPORTER = ("optimum-onnx==0.1.0", "transformers==4.57.6", "onnxruntime==1.32.0", "torch==2.15.0")
# The builder wants a newer transformers than optimum takes.
GENAI_BUILDER = ("onnxruntime-genai==0.18.0", "transformers==5.24.0", "onnxruntime==1.32.0", "torch==2.15.0", "onnx-ir")
PLAIN = ("onnxruntime==1.32.0", "numpy==2.4.6", "tokenizers==0.23.3")
# Recordings of speech/ that the default takes.
SPOKEN = 6


def once(path, make):
    """`path`, made by `make(partial)` if it is not there."""
    if not path.exists():
        partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(partial)
        partial.rename(path)
    return path


def call(*command, **environment):
    done = subprocess.run([str(part) for part in command], env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def packages(wanted):
    """A folder with these packages of PyPI. A folder, not a virtual environment: Debian's Python comes without the latter."""
    name = "-".join(package.replace("==", "-") for package in wanted)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target")
    return once(HOME / "packages" / f"{name}-{sys.implementation.cache_tag}", lambda partial: call(*pip, partial, *wanted))


def python(wanted):
    """How Python is started with these packages and nothing else: the command and its environment."""
    return [sys.executable], {"PYTHONPATH": str(packages(wanted)), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def ep_package():
    """A folder with the provider's own package, built from this repository with the library as it is now."""
    source = ROOT / "ep/python"
    files = [pathlib.Path(library()), *sorted(source.rglob("*.py"))]
    sign = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target")
    return once(HOME / "packages" / f"onnxruntime-ep-xdna-{sign}", lambda partial: call(*pip, partial, source, ONNXRUNTIME_EP_XDNA_LIBRARY=library()))


@functools.cache
def built():
    """The folder with the provider's library and the command, built now unless `UNDERTONE_BUILT` names one."""
    if folder := os.environ.get("UNDERTONE_BUILT"):
        return pathlib.Path(folder).resolve()
    wanted = ("onnxruntime-ep-xdna", "undertone", *(["undertone-preload"] if (ROOT / "ep/preload").exists() else []))
    call("cargo", "build", "--release", "--manifest-path", ROOT / "Cargo.toml", *(f"--package={package}" for package in wanted))
    return TARGET / "release"


def library():
    return str(built() / "libonnxruntime_ep_xdna.so")


def program(pipeline):
    """A pipeline's command, to which model, precision and recordings are added, and its environment."""
    starter, environment = PROGRAMS[pathlib.Path(pipeline.program).suffix](pipeline)
    return starter, environment | {"UNDERTONE_EP_LIBRARY": library(), "UNDERTONE_PRELOAD": str(built() / "libundertone_preload.so")}


def python_program(pipeline):
    starter, environment = python(pipeline.packages)
    path = os.pathsep.join([environment["PYTHONPATH"], str(ep_package())])
    return [*starter, str(EXAMPLES / pipeline.program)], environment | {"PYTHONPATH": path}


def compiled(pipeline):
    """A C or C++ program, with ONNX Runtime's library out of its Python package."""
    lib = runtime(pipeline)
    headers = call(ROOT / "tests/pipelines/headers.sh", HOME / "headers").strip().splitlines()[-1]
    source = EXAMPLES / pipeline.program
    compiler, standard = ("cc", "-std=c11") if source.suffix == ".c" else ("c++", "-std=c++17")
    made = HOME / f"programs/{pipeline.name}"
    made.parent.mkdir(exist_ok=True)
    call(os.environ.get(compiler.upper().replace("C++", "CXX"), compiler), "-O2", standard, "-Wall", "-Wextra", "-Werror", source, "-o", made, "-isystem", headers,
         "-I", EXAMPLES / "c", "-L", lib, f"-Wl,-rpath,{lib}", "-lonnxruntime", "-ldl", "-lm")
    return [str(made)], {}


def runtime(pipeline):
    """A folder with ONNX Runtime's library under the names that linkers and loaders look for."""
    library = next((packages(pipeline.packages) / "onnxruntime/capi").glob("libonnxruntime.so.*"))
    folder = HOME / "lib" / library.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        if not (folder / name).exists():
            (folder / name).symlink_to(library)
    return folder


def rust(pipeline):
    if "UNDERTONE_BUILT" not in os.environ:
        call("cargo", "build", "--release", "--manifest-path", ROOT / "Cargo.toml", "-p", "undertone", "--example", "pipeline")
    return [str(built() / "examples/pipeline")], {"ORT_DYLIB_PATH": str(runtime(pipeline) / "libonnxruntime.so")}


def node(pipeline):
    """A program of Node.js, beside the packages that it imports: where they are looked for goes by the program's own place."""
    name = "-".join(package.strip("@").replace("@", "-").replace("/", "-") for package in pipeline.packages)
    folder = once(HOME / "packages" / name, lambda partial: npm(partial, pipeline.packages))
    shutil.copy(EXAMPLES / pipeline.program, folder)
    return ["node", str(folder / pathlib.Path(pipeline.program).name)], {"UNDERTONE_LIBRARIES": str(built())}


def npm(folder, wanted):
    folder.mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    # Without install scripts: they fetch what only GPUs need.
    call("npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", "--install-links", *wanted, ROOT / "ep/node")


PROGRAMS = {".mjs": node, ".py": python_program, ".c": compiled, ".cpp": compiled, ".rs": rust}


def command():
    return str(built() / "undertone")


def model(name, layout):
    """The folder of a model in a layout."""
    return LAYOUTS[layout](name)


def converted(name):
    """optimum's layout, split, as Undertone writes it, and the tokens in a file that a short program can read."""
    def make(partial):
        if name == "reference":
            source = ROOT / "models/reference"
        else:
            call(command(), "model", "get", name)
            source = pathlib.Path(call(command(), "model", "path", name).strip().splitlines()[-1])
        linked(source, partial)
        call(sys.executable, ROOT / "tests/pipelines/layouts.py", "vocabulary", source, partial / "vocabulary.txt")

    return once(HOME / "models" / name / "converted", make)


def linked(source, folder):
    """A folder with links to another one's files."""
    folder.mkdir(parents=True)
    for file in source.iterdir():
        (folder / file.name).symlink_to(file.resolve())


def hugging_face(name):
    """Weights and vocabulary as exporters read them."""
    def make(partial):
        starter, environment = python(EXPORTER)
        call(*starter, ROOT / "tests/pipelines/layouts.py", "hugging-face", converted(name), partial, **environment)

    return once(HOME / "models" / name / "hugging-face", make)


def exported(name):
    """What optimum exports, with the merged decoder."""
    def make(partial):
        if name == "reference":
            # It comes with a merged decoder.
            linked(converted(name), partial)
            call(sys.executable, ROOT / "tests/pipelines/layouts.py", "added-tokens", partial, partial / "added_tokens.json")
            return
        starter, environment = python(EXPORTER)
        task = "automatic-speech-recognition-with-past"
        source = hugging_face(name)
        call(*starter, "-m", "optimum.commands.optimum_cli", "export", "onnx", "--model", source, "--task", task, partial, **environment)
        for file in ("tokenizer.json", "added_tokens.json"):
            shutil.copy(source / file, partial)
        for file in ("decoder_model.onnx", "decoder_with_past_model.onnx"):
            (partial / file).unlink(missing_ok=True)

    return once(HOME / "models" / name / "exported", make)


def genai(name):
    """What onnxruntime-genai's builder makes."""
    def make(partial):
        starter, environment = python(GENAI_BUILDER)
        cache = HOME / "cache"
        call(*starter, "-m", "onnxruntime_genai.models.builder", "-i", hugging_face(name), "-o", partial, "-p", "fp32", "-e", "cpu", "-c", cache, **environment)

    return once(HOME / "models" / name / "genai", make)


def sherpa(name):
    """What sherpa-onnx's exporter makes of tiny.en."""
    def make(partial):
        starter, environment = python(("numpy==2.4.6", "onnx==1.23.2"))
        call(*starter, ROOT / "tests/pipelines/sherpa.py", converted(name), partial, **environment)

    return once(HOME / "models" / name / "sherpa", make)


LAYOUTS = {"converted": converted, "exported": exported, "genai": genai, "sherpa": sherpa}


@functools.cache
def share(graph):
    """The part of a graph's products, by their work, that the provider takes, 0 to 1."""
    starter, environment = python(PLAIN)
    return float(call(*starter, ROOT / "tests/pipelines/share.py", library(), graph, **environment).split()[-1])


def recordings(manifest, every, model):
    """Recordings as WAV of 16 kHz: their name, file, and what is said, where that is known. The reference model knows no people."""
    if manifest:
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        lines = [line for line in lines if line.get("language", "en") == "en"]
        found = [(line["file"], manifest.parent / line["file"], line.get("text")) for line in lines]
    else:
        spoken = sorted((ROOT / "speech/short").glob("*-en.flac"))[:SPOKEN]
        files = [*([] if model == "reference" else [sample()]), *spoken, ROOT / "speech/long/meeting-3min.flac"]
        found = [(file.name, file, None) for file in files]
    return [{"name": name, "wav": str(wav(file)), "text": text} for name, file, text in found[::every]]


def sample():
    """A person, ten seconds: the command's sample, which it fetches beside its models."""
    call(command(), "transcribe", "--sample", "--device", "cpu")
    return (converted("base") / "encoder_model.onnx").resolve().parents[2] / "sample/beckett.wav"


def wav(file):
    def make(partial):
        call("ffmpeg", "-loglevel", "error", "-i", file, "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-f", "wav", partial)

    return once(HOME / "recordings" / f"{file.parent.name}-{file.stem}.wav", make)
