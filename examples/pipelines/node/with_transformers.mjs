// Whisper with transformers.js in Node.js.
//
//     npm install @huggingface/transformers onnxruntime-ep-xdna
//     node with_transformers.mjs MODEL PRECISION RECORDING.wav...
//
// MODEL is a folder as optimum exports it, with the merged decoder: encoder_model.onnx, decoder_model_merged.onnx. English,
// of any length. PRECISION and what is printed are as in ../python/shared.py.

import fs from "node:fs";
import path from "node:path";
import { env, pipeline } from "@huggingface/transformers";
import { InferenceSession } from "onnxruntime-node";
import xdna from "onnxruntime-ep-xdna";

const [model, precision, ...recordings] = process.argv.slice(2);
// Starts the program again with the provider in front of ONNX Runtime. What it counted is in this file at the end.
if (precision !== "cpu") xdna.everywhere({ device: "host", precision }, { counters: process.env.EXAMPLE_COUNTERS });

// Adds up the time in ONNX Runtime.
let inside = 0;
const run = InferenceSession.prototype.run;
InferenceSession.prototype.run = async function (...inputs) {
  const begin = performance.now();
  try {
    return await run.apply(this, inputs);
  } finally {
    inside += (performance.now() - begin) / 1000;
  }
};

// A WAV file's samples, from -1 to 1.
function read(file) {
  const bytes = fs.readFileSync(file);
  let at = 12;
  while (bytes.toString("latin1", at, at + 4) !== "data") at += 8 + bytes.readUInt32LE(at + 4);
  return Float32Array.from({ length: bytes.readUInt32LE(at + 4) / 2 }, (_, sample) => bytes.readInt16LE(at + 8 + 2 * sample) / 32768);
}

env.allowRemoteModels = false;
env.localModelPath = path.dirname(model);
const recogniser = await pipeline("automatic-speech-recognition", path.basename(model), { dtype: "fp32", subfolder: "" });
const transcribe = async (samples) => (await recogniser(samples, { language: "en", task: "transcribe", chunk_length_s: 30 })).text;

// The first run of a session also lays out its memory.
await transcribe(read(recordings[0]));
for (const recording of recordings) {
  const samples = read(recording);
  inside = 0;
  const begin = performance.now();
  const text = await transcribe(samples);
  const seconds = (performance.now() - begin) / 1000;
  console.log(["text", recording, seconds.toFixed(4), inside.toFixed(4), text.trim().replace(/\s+/g, " ")].join("\t"));
}
