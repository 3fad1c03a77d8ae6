"use strict";
// Before `npm pack`: copies the libraries that cargo built into the package. Compiles nothing.

const fs = require("node:fs");
const path = require("node:path");

const from = process.env.UNDERTONE_LIBRARIES || path.join(__dirname, "../../target/release");
const into = path.join(__dirname, "lib");
fs.mkdirSync(into, { recursive: true });
for (const name of ["libundertone_preload.so", "libonnxruntime_ep_xdna.so"]) {
  const file = path.join(from, name);
  if (!fs.existsSync(file)) {
    console.error(`error: ${file} is not there: cargo build --release -p onnxruntime-ep-xdna -p undertone-preload`);
    process.exit(1);
  }
  fs.copyFileSync(file, path.join(into, name));
}
