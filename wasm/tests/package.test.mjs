// The npm package as somebody who installs it meets it: by its name, from another folder.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { labelPairs } from "./cases.mjs";
import { at } from "./native.mjs";

const built = at("target", "wasm", "npm");
const described = JSON.parse(readFileSync(join(built, "package.json"), "utf8"));

test("the package loads by name, labels, and its README is true", () => {
  const folder = mkdtempSync(join(tmpdir(), "graded-package-"));
  try {
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(built, join(folder, "node_modules", described.name), "dir");
    const readme = readFileSync(join(built, "README.md"), "utf8");
    const [, example] = readme.match(/```js\n([^]*?)```/);
    const bytes = `const bytes = new TextEncoder().encode("query,text,human\\nbread,Bake bread at home,3\\nbread,Fix a bike,0\\n");\n`;
    const said = `console.log(JSON.stringify([labeler.digest, pairs.labeled, JSON.parse(pairs.agreement()).pairs]));\n`;
    writeFileSync(join(folder, "use.mjs"), bytes + example + said);
    const done = spawnSync(process.execPath, ["use.mjs"], { cwd: folder, encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    const [digest, labeled, pairs] = JSON.parse(done.stdout);
    assert.deepEqual([digest.length, labeled, pairs], [64, 2, 2]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("every file that the package lists is there, and its version is the workspace's", () => {
  described.files.forEach((name) => assert.ok(readFileSync(join(built, name)).length > 0, name));
  assert.match(readFileSync(at("Cargo.toml"), "utf8"), new RegExp(`^version = "${described.version}"`, "m"));
});

test("a pool of threads gives the labels of one, in order, and says what is wrong", async () => {
  const { Labeler, LabelerPool, embedded, load } = await import(pathToFileURL(join(built, "node.js")));
  await load();
  const bundle = await embedded();
  const rows = labelPairs().split("\n").slice(0, 600).map((line) => JSON.parse(line));
  const [queries, documents] = [rows.map(({ query }) => query), rows.map(({ text }) => text)];
  const labeler = new Labeler(bundle);
  const pool = await LabelerPool.open(bundle, { threads: 2 });
  try {
    assert.equal(pool.digest, labeler.digest);
    const steps = [];
    const labels = await pool.label(queries, documents, (done, total) => steps.push([done, total]));
    // As JSON the numbers are written with the digits that give the same bits back.
    assert.equal(JSON.stringify(labels), JSON.stringify(JSON.parse(labeler.label(queries, documents))));
    assert.deepEqual(steps.at(-1), [rows.length, rows.length]);
    assert.ok(steps.every(([done], at) => at === 0 || done > steps[at - 1][0]));
    assert.deepEqual(await pool.label([], []), []);
    await assert.rejects(pool.label(["a"], []), /1 queries for 0 documents/);
    const underWay = assert.rejects(pool.label(queries, documents), /closed/);
    pool.close();
    await underWay;
    await assert.rejects(pool.label(["a"], ["b"]), /closed/);
  } finally {
    pool.close();
  }
  await assert.rejects(LabelerPool.open(bundle.subarray(0, 1000), { threads: 2 }), /bundle: truncated/);
  await assert.rejects(LabelerPool.open(bundle, { threads: 0 }), /0 threads; expected 1 or more/);
});

test("labels from elsewhere enter a file of pairs as its own labeler's do", async () => {
  const { Labeler, Pairs, embedded, load } = await import(pathToFileURL(join(built, "node.js")));
  await load();
  const labeler = new Labeler(await embedded());
  const file = new TextEncoder().encode(labelPairs().split("\n").slice(0, 600).join("\n"));
  const [own, given] = [new Pairs(file, "labels.jsonl"), new Pairs(file, "labels.jsonl")];
  own.label(labeler, own.length);
  while (given.labeled < given.length) {
    const texts = given.texts(given.labeled, 250);
    const side = (which) => texts.filter((_, at) => at % 2 === which);
    const labels = JSON.parse(labeler.label(side(0), side(1)));
    given.takeLabels(
      labeler.digest,
      Int32Array.from(labels, ({ grade }) => grade),
      Float64Array.from(labels, ({ score }) => score),
      Float64Array.from(labels.flatMap(({ distribution }) => distribution)),
    );
  }
  assert.equal(given.scoresDigest, own.scoresDigest);
  assert.equal(given.agreement(), own.agreement());
  assert.equal(given.calibration(labeler, 10), own.calibration(labeler, 10));
  assert.throws(() => given.takeLabels(labeler.digest, Int32Array.of(1), Float64Array.of(1), Float64Array.of(1)), /1 grades and 1 scores for 0 pairs/);
  const short = new Pairs(new TextEncoder().encode("query,text,human\nbread,Bake,3\nbread,Fix,0\n"), "short.csv");
  assert.throws(() => short.takeLabels("d", Int32Array.of(1), Float64Array.of(), Float64Array.of()), /1 grades and 0 scores for 2 pairs/);
  assert.throws(() => short.takeLabels("d", Int32Array.of(1), Float64Array.of(1), Float64Array.of()), /0 probabilities for 1 grades/);
});

test("what node users get wrong is said, and nothing traps or runs for ever", async () => {
  const { Labeler, LabelerPool, Pairs, agree, embedded, load } = await import(pathToFileURL(join(built, "node.js")));
  const module = join(built, "wasm_bg.wasm");
  await load(module);
  await load(pathToFileURL(module));
  (await LabelerPool.open(await embedded(), { threads: 1, module })).close();
  const labeler = new Labeler(await embedded());
  const file = new TextEncoder().encode("query,text,human\nbread,Bake bread at home,3\nbread,Fix a bike,0\n");
  const pairs = new Pairs(file, "pairs.csv");
  for (const count of [0, NaN, undefined]) assert.throws(() => pairs.label(labeler, count), /count of at least 1/);
  pairs.label(labeler, 2);
  for (const bins of ["histogram", "calibration"]) {
    const ask = bins === "histogram" ? (n) => pairs.histogram(n) : (n) => pairs.calibration(labeler, n);
    assert.throws(() => ask(4e9), /at most 10000 bins/);
    assert.ok(ask(10));
  }
  const predicted = new TextEncoder().encode("query,doc_id,human,predicted\na,1,3,3\na,2,0,1\nb,1,1,1\n");
  for (const seed of [-1, 0.5, 2 ** 53 + 2, NaN]) assert.throws(() => agree(predicted, "p.csv", undefined, 10, seed), /seed/);
  assert.equal(JSON.parse(agree(predicted, "p.csv", undefined, 10, 2 ** 32 + 42)).bootstrap.seed, 2 ** 32 + 42);

  const written = pairs.csv(labeler);
  const compare = (text) => JSON.parse(pairs.compare(new TextEncoder().encode(text), "labels.csv"));
  assert.equal(compare(written), null);
  assert.equal(compare(written.replaceAll("\n", "\r\n").trimEnd()), null);
  assert.equal(compare(written.trimEnd() + "X\n").at, 1);
  const digits = written.split("\n")[1].split(",")[5];
  assert.equal(compare(written.replace(digits, "0.5")).what, "probabilities or labeler");
  assert.equal(compare(written.replace(new RegExp(`${labeler.digest.slice(0, 16)}\n$`), "f".repeat(16) + "\n")).at, 1);
});
