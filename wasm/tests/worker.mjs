// The same in a worker.

import initialize, * as graded from "../web/wasm.js";
import { answers } from "./cases.mjs";

const files = await (await fetch("../files.json")).json();
const bundle = new Uint8Array(await (await fetch("../embedded.bundle")).arrayBuffer());
await initialize();
postMessage(answers(graded, bundle, files));
