// The module in node.

import { createRequire } from "node:module";

import { answers } from "./cases.mjs";
import { at } from "./native.mjs";
import { sameAsNative } from "./same.mjs";

const graded = createRequire(import.meta.url)(at("target", "wasm", "node", "wasm.js"));

sameAsNative("node", (files) => answers(graded, files));
