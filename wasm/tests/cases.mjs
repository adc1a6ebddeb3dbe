// What is asked of the module, in node and in the browser alike. Plain data and plain calls: nothing here touches a
// file, a page or a process.

/** Numbers that look random and are the same everywhere. */
function numbers(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const MEASURES =
  "nDCG@10 nDCG nDCG(gain=exp)@5 nDCG(gain=exp) AP(rel=2) AP AP@5 RR@10 R@100 P(rel=2)@10 Rprec Bpref ERR@20 " +
  "RBP(p=0.8) infAP Judged@10 Success@5 IPrec@0.1 PairAP(rel=2)";
const WITH_EXPECTATION = "nDCG@10 nDCG(gain=exp)@5 P(rel=2)@10 R@100 RR@10 AP(rel=2)";

const HAND_QRELS = "q1 0 a 3\nq1 0 b 2\nq1 0 c 0\nq1 0 d -1\nq2 0 a 1\nq2 0 z 0\nq3 0 x 2\n";
// Ties, scores that are equal as 32-bit floats only, a negative grade, unjudged documents, a missing and an unjudged
// query.
const HAND_RUN = `q1 Q0 c 1 2.5 hand
q1 Q0 b 2 2.5 hand
q1 Q0 a 3 2.5000000001 hand
q1 Q0 unjudged 4 1 hand
q1 Q0 d 5 1 hand
q2 Q0 z 1 -0.0 hand
q2 Q0 a 2 0.0 hand
nobody Q0 a 1 1e-300 hand
`;

const UNICODE_QRELS = "küche-1 0 文書一 3\nküche-1 0 документ 2\nküche-1 0 🎬 0\n検索 0 é 1\n検索 0 e\u0301 2\n";
const UNICODE_RUN =
  "küche-1 Q0 🎬 1 3 u\nküche-1 Q0 文書一 2 3 u\nküche-1 Q0 документ 3 3 u\n検索 Q0 e\u0301 1 0.5 u\n検索 Q0 é 2 0.5 u\n";

/** Judgments and a run with many ties, negative grades and queries that only one of them has. */
function random(seed, queries, hits) {
  const next = numbers(seed);
  const qrels = [];
  const run = [];
  for (let query = 0; query < queries; query++) {
    for (let document = 0; document < hits; document++) {
      if (query % 17 !== 3 && next(3) > 0) qrels.push(`t${query} 0 d${document} ${next(6) - 2}`);
      if (query % 13 !== 5 && next(4) > 0) run.push(`t${query} Q0 d${document} 0 ${next(40) / 7} random`);
    }
  }
  return { qrels: qrels.join("\n") + "\n", run: run.join("\n") + "\n" };
}

/** Labelled pairs of several queries: quoted cells, predicted cells that are no grade or empty. */
function pairs(seed, count) {
  const next = numbers(seed);
  const lines = ["qid,doc_id,query,text,human,predicted"];
  for (let at = 0; at < count; at++) {
    const human = next(4);
    const predicted = next(10) < 6 ? human : next(4);
    const cell = next(50) === 0 ? "n/a" : next(60) === 0 ? "" : predicted;
    const query = `q${next(Math.ceil(count / 9))}`;
    lines.push(`"${query}",dök-${at},"what, ""quoted""","line one\nline two",${human},${cell}`);
  }
  return lines.join("\n") + "\n";
}

/** The evaluations; `files` brings what lies in the repository. */
export function evaluations(files) {
  const hand = { qrels: HAND_QRELS, run: HAND_RUN, measures: MEASURES };
  const drawn = { ...random(7, 60, 90), measures: MEASURES };
  return [
    { name: "by hand", ...hand },
    { name: "by hand, in the run's order", ...hand, options: { ties: "run" } },
    { name: "by hand, ids ascending", ...hand, options: { ties: "docid-asc" } },
    { name: "by hand, expected", ...hand, measures: WITH_EXPECTATION, options: { ties: "expected" } },
    { name: "by hand, intersection", ...hand, options: { intersect: true } },
    { name: "Unicode ids", qrels: UNICODE_QRELS, run: UNICODE_RUN, measures: MEASURES },
    { name: "drawn", ...drawn },
    { name: "drawn, expected", ...drawn, measures: WITH_EXPECTATION, options: { ties: "expected" } },
    { name: "drawn, all of trec_eval", ...drawn, measures: "all_trec" },
    { name: "sample", qrels: files.sampleQrels, run: files.sampleRun, measures: MEASURES },
  ];
}

/** The agreements. */
export function agreements() {
  const columns = { query: "qid", human: "human", predicted: "predicted" };
  const negative = "query_id\tdoc_id\tgold\tmodel\nα\td1\t-2\t-2\nα\td2\t3\t-2\nβ\td3\t0\t3\nβ\td4\t-2\t0\nγ\td5\t3\t3\n";
  const same =
    '{"qid":"1","doc_id":"a","human":2,"predicted":2}\n{"qid":"2","doc_id":"b","human":2,"predicted":2}\n';
  return [
    { name: "pairs.csv", pairs: pairs(1, 900), columns, resamples: 300, seed: 0 },
    { name: "seed.csv", pairs: pairs(1, 900), columns, resamples: 300, seed: 4000000000 },
    { name: "few.csv", pairs: pairs(5, 12), columns, resamples: 100, seed: 3 },
    { name: "negative.tsv", pairs: negative, columns: {}, resamples: 200, seed: 9 },
    { name: "same.jsonl", pairs: same, columns: {}, resamples: 50, seed: 1 },
  ];
}

const QRELS = "q1 0 a 1\n";
const RUN = "q1 Q0 a 1 1 t\n";

/** Inputs that are refused, and what the message says. */
export const REFUSALS = [
  { call: "evaluate", args: ["q1 0 a x\n", RUN, "RR"], says: /^Error: qrels:1: expected a whole number as grade/ },
  { call: "evaluate", args: [QRELS, "q1 Q0 a 1 NaN t\n", "RR"], says: /^Error: run:1: expected a finite number/ },
  { call: "evaluate", args: [QRELS, RUN, "nDGC@10"], says: /nDGC/ },
  { call: "evaluate", args: [QRELS, RUN, "RR", '{"tie": "run"}'], says: /unknown field `tie`/ },
  { call: "evaluate", args: [QRELS, RUN, "RR", '{"ties": "best"}'], says: /`best` is no order of ties/ },
  { call: "agree", args: ["qid,doc_id,human,predicted\n1,a,x,2\n", "p.csv", '{"human":"human"}', 9, 0], says: /p\.csv:2: column "human"/ },
  { call: "agree", args: ["qid,doc_id,human\n1,a,2\n", "p.csv", undefined, 9, 0], says: /p\.csv: which column holds the predicted/ },
  { call: "agree", args: ["qid,doc_id,human,predicted\n1,a,1,2\n", "p.csv", undefined, 0, 0], says: /at least 1 resample/ },
  { call: "Scorer", args: ["GRADEDBN and no more"], says: /^Error: .*bundle/ },
];

const FRAGMENTS = [
  "parenting tips for toddlers", "kids educational cartoons", "how to fix a leaking tap", "一分钟学会做红烧肉",
  "быстрый ужин", "naïve café Ünïcode", "🎬🍕 watch now!!!", "١٢٣ كيف", "e\u0301tude in D minor",
  "C++ & <script>alert(1)</script>", "\u0000\u200b\ufeff", "don't stop; state-of-the-art, 3.14159 km/h",
  "ＦＵＬＬ　ｗｉｄｔｈ", "नमस्ते दुनिया", "supercalifragilisticexpialidocious", "İstanbul ǅungla ß ﬁne",
];

/** 300 texts: empty, blank, many scripts, mixtures, and some of more than 1,000 words. */
export function texts() {
  const next = numbers(42);
  const all = ["", " \n\t", ...FRAGMENTS];
  while (all.length < 300) {
    const parts = all.length % 60 === 0 ? 500 : 1 + next(6);
    const chosen = Array.from({ length: parts }, () => FRAGMENTS[next(FRAGMENTS.length)]);
    all.push(chosen.join([" ", ", ", "\n"][next(3)]));
  }
  return all;
}

/** How many pairs the 8-bit transformer scores. */
export const PAIRS = 2048;

/** `count` pairs of texts: empty ones, all scripts, mixtures, and some of more than 2,000 words. */
export function pairTexts(count) {
  const next = numbers(7);
  const text = (at) => {
    const parts = at % 97 === 0 ? 0 : at % 97 === 1 ? 1000 : 1 + next(7);
    return Array.from({ length: parts }, () => FRAGMENTS[next(FRAGMENTS.length)]).join([" ", ", ", "\n"][next(3)]);
  };
  return Array.from({ length: count }, (_, at) => [text(2 * at), text(2 * at + 1)]);
}

/** How many pairs are labelled at a time: the labels may not depend on it. */
const PIECES = [1, 64, 700];

/** 2,400 pairs of those texts as JSON lines: every text as query and as document, with grades to agree with. */
export function labelPairs() {
  const all = texts();
  const next = numbers(11);
  const row = (query, at) => ({ qid: `q${at % 300}`, doc_id: `d${at}`, query, text: all[next(all.length)], human: next(4) });
  const rows = Array.from({ length: 8 }, () => all).flat().map(row);
  return rows.map((pair) => JSON.stringify(pair)).join("\n");
}

/** What `graded agree --labeler embedded` says of those pairs, labelled in pieces of different sizes. */
function labels(graded, bundle) {
  const labeler = new graded.Labeler(bundle);
  const pairs = new graded.Pairs(bytes(labelPairs()), "labels.jsonl");
  for (let piece = 0; pairs.labeled < pairs.length; piece++) pairs.label(labeler, PIECES[piece % PIECES.length]);
  return pairs.agreement();
}

// As in examples/scores.rs.
const QUERIES = 20;
const DEPTH = 50;

const bits = (floats) => Array.from(new Uint32Array(floats.buffer, floats.byteOffset, floats.length));
const bytes = (text) => new TextEncoder().encode(text);

/** Everything the module says to all of the above, with the bytes of the embedded bundle, as plain data. */
export function answers(graded, bundle, files) {
  return {
    evaluations: evaluations(files).map(({ qrels, run, measures, options }) =>
      graded.evaluate(qrels, run, measures, JSON.stringify({ per_query: true, ...options }))),
    agreements: agreements().map(({ pairs, name, columns, resamples, seed }) =>
      graded.agree(bytes(pairs), name, JSON.stringify(columns), resamples, seed)),
    refusals: REFUSALS.map(({ call, args }) => refusal(graded, call, args)),
    scores: scores(graded, bundle, texts()),
    labels: labels(graded, bundle),
    sampleRun: sampleRun(graded, bundle, files),
    transformers: files.transformers.map(({ bundle, pairs }) => pairScores(graded, fromBase64(bundle), pairTexts(pairs))),
  };
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** As in examples/pair_scores.rs, one pair at a time. */
function pairScores(graded, bundle, pairs) {
  const scorer = new graded.Scorer(bundle);
  return {
    digest: scorer.digest,
    scores: pairs.flatMap(([query, document]) => bits(scorer.similarity([query], [document]))),
  };
}

function refusal(graded, call, args) {
  return refused(() => {
    if (call === "agree") graded.agree(bytes(args[0]), ...args.slice(1));
    else if (call === "Scorer") new graded.Scorer(bytes(args[0]));
    else graded[call](...args);
  });
}

/** What is thrown, in words. */
function refused(work) {
  try {
    work();
    return "was accepted";
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

function scores(graded, bundle, texts) {
  const scorer = new graded.Scorer(bundle);
  const retriever = new graded.Retriever(scorer, texts);
  const found = texts.slice(0, QUERIES).map((text) => retriever.search(text, DEPTH));
  return {
    digest: scorer.digest,
    vectors: bits(scorer.encode(texts, "document")),
    similarities: bits(scorer.similarity(texts.slice(0, QUERIES), texts)),
    documents: found.flatMap((hits) => Array.from(hits.documents)),
    scores: found.flatMap((hits) => bits(hits.scores)),
  };
}

/** How many documents of the sample a query finds. */
export const SAMPLE_DEPTH = 100;

/** The embedded encoder's run over the sample, one line a hit: query, document, similarity. */
function sampleRun(graded, bundle, files) {
  const records = (text) => text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const documents = records(files.sampleCorpus);
  const texts = documents.map(({ title, text }) => [title, text].filter(Boolean).join(" "));
  const retriever = new graded.Retriever(new graded.Scorer(bundle), texts);
  return records(files.sampleQueries).flatMap(({ _id, text }) => {
    const hits = retriever.search(text, SAMPLE_DEPTH);
    const scores = hits.scores;
    return Array.from(hits.documents, (at, rank) => `${_id} ${documents[at]._id} ${scores[rank]}`);
  });
}
