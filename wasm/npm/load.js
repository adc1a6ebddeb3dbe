// The module in a page or a worker: checks what it needs of the browser, then loads it. Everything else is `wasm.js`.

import { hasRelaxedVectors, hasVectors } from "./engine.js";
import { Thread, poolOver } from "./pool.js";
import initialize from "./wasm.js";

export * from "./wasm.js";

/** Whether this browser runs the module. */
export const supported = hasVectors;

/** Where the module for this browser lies. (Bundlers look for these very expressions.) */
const beside = () =>
  hasRelaxedVectors() ? new URL("./wasm_relaxed_bg.wasm", import.meta.url) : new URL("./wasm_bg.wasm", import.meta.url);

/** Loads the module; call it once, before anything else. `module` is where another one than the browser's lies, or its bytes. */
export async function load(module = beside()) {
  if (!supported()) {
    throw new Error(
      "This browser has no WebAssembly with 128-bit vectors (simd128), which the scorer is made of. " +
        "Chrome 91, Firefox 89 and Safari 16.4, or later ones, have it.",
    );
  }
  await initialize({ module_or_path: module });
}

/** The bytes of a bundle's file; `onProgress(done, total)` as they arrive, `total` null where it is not known. */
export async function fetchBundle(url, onProgress) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}`);
  // Compressed on the way, the length is that of what travels.
  const length = answer.headers.get("content-encoding") ? null : answer.headers.get("content-length");
  return readAll(answer.body, length === null ? null : Number(length), onProgress);
}

/** The bytes of a stream, of which there are `total` if that is known. */
export async function readAll(stream, total, onProgress) {
  const pieces = [];
  let done = 0;
  onProgress?.(0, total);
  for (const reader = stream.getReader(); ; ) {
    const { value, done: ended } = await reader.read();
    if (ended) break;
    pieces.push(value);
    done += value.length;
    onProgress?.(done, total);
  }
  const bytes = new Uint8Array(done);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** The bytes of the bundle that `graded` calls `embedded`: for `new Labeler(...)` and `new Scorer(...)`. */
export const embedded = (onProgress) => fetchBundle(new URL("./embedded.bundle", import.meta.url), onProgress);

function thread() {
  const worker = new Worker(new URL("./pool-web.js", import.meta.url), { type: "module" });
  const one = new Thread((message) => worker.postMessage(message), () => worker.terminate());
  worker.onmessage = ({ data }) => one.hear(data);
  worker.onerror = (event) => one.end(new Error(event.message || "pool-web.js could not be loaded"));
  return one;
}

async function compile(module = beside()) {
  if (module instanceof WebAssembly.Module) return module;
  const bytes = module instanceof URL || typeof module === "string" ? await (await fetch(module)).arrayBuffer() : module;
  return WebAssembly.compile(bytes);
}

/** A labeler on several threads, for bundles with a transformer. */
export const LabelerPool = poolOver(thread, compile);
