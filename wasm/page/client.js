// The page's side of the worker: questions as promises.

export class Client {
  #worker;
  #waiting = new Map();
  #next = 0;

  /** `onEvent.progress(...)` and `onEvent.loading(...)`; `onTrap(error)` when the worker had to be given up. */
  constructor(onEvent, onTrap) {
    this.onEvent = onEvent;
    this.onTrap = onTrap;
    this.#begin();
  }

  #begin() {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => this.#giveUp(new Error(event.message || "The worker could not be loaded."));
  }

  #hear({ id, event, result, error, ...rest }) {
    if (event) return this.onEvent[event](rest);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (!error) return waiting?.resolve(result);
    waiting?.reject(Object.assign(new Error(error.message), { header: error.header }));
    if (error.isTrap) this.#giveUp(new Error(error.message));
  }

  #giveUp(error) {
    this.#worker.terminate();
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#begin();
    waiting.forEach(({ reject }) => reject(error));
    this.onTrap(error);
  }

  ask(call, ...args) {
    const id = (this.#next += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, call, args });
    });
  }
}
