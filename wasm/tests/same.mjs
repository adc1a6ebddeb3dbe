// Native and module, compared to the last bit, once for each world the module runs in.

import assert from "node:assert/strict";
import { test } from "node:test";

import { REFUSALS, agreements, evaluations, texts } from "./cases.mjs";
import { compact, nativeAnswers, sampleFiles } from "./native.mjs";

const files = sampleFiles();
const native = nativeAnswers(files);

/** Registers the tests of one world; `ask(files)` gives its answers. */
export function sameAsNative(world, ask) {
  let found;

  test(`${world}: the module answers`, async () => {
    found = await ask(files);
  });

  test(`${world}: evaluations have the native numbers`, () => {
    evaluations(files).forEach(({ name }, at) => {
      // The binary's document says more: what was evaluated, by which build.
      const { dataset, encoder, fingerprint, ...expected } = JSON.parse(native.evaluations[at]);
      assert.deepStrictEqual(JSON.parse(found.evaluations[at]), expected, name);
      assert.ok(Object.keys(expected.queries).length > 0, name);
    });
  });

  test(`${world}: agreements are the native documents`, () => {
    agreements().forEach(({ name }, at) => {
      assert.deepStrictEqual(JSON.parse(found.agreements[at]), JSON.parse(native.agreements[at]), name);
      // The whole text: the same keys in the same order, every number written alike.
      assert.equal(found.agreements[at], compact(native.agreements[at]), name);
    });
  });

  test(`${world}: vectors, similarities and searches have the native bits`, () => {
    const { digest, vectors, ...devices } = native.scores;
    assert.equal(found.scores.digest, digest);
    const width = vectors.length / texts().length;
    texts().forEach((text, at) => {
      const row = (all) => all.slice(at * width, (at + 1) * width);
      assert.deepStrictEqual(row(found.scores.vectors), row(vectors), `the vector of ${JSON.stringify(text)}`);
    });
    assert.ok(new Set(vectors).size > 10_000, "the vectors are not all alike");
    for (const [device, { similarities, documents, scores }] of Object.entries(devices)) {
      assert.deepStrictEqual(found.scores.similarities, similarities, device);
      assert.deepStrictEqual(found.scores.documents, documents, device);
      assert.deepStrictEqual(found.scores.scores, scores, device);
    }
  });

  test(`${world}: transformers in floats and in 8 bits have the native bits, on every instruction set and number of threads`, () => {
    native.transformers.forEach((runs, at) => {
      for (const run of runs) assert.deepStrictEqual(found.transformers[at], run);
      assert.ok(new Set(runs[0].scores).size > files.transformers[at].pairs / 2, "the scores are not all alike");
    });
  });

  test(`${world}: 2,400 pairs of all scripts get the native scores, on one thread or two, in pieces of any size`, () => {
    for (const printed of native.labels) {
      assert.equal(JSON.parse(found.labels).scores_digest, JSON.parse(printed).scores_digest);
      assert.equal(found.labels, compact(printed));
    }
    assert.equal(JSON.parse(found.labels).pairs, 2400);
  });

  test(`${world}: the sample is searched as the command line does`, () => {
    for (const [device, run] of Object.entries(native.sampleRun)) {
      const expected = run.trimEnd().split("\n").map((line) => line.split(" "));
      assert.deepStrictEqual(found.sampleRun, expected.map(([q, , d, , score]) => `${q} ${d} ${Number(score)}`), device);
    }
  });

  test(`${world}: bad input is an Error that says what and where`, () => {
    REFUSALS.forEach(({ says }, at) => assert.match(found.refusals[at], says));
  });
}
