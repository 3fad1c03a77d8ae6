#!/usr/bin/env node
"use strict";
// onnxruntime-ep-xdna [-o KEY=VALUE]... [--counters FILE] PROGRAM ARGUMENT...

const { run } = require("./index.js");

const usage = "usage: onnxruntime-ep-xdna [-o KEY=VALUE]... [--counters FILE] PROGRAM ARGUMENT...";
const rest = process.argv.slice(2);
const options = {};
let counters;
while (rest.length && rest[0].startsWith("-")) {
  const [flag, value] = rest.splice(0, 2);
  const pair = /^([^=]+)=(.*)$/.exec(value ?? "");
  if (flag === "-o" && pair) options[pair[1]] = pair[2];
  else if (flag === "--counters" && value) counters = value;
  else {
    console.error(usage);
    process.exit(2);
  }
}
if (!rest.length) {
  console.error(usage);
  process.exit(2);
}
try {
  process.exit(run(rest[0], rest.slice(1), options, { counters }));
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exit(1);
}
