// The module in node: read from beside this file, with the same calls as in a page.

import { readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";

import { hasRelaxedVectors } from "./engine.js";
import { Thread, poolOver } from "./pool.js";
import { initSync } from "./wasm.js";

export * from "./wasm.js";

const beside = (name) => readFile(new URL(name, import.meta.url));
const ownModule = () => beside(hasRelaxedVectors() ? "./wasm_relaxed_bg.wasm" : "./wasm_bg.wasm");

/** Whether this engine runs the module; every node that package.json allows does. */
export const supported = () => true;

/** Loads the module; call it once, before anything else. */
export async function load(module) {
  initSync({ module: await bytesOf(module) });
}

/** A module's bytes, or the module: a string is a path. */
const bytesOf = (module = ownModule()) => (module instanceof URL || typeof module === "string" ? readFile(module) : module);

/** The bytes of the bundle that `graded` calls `embedded`: for `new Labeler(...)` and `new Scorer(...)`. */
export const embedded = () => beside("./embedded.bundle");

/** The bytes of a bundle's file, `url` being a path or a file: address. */
export async function fetchBundle(url, onProgress) {
  const bytes = await readFile(url);
  onProgress?.(bytes.length, bytes.length);
  return bytes;
}

function thread() {
  const worker = new Worker(new URL("./pool-node.js", import.meta.url));
  const one = new Thread((message) => worker.postMessage(message), () => worker.terminate());
  worker.on("message", (answer) => one.hear(answer));
  worker.on("error", (error) => one.end(error));
  return one;
}

const compile = async (module) =>
  module instanceof WebAssembly.Module ? module : WebAssembly.compile(await bytesOf(module));

/** A labeler on several threads, for bundles with a transformer. */
export const LabelerPool = poolOver(thread, compile);
