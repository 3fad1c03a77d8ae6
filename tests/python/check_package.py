"""The installed package `undertone`: a check of each of its promises, on the reference model and synthesised speech.

    python3 check_package.py REPOSITORY FASTER_WHISPER

FASTER_WHISPER is a folder with the package faster-whisper, whose signatures are compared. With a third argument, only
the tests whose names hold it.
"""

import dataclasses
import importlib.metadata
import inspect
import io
import itertools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest

REPOSITORY, FASTER_WHISPER = (pathlib.Path(argument) for argument in sys.argv[1:3])
SHORT = REPOSITORY / "speech/short/000-en.flac"
TEXT = " The green lion is above the red table."
PAUSES = REPOSITORY / "speech/long/pauses-4min.flac"
REFERENCE = str(REPOSITORY / "models/reference")

import undertone

# Before anything else imports it.
IMPORTED_ONNXRUNTIME = "onnxruntime" in sys.modules

import numpy as np
from undertone import BatchedInferencePipeline, WhisperModel, decode_audio
from undertone.transcribe import Segment, TranscriptionInfo, TranscriptionOptions, Word
from undertone.vad import VadOptions, collect_chunks, get_speech_timestamps

GREEDY = {"beam_size": 1, "temperature": 0}


class Anything(type):
    """A class that has every attribute, and is good for nothing."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


def real():
    """faster-whisper's own package, for its signatures: what it needs to compute is a pretence."""
    for name in ("ctranslate2", "av", "tokenizers", "huggingface_hub", "tqdm", "tqdm.auto"):
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: Anything(attribute, (), {})
        sys.modules.setdefault(name, module)
    sys.path.append(str(FASTER_WHISPER))
    import faster_whisper
    import faster_whisper.audio
    import faster_whisper.tokenizer
    import faster_whisper.transcribe
    import faster_whisper.utils
    import faster_whisper.vad

    return faster_whisper


class Package(unittest.TestCase):
    """What is in it, and what it is called."""

    def test_metadata_and_files(self):
        distribution = importlib.metadata.distribution("undertone")
        self.assertEqual(distribution.version, undertone.__version__)
        self.assertEqual(sorted(distribution.requires), ["numpy", "onnxruntime>=1.24 ; python_full_version >= '3.11'"])
        scripts = {entry.name: entry.value for entry in distribution.entry_points}
        self.assertEqual(scripts, {"undertone": "undertone.__main__:main"})
        folder = pathlib.Path(undertone.__file__).parent
        for name in ("py.typed", "_native.pyi", "bin/undertone", "bin/libonnxruntime_ep_xdna.so"):
            self.assertTrue((folder / name).is_file(), f"{name} is not in {folder}")
        self.assertFalse(IMPORTED_ONNXRUNTIME, "the package imports onnxruntime")
        self.assertEqual(os.environ["ORT_DISABLE_TELEMETRY"], "1")

    def test_names_and_signatures_are_faster_whisper_s(self):
        theirs = real()
        self.assertEqual(set(undertone.__all__), set(theirs.__all__))
        pairs = [
            (undertone, theirs, ["decode_audio", "available_models", "download_model", "format_timestamp"]),
            (undertone.audio, theirs.audio, ["decode_audio", "pad_or_trim"]),
            (
                undertone.utils,
                theirs.utils,
                ["available_models", "download_model", "format_timestamp", "get_logger", "get_end"],
            ),
            (
                undertone.vad,
                theirs.vad,
                ["VadOptions", "get_speech_timestamps", "collect_chunks", "SpeechTimestampsMap"],
            ),
            (
                undertone.vad.SpeechTimestampsMap,
                theirs.vad.SpeechTimestampsMap,
                ["get_original_time", "get_chunk_index"],
            ),
            (
                undertone.transcribe,
                theirs.transcribe,
                [
                    "Word",
                    "Segment",
                    "TranscriptionOptions",
                    "TranscriptionInfo",
                    "WhisperModel",
                    "BatchedInferencePipeline",
                ],
            ),
            (WhisperModel, theirs.WhisperModel, ["transcribe", "detect_language"]),
            (BatchedInferencePipeline, theirs.BatchedInferencePipeline, ["transcribe"]),
            (undertone.tokenizer, theirs.tokenizer, ["Tokenizer"]),
            (
                undertone.tokenizer.Tokenizer,
                theirs.tokenizer.Tokenizer,
                ["encode", "decode", "decode_with_timestamps", "split_to_word_tokens"],
            ),
        ]
        for ours, their, names in pairs:
            for name in names:
                with self.subTest(f"{ours.__name__}.{name}"):
                    self.assertEqual(parameters(getattr(ours, name)), parameters(getattr(their, name)))
        for name in ("Word", "Segment", "TranscriptionOptions", "TranscriptionInfo"):
            fields = [
                [f.name for f in dataclasses.fields(getattr(module.transcribe, name))] for module in (undertone, theirs)
            ]
            self.assertEqual(*fields, name)
        self.assertEqual(VadOptions().__dict__, theirs.vad.VadOptions().__dict__)
        self.assertEqual(set(undertone.available_models()), set(theirs.available_models()))
        self.assertEqual(set(undertone.tokenizer._LANGUAGE_CODES), set(theirs.tokenizer._LANGUAGE_CODES))

    def test_small_functions_give_what_faster_whisper_s_give(self):
        theirs = real()
        for seconds, hours, mark in itertools.product((0, 0.9996, 59.9995, 61.25, 3600, 86399.5), (False, True), ".,"):
            self.assertEqual(
                undertone.format_timestamp(seconds, hours, mark), theirs.format_timestamp(seconds, hours, mark)
            )
        with self.assertRaises(AssertionError):
            undertone.format_timestamp(-1)
        random = np.random.default_rng(1)
        for shape, axis, length in (((3, 10), -1, 7), ((3, 10), -1, 20), ((12, 2), 0, 5)):
            array = random.random(shape)
            np.testing.assert_array_equal(
                undertone.audio.pad_or_trim(array, length, axis=axis),
                theirs.audio.pad_or_trim(array, length, axis=axis),
            )
        audio = random.random(100_000).astype(np.float32)
        for _ in range(50):
            edges = np.sort(random.choice(100_000, 2 * random.integers(1, 6), replace=False)).tolist()
            chunks = [{"start": start, "end": end} for start, end in zip(edges[::2], edges[1::2])]
            longest = random.choice([0.5, 2.0, float("inf")])
            ours, their = (
                module.vad.collect_chunks(audio, chunks, max_duration=longest) for module in (undertone, theirs)
            )
            self.assertEqual(ours[1], their[1])
            self.assertTrue(all(np.array_equal(a, b) for a, b in zip(ours[0], their[0], strict=True)))
            maps = [module.vad.SpeechTimestampsMap(chunks, 16000) for module in (undertone, theirs)]
            for at, is_end in itertools.product(
                [*random.random(20) * 7, *(c / 16000 for c in maps[0].chunk_end_sample)], (False, True)
            ):
                self.assertEqual(*(m.get_original_time(at, is_end=is_end) for m in maps), (chunks, at, is_end))
        self.assertEqual(collect_chunks(audio, [])[1], theirs.vad.collect_chunks(audio, [])[1])

    def test_the_command(self):
        self.assertEqual(command("--version").stdout.split(), ["undertone", undertone.__version__])
        said = command("transcribe", "--model", REFERENCE, "--packed", "off", SHORT)
        self.assertEqual((said.returncode, said.stdout.strip()), (0, TEXT.strip()), said.stderr)
        self.assertEqual(command("transcribe", "nothing.wav").returncode, 1)


def command(*arguments):
    """`python -m undertone` with these."""
    return subprocess.run([sys.executable, "-m", "undertone", *map(str, arguments)], capture_output=True, text=True)


def parameters(what):
    """Names, kinds and defaults of what is called so."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(what).parameters.values()]


class Sound(unittest.TestCase):
    def test_paths_file_objects_and_bytes(self):
        samples = decode_audio(str(SHORT))
        self.assertEqual((samples.dtype, samples.ndim), (np.float32, 1))
        self.assertTrue(2 < len(samples) / 16000 < 5 and np.abs(samples).max() <= 1)
        np.testing.assert_array_equal(decode_audio(SHORT), samples)
        with open(SHORT, "rb") as file:
            np.testing.assert_array_equal(decode_audio(file), samples)
        np.testing.assert_array_equal(decode_audio(io.BytesIO(SHORT.read_bytes())), samples)
        samples[0] = 1.0  # It may be written to.

    def test_other_rates_and_both_sides(self):
        seconds = len(decode_audio(SHORT)) / 16000
        for rate in (8000, 22050, 48000):
            self.assertAlmostEqual(len(decode_audio(SHORT, sampling_rate=rate)) / rate, seconds, delta=1e-3)
        left, right = (np.sin(np.arange(8000) * pitch).astype(np.float32) for pitch in (0.05, 0.2))
        stereo = io.BytesIO(wav(np.stack([left, right], axis=1) / 2, 16000))
        both = decode_audio(stereo, split_stereo=True)
        for found, wanted in zip(both, (left, right), strict=True):
            np.testing.assert_allclose(found, wanted / 2, atol=1e-4)
        both = decode_audio(io.BytesIO(wav(left[:, None], 16000)), split_stereo=True)
        np.testing.assert_array_equal(*both)
        with self.assertRaisesRegex(ValueError, "768000"):
            decode_audio(SHORT, sampling_rate=1)

    def test_errors_say_what_is_wrong(self):
        for source, kind, words in (
            ("nothing.wav", FileNotFoundError, "nothing.wav: no such file"),
            (REFERENCE, IsADirectoryError, "is a directory"),
            (io.BytesIO(b""), ValueError, "is empty"),
            (io.BytesIO(b"hello " * 99), ValueError, "is not audio"),
            (io.StringIO("text"), TypeError, "'rb'"),
        ):
            with self.subTest(words), self.assertRaisesRegex(kind, words):
                decode_audio(source)


def wav(frames, rate):
    """A WAV file of 16 bits; `frames` are `[frames, channels]`."""
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(frames.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((frames * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


class Loading(unittest.TestCase):
    def test_devices_and_types(self):
        for words in ({"device": "cuda"}, {"device": "tpu"}, {"compute_type": "int4"}, {"device_index": 1}):
            with self.subTest(words), self.assertRaisesRegex(ValueError, "device|compute_type"):
                WhisperModel(REFERENCE, **words)
        with self.assertRaisesRegex(ValueError, "'npu', 'cpu'"):
            WhisperModel(REFERENCE, device="cuda")
        with self.assertLogs("undertone", "WARNING") as said:
            model = WhisperModel(REFERENCE, device="cpu", compute_type="float16")
        self.assertIn("float32", said.output[0])
        self.assertEqual((model.model.device, model.model.compute_type), ("cpu", "float32"))
        with self.assertRaises(RuntimeError):
            WhisperModel(REFERENCE, device="npu")

    def test_arguments_that_ctranslate2_has(self):
        WhisperModel(REFERENCE, device="cpu", flash_attention=False)
        with self.assertRaisesRegex(TypeError, "nonsense"):
            WhisperModel(REFERENCE, nonsense=1)

    def test_what_is_not_here(self):
        with self.assertRaisesRegex(ValueError, "no such model: 'enormous'"):
            WhisperModel("enormous")
        with tempfile.TemporaryDirectory() as folder:
            for call in (WhisperModel, undertone.download_model):
                words = {"local_files_only": True, ("download_root" if call is WhisperModel else "cache_dir"): folder}
                with self.subTest(call), self.assertRaises(FileNotFoundError):
                    call("medium.en", **words)

    def test_a_model_is_copied_where_it_is_wanted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = undertone.download_model(REFERENCE, output_dir=f"{folder}/model")
            self.assertEqual(path, f"{folder}/model")
            self.assertTrue(WhisperModel(path, device="onnxruntime").model.is_multilingual)

    def test_files_in_memory(self):
        names = [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "encoder_model.onnx",
            "decoder_model_merged.onnx",
        ]
        files = {name: (REPOSITORY / "models/reference" / name).read_bytes() for name in names}
        files["config.json"] = io.BytesIO(files["config.json"])
        model = WhisperModel("in memory", device="onnxruntime", files=files)
        self.assertEqual(text(model.transcribe(SHORT, **GREEDY)), TEXT)

    def test_what_programs_look_at(self):
        model = shared_model()
        self.assertTrue(model.model.is_multilingual)
        self.assertEqual(set(model.supported_languages) - set(undertone.tokenizer._LANGUAGE_CODES), set())
        self.assertEqual(
            (model.feature_extractor.sampling_rate, model.model.n_mels, model.max_length), (16000, 80, 448)
        )
        self.assertEqual((model.frames_per_second, model.tokens_per_second, model.time_precision), (100, 50, 0.02))


MODEL = None


def shared_model():
    global MODEL
    if MODEL is None:
        MODEL = WhisperModel(REFERENCE, device="cpu", compute_type="float32")
    return MODEL


def text(result):
    segments, _ = result
    return "".join(segment.text for segment in segments)


class Transcribing(unittest.TestCase):
    def setUp(self):
        self.model = shared_model()

    def test_results_are_faster_whisper_s_classes(self):
        segments, info = self.model.transcribe(str(SHORT))
        self.assertIsInstance(segments, types.GeneratorType)
        self.assertIsInstance(info, TranscriptionInfo)
        self.assertIsInstance(info.transcription_options, TranscriptionOptions)
        self.assertEqual(info.transcription_options.beam_size, 5)
        self.assertEqual((info.language, info.all_language_probs[0]), ("en", ("en", info.language_probability)))
        self.assertAlmostEqual(sum(probability for _, probability in info.all_language_probs), 1, places=4)
        self.assertEqual((info.duration, info.duration_after_vad), (len(decode_audio(SHORT)) / 16000,) * 2)
        (segment,) = segments
        self.assertIsInstance(segment, Segment)
        self.assertEqual(
            (segment.id, segment.seek, segment.text, segment.words, segment.temperature), (1, 0, TEXT, None, 0.0)
        )
        self.assertTrue(0 <= segment.start < segment.end <= info.duration and -1 < segment.avg_logprob <= 0)
        self.assertTrue(segment.tokens and all(type(token) is int for token in segment.tokens))
        with self.assertWarns(DeprecationWarning):
            self.assertEqual(segment._asdict(), dataclasses.asdict(segment))

    def test_the_command_writes_the_same(self):
        options = "-f json --device host --precision f32 --packed off --batch 1".split()
        said = command("transcribe", *options, "--model", REFERENCE, PAUSES)
        self.assertEqual(said.returncode, 0, said.stderr)
        expected = json.loads(said.stdout)["segments"]
        segments = list(self.model.transcribe(PAUSES)[0])
        self.assertEqual(
            [(s.start, s.end, s.text, s.tokens) for s in segments],
            [(s["start"], s["end"], s["text"], s["tokens"]) for s in expected],
        )

    def test_sound_in_any_form(self):
        samples = decode_audio(SHORT)
        file = open(SHORT, "rb")
        self.addCleanup(file.close)
        for audio in (
            SHORT,
            file,
            io.BytesIO(SHORT.read_bytes()),
            samples,
            samples.astype(np.float64),
            (samples * 32767).astype(np.int16),
            np.repeat(samples, 2)[::2],
        ):
            with self.subTest(type(audio)):
                self.assertEqual(text(self.model.transcribe(audio, **GREEDY)), TEXT)
        for audio, words in ((np.zeros((2, 16000), np.float32), "one channel"), (np.zeros(16000, np.int64), "int16")):
            with self.assertRaisesRegex(ValueError, words):
                self.model.transcribe(audio)
        self.assertEqual(text(self.model.transcribe(np.zeros(0, np.float32), **GREEDY)), "")

    def test_segments_come_as_they_are_consumed(self):
        begun = time.perf_counter()
        segments, _ = self.model.transcribe(PAUSES, language="en", **GREEDY)
        first = next(segments)
        until_first = time.perf_counter() - begun
        rest = list(segments)
        whole = time.perf_counter() - begun
        self.assertEqual([segment.id for segment in [first, *rest]], list(range(1, len(rest) + 2)))
        self.assertLess(until_first, whole / 2)
        # One that is never consumed holds up no other.
        held, _ = self.model.transcribe(PAUSES, language="en", **GREEDY)
        next(held)
        self.assertEqual(text(self.model.transcribe(SHORT, **GREEDY)), TEXT)
        self.assertEqual([segment.text for segment in held], [segment.text for segment in rest])

    def test_words_have_times(self):
        (segment,), _ = self.model.transcribe(SHORT, word_timestamps=True)
        self.assertEqual("".join(word.word for word in segment.words), segment.text)
        self.assertTrue(all(isinstance(word, Word) and word.start <= word.end for word in segment.words))
        self.assertEqual((segment.start, segment.end), (segment.words[0].start, segment.words[-1].end))

    def test_silence_is_left_out(self):
        samples = np.concatenate(
            [np.zeros(48000, np.float32), decode_audio(SHORT), np.zeros(80000, np.float32), decode_audio(SHORT)]
        )
        with self.assertLogs("undertone", "INFO"):
            segments, info = self.model.transcribe(samples, vad_filter=True, **GREEDY)
        self.assertLess(info.duration_after_vad, info.duration - 5)
        self.assertEqual(info.vad_options, VadOptions())
        first, second = segments
        self.assertTrue(" lion" in first.text and " lion" in second.text)
        self.assertGreater(first.start, 2.5)
        self.assertGreater(second.start, 3 + 5 + len(decode_audio(SHORT)) / 16000 - 0.5)
        (segment,), _ = self.model.transcribe(samples[:96_000], vad_filter=True, word_timestamps=True, **GREEDY)
        self.assertTrue(2.5 < segment.start == segment.words[0].start <= segment.words[-1].end == segment.end < 6)
        parts = get_speech_timestamps(samples)
        self.assertEqual(len(parts), 2)
        self.assertEqual(parts, get_speech_timestamps(samples, VadOptions(speech_pad_ms=400)))
        self.assertLess(get_speech_timestamps(samples, speech_pad_ms=0)[0]["end"], parts[0]["end"])
        segments, info = self.model.transcribe(samples, vad_filter=True, vad_parameters={"threshold": 0.4}, **GREEDY)
        self.assertEqual(info.vad_options.threshold, 0.4)
        with self.assertRaisesRegex(ValueError, "threshold is 2"):
            self.model.transcribe(samples, vad_filter=True, vad_parameters={"threshold": 2.0})
        self.assertEqual(text(self.model.transcribe(np.zeros(48000, np.float32), vad_filter=True)), "")

    def test_pieces_that_are_decoded_together(self):
        batched = BatchedInferencePipeline(model=self.model)
        segments, info = batched.transcribe(str(PAUSES), batch_size=4, beam_size=1, without_timestamps=False)
        segments = list(segments)
        spoken = json.loads((REPOSITORY / "speech/long/pauses-4min.json").read_text())
        self.assertLess(info.duration_after_vad, info.duration)
        self.assertTrue(all(a.end <= b.end and a.id + 1 == b.id for a, b in itertools.pairwise(segments)))
        words = " ".join(segment.text for segment in segments).lower().split()
        self.assertGreater(len(words), 0.7 * len(json.dumps(spoken).split()) / 10)
        with self.assertRaisesRegex(RuntimeError, "vad_filter=True"):
            batched.transcribe(str(PAUSES), vad_filter=False)
        self.assertEqual(text(batched.transcribe(SHORT, vad_filter=False, beam_size=1)), TEXT)
        clips = [{"start": 0, "end": 3.0}]
        samples = np.concatenate([decode_audio(SHORT), np.zeros(160_000, np.float32)])
        (segment,), info = batched.transcribe(samples, clip_timestamps=clips, beam_size=1)
        self.assertEqual(segment.text, TEXT)

    def test_clips(self):
        samples = np.concatenate([decode_audio(SHORT), np.zeros(160_000, np.float32), decode_audio(SHORT)])
        second = len(decode_audio(SHORT)) / 16000 + 10
        for clips in (f"{second}", [second], f"{second},{second + 4}"):
            (segment,), _ = self.model.transcribe(samples, clip_timestamps=clips, **GREEDY)
            self.assertEqual((segment.text, segment.start >= second - 0.1), (TEXT, True), clips)

    def test_prompts_and_tokens_that_are_not_written(self):
        tokens = self.model.hf_tokenizer.encode(" table", add_special_tokens=False).ids
        result = text(self.model.transcribe(SHORT, suppress_tokens=[-1, *tokens], **GREEDY))
        self.assertNotIn(" table", result)
        for prompt in ("Lions and tables.", self.model.hf_tokenizer.encode(" Lions and tables.").ids):
            self.assertTrue(text(self.model.transcribe(SHORT, initial_prompt=prompt, **GREEDY)))
        self.assertTrue(text(self.model.transcribe(SHORT, hotwords="lion", **GREEDY)))

    def test_options_without_a_meaning_or_not_carried_out(self):
        for words, kind in (
            ({"beam_size": 0}, ValueError),
            ({"language": "xx"}, ValueError),
            ({"task": "sing"}, ValueError),
            ({"repetition_penalty": 0.0}, ValueError),
            ({"clip_timestamps": "2,1"}, ValueError),
            ({"clip_timestamps": "1000"}, ValueError),
            ({"beam_size": "many"}, TypeError),
            ({"length_penalty": 0.5}, NotImplementedError),
            ({"chunk_length": 15}, NotImplementedError),
        ):
            with self.subTest(words), self.assertRaisesRegex(kind, next(iter(words))):
                self.model.transcribe(SHORT, **{"language": "en", **words})

    def test_languages(self):
        samples = decode_audio(REPOSITORY / "speech/short/006-de.flac")
        code, probability, everything = self.model.detect_language(audio=samples)
        self.assertEqual((code, everything[0]), ("de", ("de", probability)))
        features = self.model.feature_extractor(samples)
        self.assertEqual(features.shape, (80, len(samples) // 160 + 1))
        again = self.model.detect_language(
            features=features, language_detection_segments=2, language_detection_threshold=0.99
        )
        self.assertEqual(again[0], "de")
        with self.assertRaises(AssertionError):
            self.model.detect_language()

    def test_tokenizer(self):
        tokenizer = undertone.tokenizer.Tokenizer(self.model.hf_tokenizer, True, task="transcribe", language="de")
        tokens = tokenizer.encode(" The green lion, it's über.")
        self.assertEqual(
            tokenizer.decode([tokenizer.sot, *tokens, tokenizer.timestamp_begin]), " The green lion, it's über."
        )
        self.assertEqual(
            tokenizer.decode_with_timestamps([tokenizer.timestamp_begin + 50, *tokens[:1]]), "<|1.00|> The"
        )
        words, groups = tokenizer.split_to_word_tokens(tokens)
        self.assertEqual(words, [" The", " green", " lion", ",", " it's", " über", "."])
        self.assertEqual(sum(groups, []), tokens)
        self.assertEqual(tokenizer.sot_sequence[0], tokenizer.sot)
        self.assertEqual(self.model.hf_tokenizer.token_to_id("<|de|>"), tokenizer.language)
        self.assertGreater(len(tokenizer.non_speech_tokens), 50)

    def test_several_threads(self):
        model = WhisperModel(REFERENCE, device="cpu", compute_type="float32", num_workers=2)
        results = [None] * 4

        def work(place):
            results[place] = text(model.transcribe(SHORT, **GREEDY))

        threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
        [thread.start() for thread in threads]
        # Python goes on meanwhile.
        turns = 0
        while any(thread.is_alive() for thread in threads):
            turns += 1
            time.sleep(0.001)
        [thread.join() for thread in threads]
        self.assertEqual(results, [TEXT] * 4)
        self.assertGreater(turns, 5)

    def test_onnxruntime_s_own_bindings_beside_it(self):
        import onnxruntime

        encoder = onnxruntime.InferenceSession(f"{REFERENCE}/encoder_model.onnx", providers=["CPUExecutionProvider"])
        encoder.run(None, {"input_features": np.zeros((1, 80, 3000), np.float32)})
        self.assertEqual(text(self.model.transcribe(SHORT, **GREEDY)), TEXT)

    def test_progress(self):
        code = (
            f"from undertone import WhisperModel; m = WhisperModel({REFERENCE!r}, device='cpu'); "
            f"list(m.transcribe({str(SHORT)!r}, log_progress=True)[0])"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertIn("100%", said.stderr)

    @unittest.skipIf(os.name == "nt", "there are no such signals")
    def test_ctrl_c(self):
        # Programs that are started in the background ignore the signal, and so does what they start.
        code = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from undertone import WhisperModel, decode_audio
import numpy as np
model = WhisperModel({REFERENCE!r}, device="cpu")
segments, _ = model.transcribe(np.tile(decode_audio({str(PAUSES)!r}), 20), language="en")
print("begun", flush=True)
try:
    for segment in segments: pass
except KeyboardInterrupt:
    print("interrupted", next(segments, None), flush=True)
"""
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "begun\n")
        time.sleep(0.5)
        begun = time.perf_counter()
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.communicate(timeout=60)[0], "interrupted None\n")
        self.assertLess(time.perf_counter() - begun, 10)


if __name__ == "__main__":
    logging.getLogger("undertone").addHandler(logging.NullHandler())
    unittest.main(argv=[sys.argv[0], *(["-k", sys.argv[3]] if len(sys.argv) > 3 else [])])
