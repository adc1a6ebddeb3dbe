// Labels on several threads. WebAssembly threads over shared memory need a standard library built with atomics, which
// the stable compiler does not bring: so every thread here has a module and a labeler of its own, and whoever is free
// takes the next pairs. A label depends on its pair alone: neither the threads nor their order change a bit.

/** Pairs handed to a thread at a time: enough to hide the messages, few enough that all threads end together. */
const PIECE = 16;

/** `LabelerPool`, over a platform's threads: `thread()` starts one, `compile(module)` gives what each of them loads. */
export const poolOver = (thread, compile) => class LabelerPool {
  #threads;
  #free;
  #waiting = [];
  #broken = null;

  constructor(threads, about) {
    this.#threads = threads;
    this.#free = [...threads];
    Object.assign(this, about);
  }

  /** Starts `threads` threads with the labeler of a bundle; what is wrong with the bundle is thrown. */
  static async open(bundle, { threads = globalThis.navigator?.hardwareConcurrency ?? 2, module } = {}) {
    if (!Number.isInteger(threads) || threads < 1) throw new RangeError(`LabelerPool: ${threads} threads; expected 1 or more`);
    const compiled = await compile(module);
    const started = Array.from({ length: threads }, thread);
    try {
      const [about] = await Promise.all(started.map((one) => one.ask({ module: compiled, bundle })));
      return new LabelerPool(started, { ...about, threads });
    } catch (error) {
      started.forEach((one) => one.end());
      throw error;
    }
  }

  /** The labels of the pairs `queries[i]`, `documents[i]`, in order; `onProgress(done, total)` after every piece. */
  async label(queries, documents, onProgress) {
    const total = queries.length;
    if (documents.length !== total) throw new Error(`label: ${total} queries for ${documents.length} documents`);
    const starts = Array.from({ length: Math.ceil(total / PIECE) }, (_, at) => at * PIECE);
    let done = 0;
    const pieces = starts.map(async (start) => {
      const end = Math.min(start + PIECE, total);
      const labels = await this.#ask({ queries: queries.slice(start, end), documents: documents.slice(start, end) });
      done += end - start;
      onProgress?.(done, total);
      return labels;
    });
    return (await Promise.all(pieces)).flat();
  }

  /** Ends the threads; labels under way are not given any more. */
  close() {
    this.#broken ??= new Error("LabelerPool: closed");
    this.#threads.forEach((one) => one.end(this.#broken));
    this.#waiting.splice(0).forEach(({ reject }) => reject(this.#broken));
  }

  async #ask(question) {
    if (this.#broken) throw this.#broken;
    const one = this.#free.pop() ?? (await new Promise((resolve, reject) => this.#waiting.push({ resolve, reject })));
    try {
      return await one.ask(question);
    } finally {
      const next = this.#waiting.shift();
      if (next) next.resolve(one);
      else this.#free.push(one);
    }
  }
};

/** A thread that answers one question at a time, over a platform's `post(message)` and `stop()`. */
export class Thread {
  #waiting = null;
  #failed = null;

  constructor(post, stop) {
    this.post = post;
    this.stop = stop;
  }

  ask(question) {
    return new Promise((resolve, reject) => {
      if (this.#failed) return reject(this.#failed);
      this.#waiting = { resolve, reject };
      this.post(question);
    });
  }

  /** What the platform calls with an answer, `{result}` or `{error}`. */
  hear({ result, error }) {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (error) waiting?.reject(new Error(error));
    else waiting?.resolve(result);
  }

  /** Ends it; whatever it is asked, then and later, is answered with the error. */
  end(error = new Error("LabelerPool: a thread ended")) {
    this.#failed = error;
    this.hear({ error: error.message });
    this.stop();
  }
}

/** What runs in a thread: questions to answers, over a platform's `load` and `Labeler`. */
export function answering(load, Labeler) {
  let labeler;
  return async ({ module, bundle, queries, documents }) => {
    try {
      if (module) {
        await load(module);
        labeler = new Labeler(bundle);
        return { result: { digest: labeler.digest, scale: labeler.scale, cuts: labeler.cuts } };
      }
      return { result: JSON.parse(labeler.label(queries, documents)) };
    } catch (error) {
      return { error: `${error.message ?? error}` };
    }
  };
}
