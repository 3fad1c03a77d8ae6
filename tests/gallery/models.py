"""The models of the gallery: the package that carries each, its file there, and inputs as its program gives them.

    python3 models.py      prints the packages

Pictures are drawn and sound is taken from this repository; token numbers are drawn by chance with a seed.
"""

import pathlib
from dataclasses import dataclass
from typing import Callable

ROOT = pathlib.Path(__file__).parents[2]


@dataclass
class Model:
    """One file of a package. `feeds` makes the inputs of several runs."""

    package: str
    file: str
    feeds: Callable
    # The graph computes in integers.
    quantised: bool = False

    @property
    def name(self):
        return f"{self.package.split('==')[0]}: {pathlib.Path(self.file).stem}"


def speech(rate=16000, seconds=8):
    """A voice, from its second 0.3 on."""
    import numpy
    import soundfile

    sound, found = soundfile.read(ROOT / "speech/long/noisy-90s.flac", dtype="float32")
    if found != rate:
        times = numpy.arange(int(len(sound) * rate / found)) / rate
        sound = numpy.interp(times, numpy.arange(len(sound)) / found, sound)
    start = int(0.3 * rate)
    return sound[start : start + int(seconds * rate)].astype(numpy.float32)


def picture(width, height, text="Undertone 2026", grey=False):
    """Text on a shaded ground: `[1, channels, height, width]`, 0 to 1."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    image = Image.linear_gradient("L").resize((width, height)).convert("L" if grey else "RGB")
    draw = ImageDraw.Draw(image)
    size = min(height * 0.6, 28)
    for line in range(max(1, int(height / size / 3))):
        draw.text((8 + 9 * line, 0.2 * size + 3 * size * line), f"{text} {line}", "white", ImageFont.load_default(size))
    draw.ellipse((width * 0.6, height * 0.3, width * 0.8, height * 0.9), outline="black", width=3)
    pixels = numpy.asarray(image, numpy.float32) / 255
    pixels = pixels[None] if grey else pixels.transpose(2, 0, 1)
    return numpy.ascontiguousarray(pixels[None])


def noise(name, *sizes):
    """Pictures that are normalised to the mean 0.5 and the deviation 0.5, of these sizes."""
    return lambda: [{name: (picture(width, height) - 0.5) / 0.5} for width, height in sizes]


def captcha():
    return [{"input1": picture(width, 64, "x7Gk", grey=True)} for width in (150, 200)]


def tokens(name, count, most, kind="int64"):
    def feeds():
        import numpy

        rng = numpy.random.default_rng(7)
        return [{name: rng.integers(1, most, (1, count)).astype(kind)} for _ in range(3)]

    return feeds


def silero(context=64, rate=True):
    """Windows of 32 ms one after another, each with the sound before it."""

    def feeds():
        import numpy

        sound = speech(seconds=2)
        made = []
        for start in range(context, len(sound) - 512, 512):
            feed = {
                "input": sound[None, start - context : start + 512],
                "state": numpy.full((2, 1, 128), 0.01 * len(made), numpy.float32),
            }
            made.append(feed | ({"sr": numpy.array(16000, numpy.int64)} if rate else {}))
        return made

    return feeds


def mel():
    import numpy

    features = numpy.load(ROOT / "tests/vectors/mel-short-000-en.npy").reshape(1, 80, 3000)
    return [{"input_features": numpy.ascontiguousarray(features[:, :, start : start + 800])} for start in (0, 400)]


def piper_tashkeel():
    import numpy

    rng = numpy.random.default_rng(7)
    return [
        {
            "char_inputs": rng.integers(1, 40, (1, count)),
            "diac_inputs": numpy.zeros((1, count), numpy.int64),
            "input_lengths": numpy.array([count]),
        }
        for count in (20, 60)
    ]


def basic_pitch():
    return [{"serving_default_input_2:0": speech(22050, 2)[None, :43844, None]}]


def waveforms():
    """Sound and its length, as the feature front ends of onnx-asr take it."""
    import numpy

    sound = speech(seconds=8)
    return [{"waveforms": sound[None], "waveforms_lens": numpy.array([len(sound)], numpy.int64)}]


def waveforms_at(rate):
    def feeds():
        import numpy

        sound = speech(rate, 8)
        return [{"waveforms": sound[None], "waveforms_lens": numpy.array([len(sound)], numpy.int64)}]

    return feeds


SILERO = "silero-vad==6.2.1"
PIPECAT = "pipecat-ai==1.14.0"
RAPID, RAPID_3 = "rapidocr-onnxruntime==1.4.4", "rapidocr==3.10.0"
DDDD = "ddddocr==1.6.1"
PIPER = "piper-tts==1.8.0"
TASHKEEL = "text2tashkeel==0.1.0"
ASR = "onnx-asr==0.12.0"
FRONT_ENDS = ("kaldi", "wespeaker", "nemo80", "nemo128", "gigaam_v2", "gigaam_v3", "whisper80", "whisper128")
DETECTED, READ, TURNED = ((736, 320), (480, 480)), ((320, 48), (480, 48)), ((192, 48),)

MODELS = [
    Model(SILERO, "silero_vad/data/silero_vad.onnx", silero()),
    Model(SILERO, "silero_vad/data/silero_vad_16k_op15.onnx", silero()),
    Model(SILERO, "silero_vad/data/silero_vad_half.onnx", silero(0, rate=False)),
    Model(SILERO, "silero_vad/data/silero_vad_op18_ifless.onnx", silero()),
    Model(PIPECAT, "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx", mel, quantised=True),
    Model("magika==1.0.3", "magika/models/standard_v3_3/model.onnx", tokens("bytes", 2048, 256, "int32")),
    Model(RAPID, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", noise("x", *DETECTED)),
    Model(RAPID, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", noise("x", *READ)),
    Model(RAPID, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", noise("x", *TURNED)),
    Model(RAPID_3, "rapidocr/models/PP-OCRv6_det_small.onnx", noise("x", *DETECTED)),
    Model(RAPID_3, "rapidocr/models/PP-OCRv6_rec_small.onnx", noise("x", *READ)),
    Model("nudenet==3.4.2", "nudenet/320n.onnx", lambda: [{"images": picture(320, 320)}]),
    Model("basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", basic_pitch),
    Model(PIPER, "piper/tashkeel/model.onnx", piper_tashkeel),
    Model(PIPER, "piper/hebrew/nakdimon.onnx", tokens("input_1", 60, 40, "float32")),
    Model(TASHKEEL, "text2tashkeel/models/bilstm.int8.onnx", tokens("input_ids", 60, 36), quantised=True),
    Model(TASHKEEL, "text2tashkeel/models/rawi_v3.int8.onnx", tokens("input", 60, 36), quantised=True),
    Model(TASHKEEL, "text2tashkeel/models/rawi_ensemble.int8.onnx", tokens("input", 60, 36), quantised=True),
    Model(DDDD, "ddddocr/common.onnx", captcha),
    Model(DDDD, "ddddocr/common_old.onnx", captcha, quantised=True),
    Model(DDDD, "ddddocr/common_det.onnx", lambda: [{"images": picture(416, 416) * 255}]),
    *(Model(ASR, f"onnx_asr/preprocessors/data/{name}.onnx", waveforms) for name in FRONT_ENDS),
    *(Model(ASR, f"onnx_asr/preprocessors/data/{name}_conv.onnx", waveforms) for name in ("kaldi", "nemo128")),
    Model(ASR, "onnx_asr/preprocessors/data/resample_44_16.onnx", waveforms_at(44100)),
]

if __name__ == "__main__":
    print(*dict.fromkeys(model.package for model in MODELS), sep="\n")
