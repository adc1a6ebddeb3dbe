// Everything that computes: the module, the labeler and the pairs live in this worker, and the page asks. A question is
// `{id, generation, call, args}`; the answer `{id, generation, result}` or `{id, generation, error}`; on the way come
// `{event: "progress", done, total}` of labelling and `{event: "loading", name, done, total}` of a bundle's bytes.

import { Labeler, LabelerPool, Pairs, Retriever, Scorer, embedded, load, readAll } from "./load.js";

/** Larger files are left to the native binary: parsed, they would not fit into a tab. */
const LARGEST_FILE_BYTES = 400e6;
const LARGEST_BUNDLE_BYTES = 200e6;
/** What the native binary prints of an agreement is smaller. */
const LARGEST_REPORT_BYTES = 20e6;
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
/** Counts what was opened. What is asked of a former generation is moot; a question without one asks of none. */
let generation = 0;
/** What the page looks at: the grades of the "labeler", or those that the "file" came with. */
let view = "labeler";
/** The file and its columns' names, and its pairs as they came, once these are looked at beside the labeled ones. */
let source = null;
let given = null;
/** Where the cuts were moved to; and by which cuts how many pairs are graded. */
let cuts = null;
let graded = { cuts: null, labeled: 0 };

/** The question is not worth an answer any more. */
class Moot extends Error {}
const latest = { bundle: 0, pairs: 0, view: 0 };

/** What `work` comes to, unless another of its kind was asked for meanwhile: the last wins. */
async function last(kind, work) {
  const mine = (latest[kind] += 1);
  const found = await work;
  if (mine !== latest[kind]) throw new Moot("another was opened");
  return found;
}

const megabytes = (bytes) => `${Math.round(bytes / 1e6)} MB`;

/** Lets messages in between two pieces of work. */
const channel = new MessageChannel();
const turns = [];
channel.port1.onmessage = () => turns.shift()();
const turn = () => new Promise((resolve) => {
  turns.push(resolve);
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

/** The bytes of the sample's three files. */
const sample = async () =>
  (corpus ??= await Promise.all(["sample/corpus.jsonl", "sample/queries.jsonl", "sample/judgments.tsv"].map(fetched)));

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
  begin();
  return about();
}

/** Whatever was asked of what was open before is moot. */
function begin() {
  cuts = null;
  graded = { cuts: null, labeled: 0 };
  run += 1;
  generation += 1;
  latest.view += 1;
}

/** The labeled pairs, all of them graded by these cuts (null: the labeler's own). */
function gradedBy(wanted) {
  if (graded.cuts !== wanted || (wanted && graded.labeled !== pairs.labeled)) {
    pairs.regrade(labeler, wanted ?? undefined);
    graded = { cuts: wanted, labeled: pairs.labeled };
  }
  return pairs;
}

/** The pairs with the grades that the page looks at, and the same by the labeler's own cuts. */
const seen = (by = cuts) => (view === "file" ? (given ?? pairs) : gradedBy(by));
const uncut = () => seen(null);

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

/** Pairs are open: `from` is their file, and `own` the same pairs, where their own grades are to be looked at. */
function show(opened, name, from, own) {
  pairs?.free();
  given?.free();
  [pairs, given, source] = [opened, own, from];
  begin();
  let textless = null;
  try {
    pairs.requireTexts();
  } catch (error) {
    textless = error.message;
  }
  view = textless || own ? "file" : "labeler";
  return { name, length: pairs.length, columns: JSON.parse(pairs.columns), queries: JSON.parse(pairs.queries()), textless, view };
}

const attempt = (work) => {
  try {
    return { value: JSON.parse(work()) };
  } catch (error) {
    return { error: error.message };
  }
};

/** Of all pairs' scores: a pair without one would count as ranked last. */
function ranking(shown) {
  const scores = shown.scores();
  const missing = scores.filter(Number.isNaN).length;
  if (missing === 0) return attempt(() => shown.evaluate("nDCG@10"));
  return { error: missing === scores.length ? "no scores" : `no scores for ${missing} of ${scores.length} pairs` };
}

const agreed = (shown) => ({ agreement: attempt(() => shown.agreement()), labeled: shown.labeled, length: shown.length });

/** What a call throws, with the columns of a file that was not understood: the page then asks which is which. */
class Misread extends Error {}

const calls = {
  async start() {
    // Side by side: the bundle arrives while the module is compiled.
    const [bytes] = await last("bundle", Promise.all([embedded(loading("embedded")), load()]));
    return take("embedded", bytes);
  },

  async embeddedBundle() {
    return take("embedded", await last("bundle", embedded(loading("embedded"))));
  },

  async openBundle(file) {
    return take(file.name, await last("bundle", bytesOf(file, LARGEST_BUNDLE_BYTES, "no bundle for a browser is that large", loading(file.name))));
  },

  async openSample() {
    return show(Pairs.sample(...(await last("pairs", sample()))), "sample", null, null);
  },

  /** Opens pairs, and looks at their own grades where the page did so before. */
  async openPairs(file, columns, wanted) {
    const bytes = await last("pairs", bytesOf(file, LARGEST_FILE_BYTES, "graded agree --pairs FILE --labeler embedded reads files of any size"));
    const read = () => new Pairs(bytes, file.name, JSON.stringify(columns));
    try {
      const opened = read();
      const own = wanted === "file" && JSON.parse(opened.columns).predicted ? read() : null;
      return show(opened, file.name, { file, columns }, own);
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

  /** Looks at the grades of the "labeler" or of the "file", which is read once more: its pairs hold the labeler's. */
  async look(wanted) {
    latest.view += 1;
    if (wanted === "file" && !given) {
      const bytes = await last("view", bytesOf(source.file, LARGEST_FILE_BYTES));
      given = new Pairs(bytes, source.file.name, JSON.stringify(source.columns));
    }
    view = wanted;
  },

  /** What a file is, by what stands in it. */
  async kind(file) {
    const start = (await file.slice(0, 4096).text()).trimStart();
    if (start.startsWith("GRADEDBN") || file.name.endsWith(".bundle")) return "bundle";
    if (/^query_id,doc_id,human,predicted,predicted_score(,p-?\d+)+,labeler\r?\n/.test(start)) return "labels";
    if (!/^[{[]/.test(start) || file.size > LARGEST_REPORT_BYTES) return "pairs";
    try {
      return JSON.parse(await file.text()).measures || file.name.endsWith(".json") ? "report" : "pairs";
    } catch {
      return "pairs";
    }
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
    return { done: pairs.labeled, total: pairs.length, cancelled: mine !== run };
  },

  cancel() {
    run += 1;
  },

  /** Everything the page draws of the agreement. */
  summary() {
    const shown = seen();
    return {
      ...agreed(shown),
      histogram: JSON.parse(shown.histogram(BINS.histogram)),
      calibration: JSON.parse(shown.calibration(labeler, BINS.calibration)),
      ranking: ranking(shown),
      digest: shown.scoresDigest,
    };
  },

  /** Moves the cuts (null: the labeler's own) and says how far the grades agree then. */
  regrade(moved) {
    cuts = moved;
    return agreed(seen());
  },

  select(selection) {
    return seen().select(JSON.stringify(selection));
  },

  rows(positions) {
    return JSON.parse(seen().rows(Uint32Array.from(positions)));
  },

  explain(query, document) {
    return JSON.parse(labeler.explain(query, document));
  },

  async search(query, count) {
    const lines = new TextDecoder().decode((await sample())[0]).split("\n").filter(Boolean);
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

  /** The document of the agreement: as it is shown, or (`own`) as the native command has it, by the labeler's own cuts. */
  report(resampling, own) {
    return (own ? uncut() : seen()).agreement(resampling);
  },

  async compareLabels(file) {
    const bytes = await bytesOf(file, LARGEST_FILE_BYTES, "too large to compare here");
    return JSON.parse(uncut().compare(bytes, file.name));
  },

  csv() {
    return gradedBy(cuts).csv(labeler);
  },
};

onmessage = async ({ data: { id, generation: asked, call, args } }) => {
  try {
    if (asked !== undefined && asked !== generation) throw new Moot("asked of what is open no longer");
    const result = await calls[call](...args);
    postMessage({ id, generation, result });
  } catch (error) {
    // A trap leaves the module's memory in no known state: the page starts another worker.
    const isTrap = error instanceof WebAssembly.RuntimeError;
    postMessage({ id, generation, error: { message: `${error.message ?? error}`, header: error.header, isMoot: error instanceof Moot, isTrap } });
  }
};
