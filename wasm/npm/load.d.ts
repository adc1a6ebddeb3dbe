export * from "./wasm.js";
/** Whether this browser runs the module: WebAssembly with simd128. */
export function supported(): boolean;
/** Loads the module; call it once, before anything else. */
export function load(module?: URL | string | BufferSource | WebAssembly.Module): Promise<void>;
/** The bytes of the bundle that `graded` calls `embedded`, for `new Labeler(...)` and `new Scorer(...)`. */
export function embedded(): Promise<Uint8Array>;
