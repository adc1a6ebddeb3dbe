// One thread of a `LabelerPool` in a page.

import { Labeler, load } from "./load.js";
import { answering } from "./pool.js";

const answer = answering(load, Labeler);
onmessage = async ({ data }) => postMessage(await answer(data));
