// Times graded's Wasm module and onnxruntime-web on the same texts, in turns, in one thread of node. See README.md.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    package: { type: "string", default: fileURLToPath(new URL("../../../target/wasm/npm", import.meta.url)) },
    bundle: { type: "string" },
    model: { type: "string" },
    graph: { type: "string" },
    lengths: { type: "string", default: "32,128,256" },
    rounds: { type: "string", default: "7" },
    first: { type: "string" },
    labeler: { type: "string" },
    short: { type: "string", default: fileURLToPath(new URL("../../../datasets/sample/corpus.jsonl", import.meta.url)) },
  },
});

/** Texts encoded at once. */
const TEXTS = 8;
/** Short texts that the static encoder is timed over, and the words of each. */
const SHORT_TEXTS = 6000;
const SHORT_WORDS = 6;
/** Pairs that one labeler and a pool of two threads label, of this many tokens together. */
const PAIRS = 64;
const PAIR_TOKENS = 128;
/** How close the vectors must be before a time counts. */
const LEAST_COSINE = 0.95;
/** Words that are one token each. */
const WORDS = (
  "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you " +
  "were all her she there would their we him been has when who will no more if out so up said what its about than into them " +
  "can only other time new some could these two may first then do any like my now over such our man me even most made after"
).split(" ");

/** `count` texts of `length` tokens, the model's two own among them. */
function textsOf(length, count) {
  return Array.from({ length: count }, (_, text) =>
    Array.from({ length: length - 2 }, (_, at) => WORDS[(text * 31 + at * 7 + ((at * at) >> 3)) % WORDS.length]).join(" "));
}

async function graded() {
  return gradedWith(flags.bundle);
}

async function gradedWith(bundle) {
  const { Scorer, load } = await import(pathToFileURL(join(resolve(flags.package), "node.js")));
  await load();
  const scorer = new Scorer(readFileSync(bundle));
  return (texts) => scorer.encode(texts, "document");
}

/** The engine and tokenizer of transformers.js in a page: in node it would take a native engine instead. */
async function onnxruntime() {
  const { AutoTokenizer, env } = await import("@huggingface/transformers");
  const ort = await import("onnxruntime-web");
  Object.assign(env, { allowRemoteModels: false, localModelPath: dirname(resolve(flags.model)) });
  ort.env.wasm.numThreads = 1;
  const tokenizer = await AutoTokenizer.from_pretrained(basename(resolve(flags.model)));
  const session = await ort.InferenceSession.create(readFileSync(flags.graph), { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  return async (texts) => {
    const { input_ids, attention_mask } = tokenizer(texts, { padding: true });
    const [rows, length] = input_ids.dims;
    const tensor = ({ data }) => new ort.Tensor("int64", data, [rows, length]);
    const answer = await session.run({ input_ids: tensor(input_ids), attention_mask: tensor(attention_mask) });
    const { data, dims } = answer[session.outputNames[0]];
    return means(data, rows, length, dims[2]);
  };
}

/** Means over tokens of `rows x length x width` values, scaled to length 1; the texts are of one length. */
function means(hidden, rows, length, width) {
  const vectors = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const vector = vectors.subarray(row * width, (row + 1) * width);
    for (let at = row * length; at < (row + 1) * length; at++) {
      for (let c = 0; c < width; c++) vector[c] += hidden[at * width + c];
    }
    const norm = Math.hypot(...vector);
    for (let c = 0; c < width; c++) vector[c] /= norm;
  }
  return vectors;
}

const entrants = { graded, "onnxruntime-web": onnxruntime };

async function cpuSeconds(work) {
  const begun = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
const digits = (value) => value.toFixed(value < 10 ? 2 : 1);

const HEAD = "what,tokens,unit,graded,onnxruntime_web,ratio_min,ratio_median,ratio_max,least_cosine";

/** A line of the table; `ratios` are times of the peer over ours. */
function line(what, tokens, unit, sides, ratios, cosine) {
  const sorted = [...ratios].sort((a, b) => a - b);
  const spread = sorted.length ? [sorted[0], median(sorted), sorted.at(-1)].map(digits) : ["", "", ""];
  const [ours, theirs] = sides.map((side) => (side === undefined ? "" : digits(side)));
  console.log([what, tokens, unit, ours, theirs ?? "", ...spread, cosine === undefined ? "" : digits(cosine)].join(","));
}

/** In a process of its own: from the first import to the first vector. */
async function first(name) {
  const begun = performance.now();
  const cpu = await cpuSeconds(async () => (await entrants[name]())(textsOf(32, 1)));
  console.log(JSON.stringify({ cpu, wall: (performance.now() - begun) / 1000 }));
}

function leastCosine(left, right) {
  const width = left.length / TEXTS;
  const dots = Array.from({ length: TEXTS }, (_, row) => {
    let sum = 0;
    for (let at = row * width; at < (row + 1) * width; at++) sum += left[at] * right[at];
    return sum;
  });
  return Math.min(...dots);
}

async function throughput(rounds) {
  const [ours, theirs] = [await graded(), await onnxruntime()];
  for (const length of flags.lengths.split(",").map(Number)) {
    const texts = textsOf(length, TEXTS);
    const cosine = leastCosine(ours(texts), await theirs(texts));
    if (!(cosine >= LEAST_COSINE)) throw new Error(`${length} tokens: the least cosine is ${cosine}`);
    const times = [];
    for (let round = 0; round < rounds; round++) {
      times.push([await cpuSeconds(() => ours(texts)), await cpuSeconds(() => theirs(texts))]);
    }
    const rates = [0, 1].map((side) => TEXTS / median(times.map((pair) => pair[side])));
    line("encode", length, "texts/s", rates, times.map(([our, their]) => their / our), cosine);
  }
}

function firstScores(rounds) {
  const once = (name) => {
    const done = spawnSync(process.execPath, [...process.argv.slice(1), "--first", name], { encoding: "utf8" });
    if (done.status !== 0) throw new Error(done.stderr);
    return JSON.parse(done.stdout.trim().split("\n").at(-1));
  };
  const times = Array.from({ length: rounds }, () => Object.keys(entrants).map(once));
  for (const clock of ["cpu", "wall"]) {
    const sides = [0, 1].map((side) => median(times.map((pair) => pair[side][clock])));
    line("first vector", 32, `${clock} seconds`, sides, times.map(([our, their]) => their[clock] / our[clock]));
  }
}

/** The embedded bundle over short texts, the sample's documents in pieces of some words; it has no peer here. */
async function staticTexts(rounds) {
  const encode = await gradedWith(join(resolve(flags.package), "embedded.bundle"));
  const documents = readFileSync(flags.short, "utf8").trim().split("\n").map((text) => JSON.parse(text).text);
  const pieces = documents.flatMap((text) => text.split(/\s+/).map((_, at, words) =>
    (at % SHORT_WORDS ? undefined : words.slice(at, at + SHORT_WORDS).join(" "))).filter((piece) => piece));
  const texts = Array.from({ length: SHORT_TEXTS }, (_, at) => pieces[at % pieces.length]);
  encode(texts);
  const times = [];
  for (let round = 0; round < rounds; round++) times.push(await cpuSeconds(() => encode(texts)));
  line("static", "", "texts/s", [SHORT_TEXTS / median(times)], []);
}

/** A labeler in one thread beside a pool of two over the same pairs, in turns, on the clock. */
async function twoThreads(rounds) {
  const { Labeler, LabelerPool, load } = await import(pathToFileURL(join(resolve(flags.package), "node.js")));
  await load();
  const bundle = readFileSync(flags.labeler);
  const one = new Labeler(bundle);
  const two = await LabelerPool.open(bundle, { threads: 2 });
  const documents = textsOf(PAIR_TOKENS - 7, PAIRS);
  const queries = documents.map((text) => text.split(" ").slice(0, 6).join(" "));
  const ones = JSON.parse(one.label(queries, documents));
  const twos = await two.label(queries, documents);
  if (JSON.stringify(ones) !== JSON.stringify(twos)) throw new Error("the pool's labels are others than one labeler's");
  const wallSeconds = async (work) => {
    const begun = performance.now();
    await work();
    return (performance.now() - begun) / 1000;
  };
  const times = [];
  for (let round = 0; round < rounds; round++) {
    times.push([await wallSeconds(() => two.label(queries, documents)), await wallSeconds(() => one.label(queries, documents))]);
  }
  two.close();
  const rates = [0, 1].map((side) => PAIRS / median(times.map((pair) => pair[side])));
  console.log("what,tokens,unit,two_threads,one_thread,ratio_min,ratio_median,ratio_max");
  const sorted = times.map(([pool, alone]) => alone / pool).sort((a, b) => a - b);
  console.log(["label", PAIR_TOKENS, "pairs/s", ...rates, sorted[0], median(sorted), sorted.at(-1)]
    .map((cell) => (typeof cell === "number" && cell !== PAIR_TOKENS ? digits(cell) : cell)).join(","));
}

if (flags.labeler) {
  await twoThreads(Number(flags.rounds));
} else if (flags.first) {
  await first(flags.first);
} else {
  const rounds = Number(flags.rounds);
  console.log(HEAD);
  await throughput(rounds);
  firstScores(rounds);
  await staticTexts(rounds);
}
