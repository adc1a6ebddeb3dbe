// The module in node: read from beside this file, with the same calls as in a page.

import { readFile } from "node:fs/promises";

import { initSync } from "./wasm.js";

export * from "./wasm.js";

const beside = (name) => readFile(new URL(name, import.meta.url));

/** Whether this engine runs the module; every node that package.json allows does. */
export const supported = () => true;

/** Loads the module; call it once, before anything else. */
export async function load(module) {
  initSync({ module: module ?? (await beside("./wasm_bg.wasm")) });
}

/** The bytes of the bundle that `graded` calls `embedded`: for `new Labeler(...)` and `new Scorer(...)`. */
export const embedded = () => beside("./embedded.bundle");
