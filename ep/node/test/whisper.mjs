// Whisper through transformers.js, as it is: the program knows nothing of the provider.
//
//     node whisper.mjs FOLDER MODEL RECORDING.wav
//
// FOLDER/MODEL has config.json and the like, and onnx/encoder_model.onnx, onnx/decoder_model_merged.onnx. The recording is
// 16-bit PCM, 16 kHz, one channel. Prints the text.

import fs from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const [folder, model, recording] = process.argv.slice(2);
const bytes = fs.readFileSync(recording);
const begin = bytes.indexOf("data") + 8;
const samples = Float32Array.from({ length: (bytes.length - begin) >> 1 }, (_, at) => bytes.readInt16LE(begin + 2 * at) / 32768);

env.allowRemoteModels = false;
env.localModelPath = folder;
const recognise = await pipeline("automatic-speech-recognition", model, { dtype: "fp32", device: "cpu" });
console.log((await recognise(samples, { language: "en", task: "transcribe" })).text.trim());
