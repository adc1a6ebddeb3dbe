// The same in a worker, with the module that its address names.

import initialize, * as graded from "../web/wasm.js";
import { answers } from "./cases.mjs";

const files = await (await fetch("../files.json")).json();
const bundle = new Uint8Array(await (await fetch("../embedded.bundle")).arrayBuffer());
await initialize({ module_or_path: new URL(`../web/${self.location.search.slice(1)}`, import.meta.url) });
postMessage(answers(graded, bundle, files));
