"use strict";
// The execution provider in programs with onnxruntime-node, which has no call to register one: a library that the dynamic
// linker loads before ONNX Runtime puts it into every session. So it has to be there when the process starts.

const childProcess = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const SWITCH = "UNDERTONE_EP";
const COUNTERS = "UNDERTONE_EP_COUNTERS";
const PRELOAD = "libundertone_preload.so";
const PROVIDER = "libonnxruntime_ep_xdna.so";

/** The folder with both libraries: `UNDERTONE_LIBRARIES`, else this package's. Throws if one of them is not there. */
function libraries() {
  const folder = process.env.UNDERTONE_LIBRARIES || path.join(__dirname, "lib");
  if (process.platform !== "linux") {
    throw new Error(`onnxruntime-ep-xdna: ${process.platform} has no LD_PRELOAD; only Linux is supported`);
  }
  for (const name of [PRELOAD, PROVIDER]) {
    const file = path.join(folder, name);
    if (!fs.existsSync(file)) {
      throw new Error(
        `onnxruntime-ep-xdna: ${file} is not there: build it with \`cargo build --release -p onnxruntime-ep-xdna` +
          " -p undertone-preload`, and name its folder with UNDERTONE_LIBRARIES",
      );
    }
  }
  return path.resolve(folder);
}

/** Options as the environment has them: `1` for none. */
function words(options) {
  const pairs = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  for (const [key, value] of pairs) {
    if (/[,=\0]/.test(key) || /[,\0]/.test(String(value))) {
      throw new TypeError(`onnxruntime-ep-xdna: ${key}=${value}: an option's value has no comma`);
    }
  }
  return pairs.map(([key, value]) => `${key}=${value}`).join(",") || "1";
}

/** The environment for a process whose sessions of onnxruntime-node go through the provider, with these options of it. */
function environment(options = {}, { counters, env = process.env } = {}) {
  const preload = path.join(libraries(), PRELOAD);
  const others = (env.LD_PRELOAD || "").split(/[: ]+/).filter((one) => one && path.basename(one) !== PRELOAD);
  const made = { ...env, LD_PRELOAD: [preload, ...others].join(":"), [SWITCH]: words(options) };
  if (counters) made[COUNTERS] = path.resolve(counters);
  return made;
}

/** Whether this process was started so. */
function active() {
  if (!process.env[SWITCH] || ["0", "off"].includes(process.env[SWITCH])) return false;
  try {
    return fs.readFileSync("/proc/self/maps", "utf8").includes(`/${PRELOAD}`);
  } catch {
    return false;
  }
}

/** Runs a program in such an environment, and gives its exit code. */
function run(program, args, options = {}, more = {}) {
  const done = childProcess.spawnSync(program, args, { stdio: "inherit", env: environment(options, more) });
  if (done.error) throw done.error;
  // As a shell says that a signal ended it.
  return done.status ?? 128 + (os.constants.signals[done.signal] ?? 0);
}

/**
 * The first line of a program: from here on its sessions go through the provider. The process starts itself again, once,
 * with the same arguments, waits, and ends with that one's exit code; in the one that it started this does nothing.
 */
function everywhere(options = {}, more = {}) {
  if (active()) return;
  if (process.env.UNDERTONE_STARTED_AGAIN) {
    throw new Error(`onnxruntime-ep-xdna: the dynamic linker did not load ${PRELOAD}: is this node linked with glibc?`);
  }
  const env = { ...process.env, ...more.env, UNDERTONE_STARTED_AGAIN: "1" };
  process.exit(run(process.execPath, [...process.execArgv, ...process.argv.slice(1)], options, { ...more, env }));
}

module.exports = { active, environment, everywhere, libraries, run };
