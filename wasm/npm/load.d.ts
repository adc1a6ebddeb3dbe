export * from "./wasm.js";
/** Whether this browser runs the module: WebAssembly with simd128. */
export function supported(): boolean;
/** Loads the module; call it once, before anything else. */
export function load(module?: URL | string | BufferSource | WebAssembly.Module): Promise<void>;
/** How much has arrived, in bytes; `total` is null where it is not known. */
export type OnProgress = (done: number, total: number | null) => void;
/** The bytes of the bundle that `graded` calls `embedded`, for `new Labeler(...)` and `new Scorer(...)`. */
export function embedded(onProgress?: OnProgress): Promise<Uint8Array>;
/** The bytes of a bundle's file: by address in a page, by path in node. */
export function fetchBundle(url: URL | string, onProgress?: OnProgress): Promise<Uint8Array>;
/** What a labeler says of a pair. */
export interface Label {
  grade: number;
  score: number;
  distribution: number[];
}
/** A labeler on several threads, each with a module of its own; the labels are those of one `Labeler`, bit for bit. */
export class LabelerPool {
  private constructor();
  /** Starts the threads (as many as the processor has, unless said); throws what is wrong with the bundle. */
  static open(
    bundle: Uint8Array,
    options?: { threads?: number; module?: URL | string | BufferSource | WebAssembly.Module },
  ): Promise<LabelerPool>;
  readonly threads: number;
  /** As `Labeler` has them. */
  readonly digest: string;
  readonly scale: string;
  readonly cuts: Float64Array;
  /** The labels of the pairs `queries[i]`, `documents[i]`, in order. */
  label(queries: string[], documents: string[], onProgress?: (done: number, total: number) => void): Promise<Label[]>;
  /** Ends the threads. */
  close(): void;
}
