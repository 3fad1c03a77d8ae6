// Whisper through transformers.js, with the provider and without, and a check of each promise of the package.
//
//     node check.mjs FOLDER [MODEL]
//
// In FOLDER `npm install @huggingface/transformers` was done. MODEL is a folder as optimum exports Whisper, with the merged
// decoder; without it, the repository's reference model. Takes ffmpeg, and the libraries in `target/release` or in the
// folder that UNDERTONE_LIBRARIES names. Prints a line for each way, and ends with 0 only if all is as promised.

import assert from "node:assert/strict";
import childProcess from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../../..");
const [folder, model = path.join(root, "models/reference")] = process.argv.slice(2);
if (!folder) {
  console.error("usage: node check.mjs FOLDER [MODEL]");
  process.exit(2);
}
const libraries = process.env.UNDERTONE_LIBRARIES || path.join(root, "target/release");
const env = { ...process.env, UNDERTONE_LIBRARIES: libraries };
for (const name of ["LD_PRELOAD", "UNDERTONE_EP", "UNDERTONE_EP_COUNTERS", "UNDERTONE_EP_LIBRARY"]) delete env[name];

const home = fs.mkdtempSync(path.join(os.tmpdir(), "undertone-node-"));
process.on("exit", () => fs.rmSync(home, { recursive: true }));

// transformers.js looks for graphs in a folder of their own.
fs.mkdirSync(path.join(home, "model/onnx"), { recursive: true });
for (const name of fs.readdirSync(model)) {
  const into = /\.onnx(_data|\.data)?$/.test(name) ? "model/onnx" : "model";
  fs.symlinkSync(path.join(path.resolve(model), name), path.join(home, into, name));
}
const recording = path.join(home, "recording.wav");
const flac = path.join(root, "speech/short/000-en.flac");
childProcess.execFileSync("ffmpeg", ["-v", "error", "-i", flac, "-ar", "16000", "-ac", "1", "-c:a", "pcm_s16le", recording]);

// Modules are looked for where the program lies.
const program = path.join(fs.mkdtempSync(path.join(path.resolve(folder), ".undertone-")), "whisper.mjs");
process.on("exit", () => fs.rmSync(path.dirname(program), { recursive: true }));
fs.copyFileSync(path.join(here, "whisper.mjs"), program);
const again = path.join(path.dirname(program), "again.mjs");
fs.writeFileSync(
  again,
  `import ep from ${JSON.stringify(path.join(here, "../index.js"))};\n` +
    `ep.everywhere({ precision: "bf16" }, { counters: ${JSON.stringify(path.join(home, "again.json"))} });\n` +
    'if (!ep.active()) throw new Error("it did not start again");\nawait import("./whisper.mjs");\n',
);

const bin = path.join(here, "../bin.js");
const inputs = [home, "model", recording];

function text(how, args, more = {}) {
  const done = childProcess.spawnSync(process.execPath, args, { encoding: "utf8", env: { ...env, ...more } });
  assert.equal(done.status, 0, `${how}: ${done.stderr}`);
  return { text: done.stdout.trim(), said: done.stderr };
}

// The two graphs; transformers.js makes a small session besides, to try what ONNX Runtime can do.
function counted(file) {
  const numbers = JSON.parse(fs.readFileSync(path.join(home, file), "utf8"));
  assert.ok(numbers.sessions >= 2, JSON.stringify(numbers));
  assert.equal(numbers.sessions_without, 0, JSON.stringify(numbers));
  assert.ok(numbers.fused_nodes_executed > 0 && numbers["kernel_calls.host"] > 100, JSON.stringify(numbers));
  return `${numbers.fused_nodes_executed} fused nodes, ${numbers["kernel_calls.host"]} kernel calls`;
}

const expected = text("without", [program, ...inputs]).text;
assert.ok(expected.split(" ").length > 3, expected);
console.log(`without: ${expected}`);

for (const [precision, options] of [
  ["f32", []],
  ["bf16", ["-o", "precision=bf16"]],
  ["int8", ["-o", "device=host", "-o", "precision=int8"]],
]) {
  const counters = path.join(home, `${precision}.json`);
  const got = text(precision, [bin, ...options, "--counters", counters, process.execPath, program, ...inputs]);
  assert.equal(got.text, expected, precision);
  assert.ok(!got.said.includes("undertone-preload"), got.said);
  console.log(`${precision}: the same, ${counted(`${precision}.json`)}`);
}

assert.equal(text("everywhere()", [again, ...inputs]).text, expected);
console.log(`everywhere(): the same, ${counted("again.json")}`);

const wrong = text("a wrong option", [bin, "-o", "devce=host", process.execPath, program, ...inputs]);
assert.equal(wrong.text, expected);
assert.equal(wrong.said.split("\n").filter((line) => line.includes('unknown EP option "devce"')).length, 1, wrong.said);
console.log("a wrong option: said once, and the same");

const failing = childProcess.spawnSync(process.execPath, [bin, process.execPath, "-e", "process.exit(7)"], { env });
assert.equal(failing.status, 7);
const nowhere = childProcess.spawnSync(process.execPath, [bin, "true"], { encoding: "utf8", env: { ...env, UNDERTONE_LIBRARIES: home } });
assert.ok(nowhere.status === 1 && nowhere.stderr.includes("is not there: build it with"), nowhere.stderr);
console.log("exit codes and errors: as promised");
