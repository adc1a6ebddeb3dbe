// What the native side says to the same cases: the `graded` binary, and `examples/scores.rs` for single vectors.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { PAIRS, SAMPLE_DEPTH, agreements, evaluations, labelPairs, pairTexts, texts } from "./cases.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Where the native programs lie; GRADED_BUILD names another folder, of a release for instance. */
const built = process.env.GRADED_BUILD ?? join(root, "target", "debug");

/** A path of the checkout. */
export const at = (...parts) => join(root, ...parts);

function call(program, args, options = {}) {
  const done = spawnSync(program, args, { encoding: "utf8", maxBuffer: 1 << 30, env: { ...process.env, GRADED_RUNS: "off" }, ...options });
  if (done.error) throw new Error(`${program}: ${done.error.message}`);
  if (done.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

/** Runs `work` in a folder that is gone afterwards. */
function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), "graded-wasm-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const graded = (args, options) => call(join(built, "graded"), args, options);

/** The embedded encoder's run over the sample: its text, and its lines as `query document score`. */
function sampleRun(device) {
  return inFolder((folder) => {
    const file = join(folder, "sample.run");
    const depth = ["--depth", String(SAMPLE_DEPTH)];
    graded(["evaluate", "--dataset", "sample", "--encoder", "embedded", ...depth, "--save-run", file, "--device", device]);
    return readFileSync(file, "utf8");
  });
}

/** The repository's files that the cases need. */
export function sampleFiles() {
  const read = (name) => readFileSync(at("datasets", "sample", name), "utf8");
  return {
    sampleCorpus: read("corpus.jsonl"),
    sampleQueries: read("queries.jsonl"),
    sampleQrels: read(join("qrels", "test.tsv")),
    sampleRun: sampleRun("simd"),
    transformers: transformers(),
  };
}

const TINY = at("harness", "scorer", "tests", "fixtures", "tiny_bert");

/** Pairs that MiniLM scores, where it is at hand: enough for every length, few enough for a crowded machine. */
const MINILM_PAIRS = 48;

/** A file that the command line writes, as base64. */
function written(...args) {
  return inFolder((folder) => {
    const file = join(folder, "transformer.bundle");
    graded(["--quiet", "model", ...args, "--out", file]);
    return readFileSync(file).toString("base64");
  });
}

/** Transformers as base64, in floats and with weights of 8 and of 7 bits (which the relaxed module multiplies another way), and
 * how many pairs each scores. MiniLM in floats would be 91 MB for a browser to be handed: it is left out. */
function transformers() {
  const minilm = process.env.GRADED_MINILM;
  const wanted = [{ from: TINY, pairs: PAIRS }];
  if (minilm) wanted.push({ from: minilm, pairs: MINILM_PAIRS });
  const quantized = wanted.flatMap(({ from, pairs }) => ["8", "7"].map((bits) =>
    ({ bundle: written("quantize", from, "--weight-bits", bits), pairs })));
  return [{ bundle: written("export", TINY), pairs: PAIRS }, ...quantized];
}

/** Their scores natively, on one thread and on two. */
function pairScores({ bundle, pairs }) {
  return inFolder((folder) => {
    const file = join(folder, "transformer.bundle");
    writeFileSync(file, Buffer.from(bundle, "base64"));
    const input = JSON.stringify(pairTexts(pairs));
    const plain = pairs === PAIRS ? ["scalar"] : [];
    return [1, 2].map((threads) => JSON.parse(call(join(built, "examples", "pair_scores"), [file, ...plain], {
      input, env: { ...process.env, RAYON_NUM_THREADS: String(threads) },
    })));
  });
}

function evaluation(folder, { qrels, run, measures, options = {} }) {
  writeFileSync(join(folder, "qrels"), qrels);
  writeFileSync(join(folder, "run"), run);
  const flags = ["--measures", measures, "--per-query", "--format", "json"];
  if (options.ties) flags.push("--ties", options.ties);
  if (options.intersect) flags.push("--intersect");
  return graded(["evaluate", "--qrels", "qrels", "--run", "run", ...flags], { cwd: folder });
}

function agreement(folder, { name, pairs, columns, resamples, seed }) {
  writeFileSync(join(folder, name), pairs);
  const named = Object.entries(columns).flatMap(([role, column]) => [`--${role}`, column]);
  const flags = ["--resamples", String(resamples), "--seed", String(seed), "--format", "json"];
  return graded(["agree", "--pairs", name, ...named, ...flags], { cwd: folder });
}

function labels(folder, threads) {
  writeFileSync(join(folder, "labels.jsonl"), labelPairs());
  const flags = ["--labeler", "embedded", "--threads", String(threads), "--format", "json", "--quiet"];
  return graded(["agree", "--pairs", "labels.jsonl", ...flags], { cwd: folder });
}

/** The native answers, in the order and form of `answers` in cases.mjs. */
export function nativeAnswers(files) {
  return inFolder((folder) => ({
    evaluations: evaluations(files).map((one) => evaluation(folder, one)),
    agreements: agreements().map((one) => agreement(folder, one)),
    scores: JSON.parse(call(join(built, "examples", "scores"), [], { input: JSON.stringify(texts()) })),
    transformers: files.transformers.map(pairScores),
    labels: [1, 2].map((threads) => labels(folder, threads)),
    sampleRun: Object.fromEntries(["scalar", "simd"].map((device) => [device, sampleRun(device)])),
  }));
}

/** Pretty-printed JSON on one line, its numbers as they stand. */
export const compact = (json) =>
  json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_, text) => text ?? "");
