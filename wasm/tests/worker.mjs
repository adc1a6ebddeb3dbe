// The same in a worker.

import initialize, * as graded from "../web/wasm.js";
import { answers } from "./cases.mjs";

const files = await (await fetch("../files.json")).json();
await initialize();
postMessage(answers(graded, files));
