// The page as a person meets it: served by `graded serve`, in headless Chromium, next to what the native binary says.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, relative } from "node:path";
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
  const printed = native("agree", "--dataset", "sample", "--labeler", "embedded", "--format", "json", "--seed", "9007199254740993", "--resamples", "300");
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

/** Sets a field as a person would. */
const set = (selector, value, event) =>
  browser.ask(`(() => { const field = document.querySelector(${JSON.stringify(selector)}); field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event(${JSON.stringify(event)}, { bubbles: true })); })()`);
const idle = () => browser.until("!document.body.dataset.busy");
const openFile = async (name, content) => {
  await browser.choose("#pairs-file", write(name, content));
  await browser.until(`document.getElementById("pairs-name").textContent === ${JSON.stringify(name)}`);
};
const TWO = "query,text,human\nbread,Bake bread at home,3\nbike,Paint a fence,0\n";
/** Begins to label pairs that take some seconds. */
async function beginMany() {
  const lines = readFileSync(at("datasets", "sample", "corpus.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  const rows = Array.from({ length: 20_000 }, (_, row) => ({ query: `how about ${row % 89}`, text: lines[row % lines.length].text, doc_id: row, human: row % 4 }));
  await openFile("slow.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
  await browser.until(`document.getElementById("progress").value > 0 && document.getElementById("go").textContent === "Cancel"`);
}
const done = () => browser.ask(`document.getElementById("progress").value`);

test("another file or bundle clears at once what was said of the former", async () => {
  await openFile("two.csv", TWO);
  await labelled("two.csv");
  await click("#rows tbody tr");
  await browser.until(`document.querySelectorAll("#inspector .document").length === 1`);
  await browser.choose("#native-file", write("two.json", native("agree", "--pairs", "two.csv", "--labeler", "whole.bundle", "--format", "json")));
  await browser.until(`document.querySelector("#verdict.equal")?.textContent`);
  await beginMany();
  assert.equal(await text("#agreement-said"), "");
  for (const selector of ["#statistics tbody tr", "#confusion button", "#histogram *", "#cuts input", "#ranking li", "#inspector .document"]) {
    assert.equal(await browser.ask(`document.querySelectorAll(${JSON.stringify(selector)}).length`), 0, selector);
  }
  assert.equal(await text("#verdict"), "");
  assert.equal(await text("#scores-digest"), "–");
  assert.equal(await text("#native-command"), "graded agree --pairs slow.jsonl --labeler whole.bundle --format json");
  await browser.until(`document.querySelector("#free-grade .tag")`);
});

test("what is refused while labelling leaves it going on, and of two files the last one is open", async () => {
  await browser.choose("#pairs-file", write("broken.csv", 'query,text,human\na,"b,x\n'));
  assert.match(await notice(), /broken\.csv/);
  await browser.choose("#bundle-file", join(folder, "short.bundle"));
  await browser.until(`document.querySelector("#notice span").textContent.includes("truncated")`);
  const before = await done();
  await browser.until(`document.getElementById("progress").value > ${before} && document.getElementById("go").textContent === "Cancel"`);
  assert.equal(await text("#pairs-name"), "slow.jsonl");
  // Cancelled and resumed in one breath, it ends once.
  await browser.ask(`(() => { const go = document.getElementById("go"); go.click(); go.click(); })()`);
  const large = write("large.csv", `query,text,human\n${"bread,Bake bread at home,3\n".repeat(300_000)}`);
  await browser.choose("#pairs-file", large);
  await browser.choose("#pairs-file", join(folder, "two.csv"));
  await labelled("two.csv");
  await new Promise((resolve) => setTimeout(resolve, 300));
  await labelled("two.csv");
  assert.match(await text("#pairs-size"), /^2 pairs/);
});

test("an incomplete labelling has no nDCG, and what is resumed is graded by the cuts as they were moved", async () => {
  await beginMany();
  await click("#go");
  await browser.until(`document.getElementById("go").textContent === "Resume" && document.querySelector("#cuts input") && !document.body.dataset.busy`);
  assert.match(await text("#ranking-said"), /^– no scores for \d+ of 20000 pairs$/);
  const cut = `[...document.querySelectorAll("#cuts input")].at(-1)`;
  await browser.ask(`(() => { const cut = ${cut}; cut.value = cut.min; cut.dispatchEvent(new Event("input")); })()`);
  await browser.until(`document.getElementById("agreement-said").textContent.includes("cuts moved")`);
  await idle();
  const first = await done();
  await click("#go");
  await browser.until(`document.getElementById("progress").value > ${first} + 100`);
  await click("#go");
  await browser.until(`document.getElementById("go").textContent === "Resume" && !document.body.dataset.busy`);
  const predicted = await browser.ask(`[...document.querySelectorAll("#per-grade tbody tr")].map((row) => Number(row.children[2].textContent.replaceAll(",", "")))`);
  const total = await done();
  assert.ok(total > first);
  // The lowest score is the cut, but scores that came later may be lower still.
  assert.equal(predicted[1] + predicted[2], 0);
  assert.equal(predicted.reduce((sum, number) => sum + number), total);
});

test("grades that the file came with are compared without a labeler, and have no nDCG without scores", async () => {
  const both = "query,text,final_rating,agent\nbread,Bake bread at home,3,2\nbread,Paint a fence,0,0\nbike,Fix a bike,2,2\nbike,Oven,1,3\n";
  await openFile("both.csv", both);
  await labelled("both.csv");
  for (const [role, name] of [["human", "final_rating"], ["predicted", "agent"]]) {
    await set(`[data-role=${role}]`, name, "change");
    await browser.until(`document.querySelector("[data-role=${role}]").value === "${name}"`);
    await labelled("both.csv");
  }
  assert.match(await text("#agreement-said"), /^This labeler's grades: 4 pairs/);
  const digest = await text("#scores-digest");
  await set("#grades", "file", "change");
  await browser.until(`document.getElementById("agreement-said").textContent.startsWith("Grades of column agent: 4 pairs")`);
  await idle();
  const command = await text("#native-command");
  assert.equal(command, "graded agree --pairs both.csv --human final_rating --predicted agent --format json");
  const report = native(...command.split(" ").slice(1));
  assert.equal(Number((await statistics()).cohen_kappa_quadratic), JSON.parse(report).measures.cohen_kappa_quadratic);
  await browser.choose("#native-file", write("both.json", report));
  await browser.until(`document.querySelector("#verdict.equal")`);
  assert.equal(await text("#ranking-said"), "– no scores");
  await set("#grades", "labeler", "change");
  await labelled("both.csv");
  assert.equal(await text("#scores-digest"), digest);
  await openFile("textless.csv", "query_id,doc_id,human,predicted\n1,a,3,2\n1,b,0,0\n2,c,1,1\n2,d,2,3\n");
  await browser.until(`document.getElementById("agreement-said").textContent.startsWith("Grades of column predicted")`);
  assert.equal(await text("#ranking-said"), "– no scores");
  assert.equal(await browser.ask(`document.querySelectorAll("#ranking li").length`), 0);
});

test("with moved cuts the export says what the screen shows, and comparing says whose cuts it takes", async () => {
  await click("#pairs-sample");
  await labelled("sample");
  await browser.ask(`(() => { const cut = document.querySelector("#cuts input"); cut.value = cut.max; cut.dispatchEvent(new Event("input")); })()`);
  await browser.until(`document.getElementById("agreement-said").textContent.includes("cuts moved")`);
  await idle();
  await browser.ask(`saved.length = 0; HTMLAnchorElement.prototype.click = function () { window.saveName = this.download; }`);
  await click("#export-json");
  await browser.until("saved.length === 1");
  const report = JSON.parse(await browser.ask("saved[0].text()"));
  assert.equal(report.measures.accuracy, Number((await statistics()).accuracy));
  assert.equal(report.cuts_moved_to.length, 3);
  assert.equal(await browser.ask("saveName"), "sample.cuts-moved.agreement.json");
  await browser.choose("#native-file", join(folder, "labels.csv"));
  assert.match(await browser.until(`document.querySelector("#verdict.equal")?.textContent`), /labeler's own cuts/);
  await click("#reset-cuts");
  await browser.until(`document.getElementById("verdict").textContent === ""`);
  await idle();
});

test("comparing opens nothing, and a file is told by what stands in it", async () => {
  await browser.choose("#native-file", join(folder, "two.csv"));
  assert.match(await browser.until(`document.querySelector("#verdict.differs")?.textContent`), /^two\.csv is neither/);
  assert.equal(await text("#pairs-name"), "sample");
  const drop = (name, content) =>
    browser.ask(`(() => { const data = new DataTransfer(); data.items.add(new File([${JSON.stringify(content)}], ${JSON.stringify(name)})); dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true })); })()`);
  await drop("scored.csv", "query_id,doc_id,human,predicted,predicted_score,query,text\n1,a,3,2,0.5,bread,Bake bread\n1,b,0,0,0.1,bread,Paint\n");
  await labelled("scored.csv");
  await drop("lines.json", '{"query":"bread","text":"Bake bread","human":3}\n{"query":"bike","text":"Fix a bike","human":0}\n');
  await labelled("lines.json");
  await set("#native-text", `\uFEFF${native("agree", "--pairs", write("lines.json", '{"query":"bread","text":"Bake bread","human":3}\n{"query":"bike","text":"Fix a bike","human":0}\n'), "--labeler", "whole.bundle", "--format", "json")}`, "input");
  await click("#compare");
  await browser.until(`document.querySelector("#verdict.equal")`);
});

test("the pager stays within its ends, and a cell of the confusion lists its pairs and no others", async () => {
  await openFile("grades.csv", "query,text,human\na,b,7\na,c,1\nb,c,5\nb,a b c,3\n");
  await labelled("grades.csv");
  await browser.ask(`(() => { for (let at = 0; at < 3; at += 1) for (const id of ["next", "previous", "previous"]) { const button = document.getElementById(id); button.disabled = false; button.click(); } })()`);
  await idle();
  assert.equal(await text("#rows-said"), "1–4 of 4");
  await set("[name=text]", "nothing of it", "input");
  await browser.until(`document.getElementById("rows-said").textContent === "0 pairs"`);
  await browser.ask(`[...document.querySelectorAll("#confusion button")].find((cell) => cell.title.startsWith("human 7") && cell.title.includes(": 1 pairs")).click()`);
  await browser.until(`document.getElementById("rows-said").textContent === "1–1 of 1"`);
  assert.equal(await text("#rows tbody .tag.human"), "7");
  assert.equal(await browser.ask(`document.querySelector("[name=text]").value`), "");
});

test("the native command can be pasted into a shell, and names every column that was chosen", async () => {
  await openFile("it's & more.csv", "query,text,die note,nochmal\nbread,Bake bread,3,Bake more bread\nbread,Fix,0,Oven\nbike,Fix,2,Fix a bike\n");
  await labelled("it's & more.csv");
  const before = await text("#scores-digest");
  for (const [role, column] of [["human", "die note"], ["document_text", "nochmal"]]) {
    await set(`[data-role=${role}]`, column, "change");
    await browser.until(`document.querySelector("[data-role=${role}]").value === "${column}"`);
    await labelled("it's & more.csv");
  }
  assert.notEqual(await text("#scores-digest"), before);
  const command = await text("#native-command");
  const done = spawnSync("sh", ["-c", `"$GRADED" ${command.replace(/^graded /, "")} --quiet`], { encoding: "utf8", cwd: folder, env: { ...process.env, GRADED: graded } });
  assert.equal(done.status, 0, done.stderr);
  assert.equal(JSON.parse(done.stdout).scores_digest, await text("#scores-digest"));
});

test("a table and a list are one tab stop each, and arrows go through them", async () => {
  for (const place of ["#confusion", "#ranking", "#rows tbody"]) {
    assert.equal(await browser.ask(`document.querySelectorAll("${place} [tabindex='0']").length`), 1, place);
  }
  const press = (key) => browser.ask(`document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "${key}", bubbles: true, cancelable: true }))`);
  await browser.ask(`document.querySelector("#confusion button").focus()`);
  for (const key of ["ArrowRight", "ArrowDown"]) await press(key);
  assert.match(await browser.ask("document.activeElement.title"), /^human (\d), predicted \1/);
  await press("End");
  assert.ok(await browser.ask(`document.activeElement === [...document.querySelectorAll("#confusion button")].at(-1) && document.activeElement.tabIndex === 0`));
  await browser.ask(`document.querySelector("#rows tbody tr").focus()`);
  await press("End");
  assert.ok(await browser.ask(`document.activeElement === [...document.querySelectorAll("#rows tbody tr")].at(-1)`));
});

test("a worker that cannot be loaded is said once and not asked for again and again", async () => {
  let asked = 0;
  const types = { ".js": "text/javascript", ".html": "text/html", ".css": "text/css" };
  const half = createServer((request, answer) => {
    const name = request.url === "/" ? "index.html" : request.url.slice(1);
    const whole = at("target", "wasm", "page", name);
    if (name === "worker.js") asked += 1;
    if (name === "worker.js" || !existsSync(whole)) return answer.writeHead(404).end();
    answer.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream" }).end(readFileSync(whole));
  });
  await new Promise((resolve) => half.listen(0, "127.0.0.1", resolve));
  const complaints = browser.complaints.length;
  await browser.go(`http://127.0.0.1:${half.address().port}/`);
  assert.match(await notice(), /could not be loaded/);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(asked, 1);
  half.close();
  browser.complaints.length = complaints;
  await browser.go(address);
  await labelled("sample");
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
  // Names that do not break, and statistics without a value.
  await openFile("wide.csv", `query,text,human,${"averylongname".repeat(12)}\nbread,oven,3,1\nbike,${"w".repeat(300)},3,2\n`);
  await labelled("wide.csv");
  await set("[data-role=predicted]", "averylongname".repeat(12), "change");
  await browser.until(`!document.getElementById("grades-choice").hidden`);
  await labelled("wide.csv");
  await browser.ask(`document.getElementById("columns").open = true`);
  assert.ok((await browser.ask("document.documentElement.scrollWidth")) <= 360);
  assert.match(await text("#statistics .why"), /^all grades/);
  const nameless = `[...document.querySelectorAll("button, input:not([type=file]), select, textarea")].filter((field) => !field.hidden && !field.textContent.trim() && !field.labels?.length && !field.getAttribute("aria-label")).map((field) => field.outerHTML)`;
  assert.deepEqual(await browser.ask(nameless), []);
});
