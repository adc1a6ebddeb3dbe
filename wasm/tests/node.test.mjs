// The module in node.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { answers } from "./cases.mjs";
import { at } from "./native.mjs";
import { sameAsNative } from "./same.mjs";

const graded = createRequire(import.meta.url)(at("target", "wasm", "node", "wasm.js"));

const bundle = readFileSync(at("target", "wasm", "npm", "embedded.bundle"));

sameAsNative("node", (files) => answers(graded, bundle, files));
