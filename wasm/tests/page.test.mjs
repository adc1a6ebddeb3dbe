// The page as a person meets it: served by `graded serve`, in headless Chromium, next to what the native binary says.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, before, test } from "node:test";

import { Browser } from "./chromium.mjs";
import { at, compact } from "./native.mjs";

const graded = join(process.env.GRADED_BUILD ?? at("target", "debug"), "graded");
const folder = mkdtempSync(join(tmpdir(), "graded-page-"));
const write = (name, text) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

function native(...args) {
  const done = spawnSync(graded, [...args, "--quiet"], { encoding: "utf8", cwd: folder, maxBuffer: 1 << 28 });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout;
}

let server, browser, address;

before(async () => {
  server = spawn(graded, ["serve", "--port", "0", "--quiet", "--page", at("target", "wasm", "page")], { stdio: ["ignore", "pipe", "inherit"] });
  address = await new Promise((resolve, reject) => {
    server.stdout.on("data", (line) => resolve(line.toString().trim()));
    server.on("exit", (code) => reject(new Error(`graded serve ended with ${code}`)));
  });
  browser = await Browser.open();
  await browser.go(address);
});

after(async () => {
  await browser?.close();
  server?.kill();
  rmSync(folder, { recursive: true, force: true });
});

const click = (selector) => browser.ask(`document.querySelector(${JSON.stringify(selector)}).click()`);
const text = (selector) => browser.ask(`document.querySelector(${JSON.stringify(selector)}).textContent`);
const labelled = (name) =>
  browser.until(`document.getElementById("go").textContent === "Labelled" && document.getElementById("pairs-name").textContent === ${JSON.stringify(name)} && !document.getElementById("agreement-said").textContent.includes("stopped") && document.getElementById("scores-digest").textContent.length === 64 && !document.body.dataset.busy`);
const notice = () => browser.until(`!document.getElementById("notice").hidden && document.querySelector("#notice span").textContent`);
const statistics = () =>
  browser.ask(`Object.fromEntries([...document.querySelectorAll("#statistics tr[data-statistic]")].map((row) => [row.dataset.statistic, row.querySelector("td").dataset.value]))`);

test("the sample is labelled at once, with the numbers of the native binary to the last digit", async () => {
  await labelled("sample");
  const report = JSON.parse(native("agree", "--dataset", "sample", "--labeler", "embedded", "--format", "json"));
  const shown = Object.fromEntries(Object.entries(await statistics()).map(([name, digits]) => [name, Number(digits)]));
  assert.deepEqual(shown, { ...report.measures });
  assert.equal(Object.keys(shown).length, 14);
  assert.equal(await text("#scores-digest"), report.scores_digest);
  assert.equal(await text("#native-command"), "graded agree --dataset sample --labeler embedded --format json");
});

test("what the native binary printed compares as equal, and an altered digit is found", async () => {
  const printed = native("agree", "--dataset", "sample", "--labeler", "embedded", "--format", "json", "--seed", "7", "--resamples", "300");
  await browser.choose("#native-file", write("native.json", printed));
  assert.match(await browser.until(`document.getElementById("verdict").textContent`), /^Equal to the last bit.*14 statistics/);
  const report = JSON.parse(printed);
  report.measures.mae += 2 ** -52;
  await browser.ask(`document.getElementById("native-text").value = ${JSON.stringify(JSON.stringify(report))}`);
  await click("#compare");
  assert.match(await browser.until(`document.querySelector("#verdict.differs")?.textContent`), /first at measures\.mae/);
});

test("the labels as CSV are the file that graded label writes, and compare pair by pair", async () => {
  native("label", "--dataset", "sample", "--out", "labels.csv");
  const written = readFileSync(join(folder, "labels.csv"), "utf8");
  // The worker of the page, asked from beside it.
  await browser.ask(`window.saved = []; const create = URL.createObjectURL; URL.createObjectURL = (blob) => (saved.push(blob), create(blob))`);
  await click("#export-csv");
  await browser.until("saved.length === 1");
  assert.equal(await browser.ask("saved[0].text()"), written);
  await click("#export-json");
  await browser.until("saved.length === 2");
  assert.equal(await browser.ask("saved[1].text()"), compact(native("agree", "--dataset", "sample", "--labeler", "embedded", "--format", "json")));
  await browser.choose("#native-file", join(folder, "labels.csv"));
  await browser.until(`document.querySelector("#verdict.equal")?.textContent.startsWith("Equal to the last bit: every pair")`);
  const lines = written.split("\n");
  lines[5] = lines[5].replace(/,(-?\d+\.\d+),/, (_, score) => `,${Number(score) * (1 + 2 ** -52)},`);
  await browser.choose("#native-file", write("altered.csv", lines.join("\n")));
  assert.match(await browser.until(`document.querySelector("#verdict.differs")?.textContent`), /altered\.csv:6: score/);
});

test("nDCG@10 by query is what graded evaluate makes of those labels", async () => {
  const rows = readFileSync(join(folder, "labels.csv"), "utf8").trim().split("\n").slice(1).map((line) => line.split(","));
  write("qrels", rows.map(([q, d, human]) => `${q} 0 ${d} ${human}`).join("\n"));
  write("run", rows.map(([q, d, , , score]) => `${q} Q0 ${d} 1 ${score} r`).join("\n"));
  const report = JSON.parse(native("evaluate", "--qrels", "qrels", "--run", "run", "--measures", "nDCG@10", "--format", "json", "--per-query"));
  assert.ok((await text("#ranking-said")).startsWith(`mean ${report.measures["nDCG@10"].toFixed(4)}`), await text("#ranking-said"));
  const lowest = Math.min(...Object.values(report.queries).map((values) => values["nDCG@10"]));
  assert.equal(await text("#ranking li .value"), lowest.toFixed(4));
});

test("cuts move the grades, the agreement follows, and the labeler's own come back", async () => {
  const before = await statistics();
  await browser.ask(`(() => { const cut = document.querySelector("#cuts input"); cut.value = cut.max; cut.dispatchEvent(new Event("input")); })()`);
  await browser.until(`document.getElementById("agreement-said").textContent.includes("cuts moved")`);
  await browser.until(`document.querySelector("[data-statistic=accuracy] td").dataset.value !== ${JSON.stringify(before.accuracy)}`);
  await click("#reset-cuts");
  await browser.until(`document.querySelector("[data-statistic=accuracy] td").dataset.value === ${JSON.stringify(before.accuracy)}`);
  assert.deepEqual(await statistics(), before);
});

test("disagreements are filtered, and a pair says why it got its grade", async () => {
  await click("[name=disagreements]");
  const report = JSON.parse(native("agree", "--dataset", "sample", "--labeler", "embedded", "--format", "json"));
  const wrong = report.pairs - report.confusion.reduce((sum, row, grade) => sum + row[grade], 0);
  await browser.until(`document.getElementById("rows-said").textContent.replaceAll(",", "").endsWith("of ${wrong}")`);
  await browser.ask(`document.querySelector("#rows tbody tr").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }))`);
  await browser.until(`document.querySelectorAll("#inspector .tokens li").length > 0 && document.querySelectorAll("#inspector .bars .number").length >= 10`);
  await click("[name=disagreements]");
});

test("a pair typed in is graded, and the sample is searched", async () => {
  await browser.ask(`(() => { const set = (id, value) => { const field = document.getElementById(id); field.value = value; field.dispatchEvent(new Event("input")); };
    set("free-query", "sourdough starter"); set("free-document", "Feed your sourdough starter twice a day"); set("search", "dog fireworks"); })()`);
  await browser.until(`document.querySelector("#free-grade .tag")?.textContent === "3"`);
  assert.equal(await browser.until(`document.querySelectorAll("#hits li").length`), 10);
  assert.match(await text("#hits li"), /dog|firework/i);
});

test("a malformed file is said with its line, and the page stays as it was", async () => {
  const before = await statistics();
  await browser.choose("#pairs-file", write("broken.csv", 'query,text,human\na,b,2\na,"b,x\n'));
  assert.match(await notice(), /broken\.csv:3: expected a closing quote/);
  await browser.choose("#pairs-file", write("grades.csv", "query,text,human\na,b,2\na,c,many\n"));
  await browser.until(`document.querySelector("#notice span").textContent.startsWith('grades.csv:3: column "human"')`);
  assert.deepEqual(await statistics(), before);
  assert.equal(await text("#pairs-name"), "sample");
});

test("columns that cannot be guessed are asked for", async () => {
  await browser.choose("#pairs-file", write("foreign.csv", "frage,antwort,note\nwie spät,zwölf Uhr,3\nwie spät,ein Kuchen,0\n"));
  await browser.until(`document.getElementById("columns").open && document.querySelector("[data-role=query_text] option[value=frage]")`);
  for (const [role, name] of [["query_text", "frage"], ["document_text", "antwort"], ["human", "note"]]) {
    await browser.ask(`(() => { const select = document.querySelector("[data-role=${role}]"); select.value = ${JSON.stringify(name)}; select.dispatchEvent(new Event("change")); })()`);
    await browser.until(`document.querySelector("[data-role=${role}]").value === "${name}" && !document.body.dataset.busy`);
  }
  await labelled("foreign.csv");
  assert.match(await text("#pairs-size"), /^2 pairs, 1 query$/);
});

test("markup in a text is text", async () => {
  const nasty = `</script><img src=x onerror="window.hurt = 1"><script>window.hurt = 1</script>`;
  await browser.choose("#pairs-file", write("nasty.jsonl", `${JSON.stringify({ query: nasty, text: nasty, human: 1 })}\n${JSON.stringify({ query: "q", text: "d", human: 0 })}\n`));
  await labelled("nasty.jsonl");
  await browser.ask(`document.querySelector("#rows tbody tr").click()`);
  await browser.until(`document.querySelector("#inspector .document")?.textContent === ${JSON.stringify(nasty)}`);
  assert.equal(await browser.ask("window.hurt"), undefined);
  assert.equal(await browser.ask(`document.querySelectorAll("main img, main script").length`), 0);
});

test("a bundle that is cut short is refused by name, and the labeler stays", async () => {
  const bundle = readFileSync(at("harness", "scorer", "bundles", "static-minilm-l6-v2.bundle"));
  await browser.choose("#bundle-file", write("short.bundle", bundle.subarray(0, 1_000_000)));
  assert.match(await browser.until(`document.querySelector("#notice span")?.textContent.includes("truncated") && document.querySelector("#notice span").textContent`), /truncated/);
  assert.equal(await text("#labeler-name"), "embedded");
  await browser.choose("#bundle-file", write("whole.bundle", bundle));
  await browser.until(`document.getElementById("labeler-name").textContent === "whole.bundle"`);
  await labelled("nasty.jsonl");
});

test("labelling is cancelled and resumed to the bits of an unbroken run", async () => {
  const lines = readFileSync(at("datasets", "sample", "corpus.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const rows = Array.from({ length: 20_000 }, (_, row) => ({ query: `what about ${row % 97}`, text: lines[row % lines.length].text, doc_id: row, human: row % 4 }));
  const file = write("many.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
  await browser.choose("#pairs-file", file);
  await browser.until(`document.getElementById("pairs-name").textContent === "many.jsonl" && document.getElementById("progress").value > 0`);
  await click("#go");
  await browser.until(`document.getElementById("go").textContent === "Resume" && document.getElementById("agreement-said").textContent.includes("stopped")`);
  const done = await browser.ask(`document.getElementById("progress").value`);
  assert.ok(done > 0 && done < rows.length, `${done}`);
  await click("#go");
  await labelled("many.jsonl");
  const report = JSON.parse(native("agree", "--pairs", file, "--labeler", "embedded", "--format", "json"));
  assert.equal(await text("#scores-digest"), report.scores_digest);
  assert.equal(Number((await statistics()).cohen_kappa_quadratic), report.measures.cohen_kappa_quadratic);
});

test("every file of the page is served", async () => {
  const names = readdirSync(at("target", "wasm", "page"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(names.length >= 14);
  for (const { name, parentPath, path } of names) {
    const whole = join(parentPath ?? path, name);
    const answer = await fetch(`${address}${relative(at("target", "wasm", "page"), whole)}`);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), readFileSync(whole), whole);
  }
});

test("the page needs nothing that its policy forbids, and fits a narrow screen", async () => {
  assert.deepEqual(browser.complaints, []);
  const policy = (await fetch(address)).headers.get("content-security-policy");
  assert.match(policy, /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval'/);
  await browser.call("Emulation.setDeviceMetricsOverride", { width: 360, height: 800, deviceScaleFactor: 1, mobile: false });
  assert.ok((await browser.ask("document.documentElement.scrollWidth")) <= 360);
  const nameless = `[...document.querySelectorAll("button, input:not([type=file]), select, textarea")].filter((field) => !field.hidden && !field.textContent.trim() && !field.labels?.length && !field.getAttribute("aria-label")).map((field) => field.outerHTML)`;
  assert.deepEqual(await browser.ask(nameless), []);
});
