// The module in node, and the one with relaxed vector instructions where node has them: from version 22 on, before that
// behind a flag that is set here.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setFlagsFromString } from "node:v8";

import { hasRelaxedVectors } from "../npm/engine.js";
import { answers } from "./cases.mjs";
import { at } from "./native.mjs";
import { sameAsNative } from "./same.mjs";

const load = (folder) => createRequire(import.meta.url)(at("target", "wasm", folder, "wasm.js"));

const bundle = readFileSync(at("target", "wasm", "npm", "embedded.bundle"));

sameAsNative("node", (files) => answers(load("node"), bundle, files));

if (!hasRelaxedVectors()) setFlagsFromString("--experimental-wasm-relaxed-simd");
if (hasRelaxedVectors()) sameAsNative("node, relaxed", (files) => answers(load("node-relaxed"), bundle, files));
else console.log("the relaxed module is not tested in node: this one has no relaxed vector instructions");
