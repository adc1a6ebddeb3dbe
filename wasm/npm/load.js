// The module in a page or a worker: checks what it needs of the browser, then loads it. Everything else is `wasm.js`.

import initialize from "./wasm.js";

export * from "./wasm.js";

/** A module of one function that returns a 128-bit vector: valid only where there is simd128. */
const VECTOR_PROBE = Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // the magic number and version 1
  0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, // a type: () -> v128
  0x03, 0x02, 0x01, 0x00, // a function of it
  0x0a, 0x16, 0x01, 0x14, 0x00, 0xfd, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b, // v128.const 0
);

/** Whether this browser runs the module. */
export const supported = () => typeof WebAssembly === "object" && WebAssembly.validate(VECTOR_PROBE);

/** Loads the module; call it once, before anything else. `module` is where `wasm_bg.wasm` lies, or its bytes. */
export async function load(module = new URL("./wasm_bg.wasm", import.meta.url)) {
  if (!supported()) {
    throw new Error(
      "This browser has no WebAssembly with 128-bit vectors (simd128), which the scorer is made of. " +
        "Chrome 91, Firefox 89 and Safari 16.4, or later ones, have it.",
    );
  }
  await initialize({ module_or_path: module });
}

/** The bytes of the bundle that `graded` calls `embedded`: for `new Labeler(...)` and `new Scorer(...)`. */
export async function embedded() {
  const answer = await fetch(new URL("./embedded.bundle", import.meta.url));
  if (!answer.ok) throw new Error(`embedded.bundle: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}
