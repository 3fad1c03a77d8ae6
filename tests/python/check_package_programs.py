"""Programs that were written for faster-whisper, from PyPI and unchanged, above the package `undertone`:
whisper-ctranslate2, wyoming-faster-whisper, faster-whisper-server.

    python3 check_package_programs.py WEIGHTS SPEECH.wav

WEIGHTS is a folder of faster-whisper's: tiny.en in CTranslate2's format. In SPEECH.wav a person says the words below.
With a third argument, only the tests whose names hold it.

As `python3 check_package_programs.py --as-faster-whisper MODULE ARGUMENTS` it runs a module as a program, and gives it
`undertone` where it asks for `faster_whisper`: that is the import line that is changed.
"""

import asyncio
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import wave
from pathlib import Path

SAID = "ever tried ever failed no matter try again fail again fail better"


def as_faster_whisper():
    """From now on `import faster_whisper` gives `undertone`, and its submodules this one's."""
    for part in ("", ".audio", ".feature_extractor", ".tokenizer", ".transcribe", ".utils", ".vad", ".version"):
        sys.modules[f"faster_whisper{part}"] = importlib.import_module(f"undertone{part}")


def words(text):
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter.isspace()).split()


def program(module, *arguments):
    return [sys.executable, __file__, "--as-faster-whisper", module, *map(str, arguments)]


class Programs(unittest.TestCase):
    def assert_said(self, text):
        # The smallest model in int8: a word may be another.
        wrong = set(words(text)) ^ set(words(SAID))
        self.assertLessEqual(len(wrong), 2, f"{text!r}: {wrong}")

    def test_whisper_ctranslate2(self):
        with tempfile.TemporaryDirectory() as folder:
            said = subprocess.run(
                program(
                    "whisper_ctranslate2.whisper_ctranslate2",
                    SPEECH,
                    "--model_directory",
                    WEIGHTS,
                    "--language",
                    "en",
                    "--device",
                    "cpu",
                    "--compute_type",
                    "int8",
                    "--output_dir",
                    folder,
                    "--output_format",
                    "all",
                    "--word_timestamps",
                    "True",
                    "--vad_filter",
                    "True",
                    "--highlight_words",
                    "True",
                    "--threads",
                    "2",
                ),
                capture_output=True,
                text=True,
            )
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
            files = {path.suffix: path.read_text() for path in Path(folder).iterdir()}
            self.assertEqual(set(files), {".txt", ".vtt", ".srt", ".tsv", ".json"})
            self.assert_said(files[".txt"])
            segments = json.loads(files[".json"])["segments"]
            for segment in segments:
                self.assertEqual("".join(word["word"] for word in segment["words"]), segment["text"])
            self.assertTrue("<u>" in files[".srt"] and "-->" in files[".vtt"])

    def test_whisper_ctranslate2_in_batches(self):
        with tempfile.TemporaryDirectory() as folder:
            said = subprocess.run(
                program(
                    "whisper_ctranslate2.whisper_ctranslate2",
                    SPEECH,
                    "--model_directory",
                    WEIGHTS,
                    "--language",
                    "en",
                    "--device",
                    "cpu",
                    "--output_dir",
                    folder,
                    "--output_format",
                    "txt",
                    "--batched",
                    "True",
                    "--batch_size",
                    "4",
                    "--verbose",
                    "True",
                ),
                capture_output=True,
                text=True,
            )
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
            self.assert_said(" ".join(path.read_text() for path in Path(folder).iterdir()))

    def test_wyoming_faster_whisper(self):
        from wyoming.asr import Transcribe, Transcript
        from wyoming.audio import AudioChunk, AudioStart, AudioStop
        from wyoming.client import AsyncClient

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            uri = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with tempfile.TemporaryDirectory() as folder:
            server = subprocess.Popen(
                program(
                    "wyoming_faster_whisper",
                    "--uri",
                    uri,
                    "--model",
                    WEIGHTS,
                    "--data-dir",
                    folder,
                    "--language",
                    "en",
                    "--stt-library",
                    "faster-whisper",
                    "--vad-filter",
                    "--cpu-threads",
                    "2",
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

            async def ask():
                async with AsyncClient.from_uri(uri) as client, asyncio.timeout(100):
                    await client.write_event(Transcribe(language="en").event())
                    with wave.open(str(SPEECH)) as sound:
                        form = {
                            "rate": sound.getframerate(),
                            "width": sound.getsampwidth(),
                            "channels": sound.getnchannels(),
                        }
                        await client.write_event(AudioStart(**form).event())
                        while chunk := sound.readframes(4000):
                            await client.write_event(AudioChunk(audio=chunk, **form).event())
                    await client.write_event(AudioStop().event())
                    while event := await client.read_event():
                        if Transcript.is_type(event.type):
                            return Transcript.from_event(event).text

            try:
                until = time.monotonic() + 100
                while True:
                    try:
                        text = asyncio.run(ask())
                        break
                    except (ConnectionError, OSError):
                        if server.poll() is not None or time.monotonic() > until:
                            server.kill()
                            self.fail("the server does not answer: " + server.stdout.read())
                        time.sleep(0.2)
            finally:
                server.terminate()
                server.wait()
                server.stdout.close()
        self.assertIsNotNone(text, "the server ended the connection")
        self.assert_said(text)

    def test_faster_whisper_server(self):
        code = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from check_package_programs import as_faster_whisper
as_faster_whisper()
from faster_whisper_server import api, models
from fastapi.testclient import TestClient
with TestClient(api.app) as client:
    for batch_size in (1, 4):
        models.configure_model({str(WEIGHTS)!r})
        models.configure_batch_size(batch_size)
        with open({str(SPEECH)!r}, "rb") as sound:
            form = {{"files": {{"file": sound}}, "data": {{"response_format": "verbose_json"}}}}
            answer = client.post("/v1/audio/transcriptions", **form)
        print(json.dumps(answer.json()))
"""
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        answers = [json.loads(line) for line in said.stdout.splitlines()]
        self.assertEqual(len(answers), 2)
        for answer in answers:
            self.assertEqual((answer["language"], answer["segments"][0]["id"]), ("en", 0))
            self.assert_said(answer["text"])


if __name__ == "__main__" and sys.argv[1] == "--as-faster-whisper":
    as_faster_whisper()
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
elif __name__ == "__main__":
    WEIGHTS, SPEECH = (Path(argument).resolve() for argument in sys.argv[1:3])
    os.environ["HF_HUB_OFFLINE"] = "1"
    unittest.main(argv=[sys.argv[0], *(["-k", sys.argv[3]] if len(sys.argv) > 3 else [])])
