// Answers in the page itself, in a worker and in one with the relaxed module, and posts all to the server that waits.

import initialize, * as graded from "../web/wasm.js";
import { answers } from "./cases.mjs";

function fromWorker(module) {
  const worker = new Worker(new URL(`worker.mjs?${module}`, import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(`worker: ${event.message ?? "could not be loaded"}`));
  });
}

async function everything() {
  const files = await (await fetch("../files.json")).json();
  const bundle = new Uint8Array(await (await fetch("../embedded.bundle")).arrayBuffer());
  await initialize();
  return {
    page: answers(graded, bundle, files),
    worker: await fromWorker("wasm_bg.wasm"),
    relaxed: await fromWorker("wasm_relaxed_bg.wasm"),
  };
}

const post = (body) => fetch("../answers", { method: "POST", body: JSON.stringify(body) });
everything().then(post, (error) => post({ failed: `${error.stack ?? error}` }));
