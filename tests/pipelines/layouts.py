"""A Whisper model in the files that other libraries and exporters read, out of a folder that Undertone converted.

    python layouts.py hugging-face MODEL OUT        weights as safetensors, vocabulary, configuration: what exporters read
    python layouts.py vocabulary MODEL OUT.txt      each token's bytes in hexadecimal, a line each
    python layouts.py added-tokens MODEL OUT.json   tokens that are not words, and their numbers

The first needs numpy, onnx and safetensors.
"""

import json
import pathlib
import re
import shutil
import sys

# Products' weights are stored as they are multiplied, [inputs, outputs]; PyTorch stores them the other way round.
TRANSPOSED = re.compile(r"\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)\.weight$")


def hugging_face(model, out):
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file

    out.mkdir(parents=True)
    weights = {}
    for name in ("encoder_model", "decoder_model"):
        for tensor in onnx.load(model / f"{name}.onnx").graph.initializer:
            if tensor.name.startswith("model."):
                values = numpy_helper.to_array(tensor).astype("float32")
                weights[tensor.name] = values.T.copy() if TRANSPOSED.search(tensor.name) else values
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "generation_config.json", "preprocessor_config.json"):
        shutil.copy(model / name, out)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    with_times(tokenizer, json.loads((model / "config.json").read_text())["vocab_size"])
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    tokenizer_files(tokenizer, out)


def with_times(tokenizer, size):
    """Adds the timestamps, which CTranslate2's folders leave out: 0.02 s apart."""
    kind = next(token for token in tokenizer["added_tokens"] if token["content"] == "<|notimestamps|>")
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    tokenizer["added_tokens"] += [kind | {"id": number, "content": f"<|{(number - first) * 0.02:.2f}|>", "special": False} for number in range(first, size)]


def tokenizer_files(tokenizer, out):
    """The older files of a tokenizer, which some libraries read in place of tokenizer.json."""
    def write(name, what):
        (out / name).write_text(json.dumps(what, ensure_ascii=False, indent=1))

    write("vocab.json", tokenizer["model"]["vocab"])
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"])
    (out / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    write("added_tokens.json", added(tokenizer))
    end = "<|endoftext|>"
    write("special_tokens_map.json", {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": end})
    write("tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, "bos_token": end, "eos_token": end,
                                    "unk_token": end, "pad_token": end, "add_prefix_space": False, "errors": "replace"})
    write("normalizer.json", {})


def added(tokenizer):
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"] if token["content"] not in tokenizer["model"]["vocab"]}


def added_tokens(model, out):
    out.write_text(json.dumps(added(json.loads((model / "tokenizer.json").read_text()))))


def token_bytes(tokenizer):
    """Each token's bytes, by its number."""
    # GPT-2's way to write bytes as letters: those that print stand for themselves, the others for the letters from 256 on.
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printing]
    byte_of = {chr(byte): byte for byte in printing} | {chr(256 + index): byte for index, byte in enumerate(others)}
    tokens = {number: bytes(byte_of[letter] for letter in token) for token, number in tokenizer["model"]["vocab"].items() if set(token) <= set(byte_of)}
    tokens.update((token["id"], token["content"].encode()) for token in tokenizer["added_tokens"])
    return [tokens[number] for number in range(len(tokens))]


def vocabulary(model, out):
    tokens = token_bytes(json.loads((model / "tokenizer.json").read_text()))
    out.write_text("".join(f"{token.hex()}\n" for token in tokens))


LAYOUTS = {"hugging-face": hugging_face, "vocabulary": vocabulary, "added-tokens": added_tokens}

if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in LAYOUTS:
        sys.exit(__doc__)
    LAYOUTS[sys.argv[1]](pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
