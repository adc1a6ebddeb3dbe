// One thread of a `LabelerPool` in node.

import { parentPort } from "node:worker_threads";

import { Labeler, load } from "./node.js";
import { answering } from "./pool.js";

const answer = answering(load, Labeler);
parentPort.on("message", async (question) => parentPort.postMessage(await answer(question)));
