/** Options of the provider; with neither `device` nor `precision` it computes in f32. */
export interface EpOptions {
  device?: "auto" | "host" | "sim" | "npu";
  target?: "npu1" | "npu4";
  sim?: "fast" | "exact";
  bundle_dir?: string;
  npu_commands?: "lists" | "single";
  core_costs?: string;
  precision?: "int8" | "bf16" | "f32";
  claim?: "all" | "attention" | "matmul";
  threads?: number;
  report?: string;
  trace?: string;
}

export interface More {
  /** A file that gets, when the process ends, what the provider executed, as JSON. */
  counters?: string;
  /** In place of `process.env`. */
  env?: NodeJS.ProcessEnv;
}

/** Whether this process's sessions go through the provider. */
export function active(): boolean;
/** The environment for a process whose sessions do. */
export function environment(options?: EpOptions, more?: More): NodeJS.ProcessEnv;
/** The first line of a program: starts it again, once, in that environment. */
export function everywhere(options?: EpOptions, more?: More): void;
/** The folder with the libraries. */
export function libraries(): string;
/** Runs a program in that environment; its exit code. */
export function run(program: string, args: string[], options?: EpOptions, more?: More): number;
