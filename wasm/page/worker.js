// Everything that computes: the module, the labeler and the pairs live in this worker, and the page asks. A question is
// `{id, call, args}`; the answer `{id, result}` or `{id, error}`; on the way come `{event: "progress", done, total}` of
// labelling and `{event: "loading", name, done, total}` of a bundle's bytes.

import { Labeler, LabelerPool, Pairs, Retriever, Scorer, embedded, load, readAll } from "./load.js";

/** Larger files are left to the native binary: parsed, they would not fit into a tab. */
const LARGEST_FILE_BYTES = 400e6;
const LARGEST_BUNDLE_BYTES = 200e6;
/** A piece of labelling takes about this long; a cancel waits no longer. */
const PIECE_MILLISECONDS = 40;
/** What would take longer is shared among threads, at most so many: each holds the bundle once more. */
const ALONE_MILLISECONDS = 5000;
const MOST_THREADS = 8;
/** Pairs a thread has before it at a time; twice as many labels are lost to a cancel. */
const PAIRS_A_THREAD = 16;
const BINS = { calibration: 10, histogram: 48 };

let labeler, pairs, corpus;
/** The promise of a `LabelerPool` of the same bundle, once it was worth it. */
let pool = null;
let bundle = { name: "embedded", bytes: null };
let retriever;
let run = 0;
let cuts = null;

const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;

/** Lets messages in between two pieces of work. */
const channel = new MessageChannel();
const turn = () => new Promise((resolve) => {
  channel.port1.onmessage = resolve;
  channel.port2.postMessage(null);
});

/** Says how much of a bundle is there, at most once in 40 ms. */
const loading = (name) => {
  let said = -Infinity;
  return (done, total) => {
    if (done !== total && performance.now() - said < PIECE_MILLISECONDS) return;
    said = performance.now();
    postMessage({ event: "loading", name, done, total });
  };
};

async function bytesOf(file, limit, instead, onProgress) {
  if (file.size > limit) {
    throw new Error(`${file.name}: ${megabytes(file.size)} are more than the ${megabytes(limit)} this page reads; ${instead}`);
  }
  return readAll(file.stream(), file.size, onProgress);
}

const fetched = async (name) => {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
};

function take(name, bytes) {
  const loaded = new Labeler(bytes);
  labeler?.free();
  retriever?.free();
  closePool();
  // What the labeler before said of them is not this one's.
  pairs?.unlabel();
  retriever = undefined;
  labeler = loaded;
  bundle = { name, bytes };
  cuts = null;
  run += 1;
  return about();
}

function closePool() {
  pool?.then((open) => open.close(), () => {});
  pool = null;
}

/** Labels the rest on several threads, in the order of the file: two portions under way, so that no thread waits. */
async function labelOnThreads(mine) {
  pool ??= LabelerPool.open(bundle.bytes, { threads: Math.min(navigator.hardwareConcurrency, MOST_THREADS) });
  const { threads, digest } = await pool.then((open) => open, () => ({ threads: 0 }));
  // Workers that cannot be had: the labels come from this thread, as before.
  if (threads === 0) return false;
  const portion = threads * PAIRS_A_THREAD;
  const underWay = [];
  let next = pairs.labeled;
  while (mine === run && pairs.labeled < pairs.length) {
    while (underWay.length < 2 && next < pairs.length) {
      const texts = pairs.texts(next, portion);
      const labels = (await pool).label(texts.filter((_, at) => at % 2 === 0), texts.filter((_, at) => at % 2 === 1));
      // Left behind by a cancel, it may fail unheard.
      labels.catch(() => {});
      underWay.push(labels);
      next += portion;
    }
    const labels = await underWay.shift();
    if (mine !== run) return true;
    pairs.takeLabels(
      digest,
      Int32Array.from(labels, ({ grade }) => grade),
      Float64Array.from(labels, ({ score }) => score),
      Float64Array.from(labels.flatMap(({ distribution }) => distribution)),
    );
    postMessage({ event: "progress", done: pairs.labeled, total: pairs.length });
  }
  return true;
}

const about = () => ({
  name: bundle.name,
  bytes: bundle.bytes.length,
  digest: labeler.digest,
  scale: JSON.parse(labeler.scale),
  cuts: Array.from(labeler.cuts),
});

function show(opened, name, size) {
  pairs?.free();
  pairs = opened;
  cuts = null;
  run += 1;
  let textless = null;
  try {
    pairs.requireTexts();
  } catch (error) {
    textless = error.message;
  }
  return { name, size, length: pairs.length, columns: JSON.parse(pairs.columns), queries: JSON.parse(pairs.queries()), textless };
}

/** What a call throws, with the columns of a file that was not understood: the page then asks which is which. */
class Misread extends Error {}

const calls = {
  async start() {
    // Side by side: the bundle arrives while the module is compiled.
    const [bytes] = await Promise.all([embedded(loading("embedded")), load()]);
    return take("embedded", bytes);
  },

  async embeddedBundle() {
    return take("embedded", await embedded(loading("embedded")));
  },

  async openBundle(file) {
    return take(file.name, await bytesOf(file, LARGEST_BUNDLE_BYTES, "no bundle for a browser is that large", loading(file.name)));
  },

  async openSample() {
    corpus ??= await Promise.all(["sample/corpus.jsonl", "sample/queries.jsonl", "sample/judgments.tsv"].map(fetched));
    return show(Pairs.sample(...corpus), "sample", null);
  },

  async openPairs(file, columns) {
    const bytes = await bytesOf(file, LARGEST_FILE_BYTES, "graded agree --pairs FILE --labeler embedded reads files of any size");
    try {
      return show(new Pairs(bytes, file.name, JSON.stringify(columns ?? {})), file.name, file.size);
    } catch (error) {
      let header;
      try {
        header = JSON.parse(Pairs.header(bytes, file.name));
      } catch {
        throw error;
      }
      throw Object.assign(new Misread(error.message), { header });
    }
  },

  /** What a dropped file is, by its first bytes and its name. */
  async kind(file) {
    const start = new TextDecoder().decode(await file.slice(0, 256).arrayBuffer());
    if (start.startsWith("GRADEDBN") || file.name.endsWith(".bundle")) return "bundle";
    if (file.name.endsWith(".json")) return "report";
    return start.startsWith("query_id,doc_id,human,predicted,predicted_score,") ? "labels" : "pairs";
  },

  /** Labels the rest of the pairs; ends early when cancelled. */
  async label() {
    const mine = (run += 1);
    let piece = 8;
    let pieces = 0;
    let alone = navigator.hardwareConcurrency === 1;
    while (mine === run && pairs.labeled < pairs.length) {
      const begun = performance.now();
      pairs.label(labeler, piece);
      const took = performance.now() - begun;
      const millisecondsLeft = (took / piece) * (pairs.length - pairs.labeled);
      if (took < PIECE_MILLISECONDS / 2) piece *= 2;
      else if (took > PIECE_MILLISECONDS * 2 && piece > 1) piece = Math.ceil(piece / 2);
      postMessage({ event: "progress", done: pairs.labeled, total: pairs.length });
      await turn();
      // The first pieces also pay for compiling: they say nothing.
      pieces += 1;
      if (!alone && mine === run && pieces > 2 && millisecondsLeft > ALONE_MILLISECONDS) alone = !(await labelOnThreads(mine));
    }
    if (cuts && mine === run) pairs.regrade(labeler, cuts);
    return { done: pairs.labeled, total: pairs.length, cancelled: mine !== run };
  },

  cancel() {
    run += 1;
  },

  /** Takes the grades that the file predicts. */
  unlabel() {
    run += 1;
    pairs.unlabel();
  },

  /** Everything the page draws of the agreement. */
  summary() {
    const attempt = (work) => {
      try {
        return { value: JSON.parse(work()) };
      } catch (error) {
        return { error: error.message };
      }
    };
    return {
      agreement: attempt(() => pairs.agreement()),
      histogram: JSON.parse(pairs.histogram(BINS.histogram)),
      calibration: JSON.parse(pairs.calibration(labeler, BINS.calibration)),
      ranking: attempt(() => pairs.evaluate("nDCG@10")),
      digest: pairs.scoresDigest,
      labeled: pairs.labeled,
      length: pairs.length,
    };
  },

  /** Moves the cuts (null: the labeler's own) and says how far the grades agree then. */
  regrade(moved) {
    cuts = moved;
    pairs.regrade(labeler, moved ?? undefined);
    return JSON.parse(pairs.agreement());
  },

  select(selection) {
    return pairs.select(JSON.stringify(selection));
  },

  rows(positions) {
    return JSON.parse(pairs.rows(Uint32Array.from(positions)));
  },

  explain(query, document) {
    return JSON.parse(labeler.explain(query, document));
  },

  async search(query, count) {
    corpus ??= await Promise.all(["sample/corpus.jsonl", "sample/queries.jsonl", "sample/judgments.tsv"].map(fetched));
    const lines = new TextDecoder().decode(corpus[0]).split("\n").filter(Boolean);
    const documents = lines.map((line) => JSON.parse(line));
    if (!retriever) {
      const scorer = new Scorer(bundle.bytes);
      const texts = documents.map(({ title, text }) => [title, text].filter(Boolean).join(" "));
      retriever = new Retriever(scorer, texts);
    }
    const hits = retriever.search(query, count);
    const scores = hits.scores;
    return Array.from(hits.documents, (at, rank) => ({ ...documents[at], score: scores[rank] }));
  },

  /** The document of the native command that fits what is shown: with the labeler's own cuts, and other draws if asked. */
  report(resampling) {
    if (pairs.labeled > 0) pairs.regrade(labeler);
    try {
      return pairs.agreement(JSON.stringify(resampling ?? {}));
    } finally {
      if (pairs.labeled > 0 && cuts) pairs.regrade(labeler, cuts);
    }
  },

  async compareLabels(file) {
    return JSON.parse(pairs.compare(await bytesOf(file, LARGEST_FILE_BYTES, "too large to compare here"), file.name));
  },

  csv() {
    return pairs.csv(labeler);
  },
};

onmessage = async ({ data: { id, call, args } }) => {
  try {
    postMessage({ id, result: await calls[call](...args) });
  } catch (error) {
    // A trap leaves the module's memory in no known state: the page starts another worker.
    const isTrap = error instanceof WebAssembly.RuntimeError;
    postMessage({ id, error: { message: `${error.message ?? error}`, header: error.header, isTrap } });
  }
};
