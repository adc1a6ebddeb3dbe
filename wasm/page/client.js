// The page's side of the worker: questions as promises.

/** What was asked of what is open no longer: nobody waits for the answer. */
export class Moot extends Error {}

export class Client {
  #worker;
  #waiting = new Map();
  #next = 0;
  /** What is open, counted by the worker. */
  #generation = 0;
  #hasAnswered = false;
  #lost = null;

  /** `onEvent.progress(...)` and `onEvent.loading(...)`; `onTrap(error)` when the worker had to be given up. */
  constructor(onEvent, onTrap) {
    this.onEvent = onEvent;
    this.onTrap = onTrap;
    this.#begin();
  }

  #begin() {
    this.#generation = 0;
    this.#hasAnswered = false;
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => this.#giveUp(new Error(event.message || "the worker ended"));
  }

  #hear({ id, generation, event, result, error, ...rest }) {
    this.#hasAnswered = true;
    if (event) return this.onEvent[event](rest);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#generation = generation;
    if (error?.isTrap) {
      waiting?.reject(new Error(error.message));
      this.#giveUp(new Error(error.message));
    } else if (error?.isMoot || (waiting?.asked ?? generation) !== generation) waiting?.reject(new Moot());
    else if (error) waiting?.reject(Object.assign(new Error(error.message), { header: error.header }));
    else waiting?.resolve(result);
  }

  #giveUp(error) {
    this.#worker.terminate();
    // One that never said anything could not be loaded, and another one could not either.
    if (!this.#hasAnswered) this.#lost = error = new Error("The scorer could not be loaded. Load the page again when the server is there.");
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    if (!this.#lost) this.#begin();
    waiting.forEach(({ reject }) => reject(error));
    if (!this.#lost) this.onTrap(error);
  }

  #send(asked, call, args) {
    const id = (this.#next += 1);
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost);
      this.#waiting.set(id, { resolve, reject, asked });
      this.#worker.postMessage({ id, generation: asked, call, args });
    });
  }

  /** Asks of what is open; `Moot` where that is another by the time of the answer. */
  ask(call, ...args) {
    return this.#send(this.#generation, call, args);
  }

  /** Opens something, or asks of nothing that is open. */
  open(call, ...args) {
    return this.#send(undefined, call, args);
  }
}
