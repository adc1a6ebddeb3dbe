// The page: what is chosen, what is asked of the worker, what is shown. It computes nothing.

import * as charts from "./charts.js";
import { Client } from "./client.js";
import { $, count, four, h, many, replace } from "./dom.js";

const PAGE_ROWS = 25;
const ROLES = {
  query: "Query id", document: "Document id", query_text: "Query text", document_text: "Document text", human: "Human grade",
  predicted: "Predicted grade",
};

const state = {
  labeler: null, file: null, source: null, columns: {}, summary: null, cuts: null, running: false, moved: false,
  positions: [], first: 0, run: 0, chosen: null, query: null,
};

const client = new Client({ progress, loading }, (error) => recover(error));
const ask = (...call) => client.ask(...call);

// Messages

function say(message, action) {
  const close = h("button", { type: "button", onclick: quiet }, "Close");
  replace($("notice"), h("span", {}, message), action, close);
  $("notice").hidden = false;
}

function quiet() {
  $("notice").hidden = true;
}

/** How many actions are under way; the body says so too. */
let busy = 0;

/** Runs an action of the user's; what goes wrong is said, and what was there stays. */
const attempt = (work) => async (...args) => {
  document.body.dataset.busy = (busy += 1);
  try {
    await work(...args);
  } catch (error) {
    $("labeler-loading").textContent = "";
    say(error.message);
  } finally {
    busy -= 1;
    if (busy) document.body.dataset.busy = busy;
    else delete document.body.dataset.busy;
  }
};

async function recover(error) {
  state.running = false;
  say(`The scorer stopped (${error.message}), probably for want of memory. It was started again with the sample.`);
  try {
    showLabeler(await ask("start"));
    await open(() => ask("openSample"), null);
  } catch (second) {
    say(second.message);
  }
}

// Sources

/** How much of a bundle is there. */
function loading({ name, done, total }) {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  const of = total === null ? "" : ` of ${megabytes(total)}`;
  $("labeler-loading").textContent = done === total ? "" : `${name}: ${megabytes(done)}${of} MB`;
}

function showLabeler(labeler) {
  $("labeler-loading").textContent = "";
  state.labeler = labeler;
  state.cuts = null;
  $("labeler-name").textContent = labeler.name;
  $("labeler-digest").textContent = labeler.digest.slice(0, 16);
  $("labeler-digest").title = labeler.digest;
  $("bundle-embedded").hidden = labeler.name === "embedded";
  const grades = labeler.scale.levels.map((level) => level.grade);
  for (const name of ["human", "predicted"]) {
    const select = $("filters").elements[name];
    replace(select, h("option", { value: "" }, "all"), grades.map((grade) => h("option", { value: grade }, String(grade))));
  }
}

/** Opens pairs by `question` and labels them. `source` is the file they come from; null is the sample. */
async function open(question, source) {
  await stop();
  let file;
  try {
    file = await question();
  } catch (error) {
    if (!error.header) throw error;
    const chosen = Object.entries(state.columns).map(([role, name]) => [role, { name, guessed: false }]);
    showChoices(error.header, Object.fromEntries(chosen), source);
    $("columns").open = true;
    throw error;
  }
  Object.assign(state, { file, source, chosen: null, query: null, first: 0, moved: false, cuts: null });
  $("pairs-name").textContent = file.name;
  $("pairs-size").textContent = `${many(file.length, "pair", "pairs")}, ${many(Object.keys(file.queries).length, "query", "queries")}`;
  $("pairs-sample").hidden = source === null;
  $("filters").reset();
  // Rows of the file before must not answer clicks meant for this one.
  replace($("rows").tBodies[0]);
  showChoices(file.columns.header, file.columns, source);
  emptyInspector();
  if (file.textless) {
    await useFilePredictions(file);
  } else {
    await label();
  }
}

/** Ends labelling; what it was about to show is not shown any more. */
async function stop() {
  state.run += 1;
  await ask("cancel");
}

async function useFilePredictions(file) {
  if (!file.columns.predicted) {
    progress({ done: 0, total: file.length });
    await refresh();
    throw new Error(`${file.textless}. Nothing can be labelled, and no column holds predicted grades.`);
  }
  $("progress-text").textContent = `not labelled: grades of column ${file.columns.predicted.name}`;
  $("go").disabled = true;
  await refresh();
}

function showChoices(header, columns, source) {
  $("columns").hidden = source === null;
  if (source === null) return;
  const found = Object.keys(ROLES).filter((role) => columns[role]);
  const said = found.map((role) => `${ROLES[role].toLowerCase()} = ${columns[role].name}${columns[role].guessed ? " (guessed)" : ""}`);
  $("columns-said").textContent = said.length ? said.join(", ") : "say which column holds what";
  $("columns").open = said.length === 0;
  const choice = (role) => {
    const select = h("select", { "data-role": role, onchange: attempt(() => chooseColumn(role, select.value, source)) },
      h("option", { value: "" }, "(guess)"), header.map((name) => h("option", { value: name, selected: columns[role]?.name === name }, name)));
    return h("label", {}, ROLES[role], select);
  };
  replace($("columns-choices"), Object.keys(ROLES).map(choice));
}

async function chooseColumn(role, name, source) {
  if (name) state.columns[role] = name;
  else delete state.columns[role];
  quiet();
  await open(() => ask("openPairs", source, state.columns), source);
}

async function openPairs(file) {
  quiet();
  state.columns = {};
  await open(() => ask("openPairs", file, {}), file);
}

async function openBundle(file) {
  quiet();
  await stop();
  showLabeler(file ? await ask("openBundle", file) : await ask("embeddedBundle"));
  if (state.file && !state.file.textless) await label();
}

/** Whatever was dropped: pairs, a bundle, or what the native binary said. */
async function take(file) {
  const kind = await ask("kind", file);
  if (kind === "bundle") return openBundle(file);
  if (kind === "report") return compareReport(await file.text());
  if (kind === "labels") return compareLabels(file);
  return openPairs(file);
}

// Labelling

function progress({ done, total }) {
  $("progress").max = Math.max(1, total);
  $("progress").value = done;
  $("progress-text").textContent = `${count(done)} of ${count(total)}`;
}

async function label() {
  const mine = (state.run += 1);
  const showState = (running, text, disabled) => {
    state.running = running;
    $("go").textContent = text;
    $("go").disabled = disabled;
  };
  showState(true, "Cancel", false);
  try {
    const answer = await ask("label");
    if (mine !== state.run) return;
    progress(answer);
    const isDone = answer.done === answer.total;
    showState(false, isDone ? "Labelled" : "Resume", isDone);
    await refresh();
  } catch (error) {
    if (mine === state.run) showState(false, "Resume", false);
    throw error;
  }
}

// Agreement

async function refresh() {
  const summary = await ask("summary");
  state.summary = summary;
  const { agreement, histogram, calibration, ranking } = summary;
  showAgreement(agreement.value, agreement.error);
  replace($("calibration"), charts.calibration(calibration));
  showHistogram(histogram);
  showCuts(histogram);
  showRanking(ranking);
  $("scores-digest").textContent = summary.labeled > 0 ? summary.digest : "–";
  const columns = Object.entries(state.columns).filter(([role]) => ["query", "human"].includes(role));
  const named = columns.map(([role, name]) => ` --${role} ${name}`).join("");
  const what = state.source ? `--pairs ${state.file.name}${named}` : "--dataset sample";
  const labeler = summary.labeled > 0 ? ` --labeler ${state.labeler.name}` : "";
  $("native-command").textContent = `graded agree ${what}${labeler} --format json`;
  await list();
}

function showAgreement(report, error) {
  const { labeled, length } = state.summary;
  if (!report) {
    $("agreement-said").textContent = error;
    replace($("statistics").tBodies[0]);
    replace($("confusion"));
    replace($("per-grade"));
    return;
  }
  const partly = labeled > 0 && labeled < length ? `; labelling stopped after ${count(labeled)}` : "";
  const moved = state.cuts ? "; cuts moved" : "";
  const { resamples, level, seed } = report.bootstrap;
  const unparsed = report.unparsed && !partly ? `, ${count(report.unparsed)} without a predicted grade` : "";
  $("agreement-said").textContent =
    `${many(report.pairs, "pair", "pairs")} of ${many(report.queries, "query", "queries")}${unparsed}${partly}${moved}. Intervals: ${count(resamples)} resamplings of the queries, seed ${seed}.`;
  $("interval-name").textContent = `${level * 100} % interval`;
  replace($("statistics").tBodies[0], charts.statistics(report));
  replace($("per-grade"), charts.perGrade(report));
  replace($("confusion"), charts.confusion(report, (human, predicted) => choose({ human, predicted })));
}

function showHistogram(histogram) {
  replace($("histogram"), charts.histogram(histogram, state.summary.labeled > 0 ? (state.cuts ?? state.labeler.cuts) : []));
}

function showRanking({ value, error }) {
  const mean = value?.measures["nDCG@10"];
  $("ranking-said").textContent = value ? `mean ${four(mean)}; by query, lowest first` : error;
  replace($("ranking"), value ? charts.ranking(value.queries, state.file.queries, (query) => choose({ query })) : []);
}

// Cuts

function showCuts(histogram) {
  if (!histogram || state.summary.labeled === 0) return replace($("cuts"));
  const cuts = state.cuts ?? state.labeler.cuts;
  const lowest = Math.min(histogram.lowest, ...cuts);
  const highest = Math.max(histogram.highest, ...cuts);
  const slider = (cut, at) => {
    const name = `${state.labeler.scale.levels[at + 1].grade} from`;
    const output = h("output", {}, four(cut));
    const input = h("input", { type: "range", min: lowest, max: highest, step: (highest - lowest) / 500, "data-cut": at, oninput: () => move(at, Number(input.value)) });
    input.value = cut;
    return h("label", {}, h("span", {}, name), input, output);
  };
  const reset = h("button", { type: "button", id: "reset-cuts", disabled: !state.cuts, onclick: attempt(resetCuts) }, "The labeler's own");
  replace($("cuts"), cuts.map(slider), h("div", { class: "actions" }, reset));
}

/** Moves one cut; those it passes are taken along. */
function move(at, value) {
  const cuts = [...(state.cuts ?? state.labeler.cuts)];
  cuts[at] = value;
  for (let below = at - 1; below >= 0; below--) cuts[below] = Math.min(cuts[below], value);
  for (let above = at + 1; above < cuts.length; above++) cuts[above] = Math.max(cuts[above], value);
  state.cuts = cuts;
  $("cuts").querySelectorAll("input").forEach((input, place) => {
    if (place !== at) input.value = cuts[place];
    input.nextElementSibling.textContent = four(cuts[place]);
  });
  $("reset-cuts").disabled = false;
  showHistogram(state.summary.histogram);
  regrade();
}

let regrading = null;

/** Asks for the agreement with the cuts as they stand; while an answer is awaited, only the last move counts. */
const regrade = attempt(async () => {
  if (regrading) return void (regrading = "again");
  regrading = "once";
  try {
    showAgreement(await ask("regrade", state.cuts));
  } finally {
    const again = regrading === "again";
    regrading = null;
    if (again) regrade();
  }
  await list();
});

async function resetCuts() {
  state.cuts = null;
  await ask("regrade", null);
  await refresh();
}

// Pairs

function choose({ human, predicted, query }) {
  const { elements } = $("filters");
  if (human !== undefined) elements.human.value = human;
  if (predicted !== undefined) elements.predicted.value = predicted;
  if (query !== undefined) state.query = query;
  elements.disagreements.checked = false;
  state.first = 0;
  attempt(list)();
  $("pairs").scrollIntoView({ block: "start" });
}

async function list() {
  const { elements } = $("filters");
  const number = (value) => (value === "" ? null : Number(value));
  const selection = {
    disagreements: elements.disagreements.checked, human: number(elements.human.value), predicted: number(elements.predicted.value),
    text: elements.text.value.trim() || null, order: elements.order.value, query: state.query,
  };
  $("one-query").hidden = state.query === null;
  $("one-query").textContent = `${state.file?.queries[state.query] ?? state.query} ×`;
  state.positions = await ask("select", selection);
  if (state.first >= state.positions.length) state.first = 0;
  await showRows();
}

async function showRows() {
  const { positions, first } = state;
  const rows = await ask("rows", positions.slice(first, first + PAGE_ROWS));
  const { lowest, highest } = state.summary?.histogram ?? { lowest: 0, highest: 1 };
  const body = rows.map((row) => rowOf(row, (score) => (score - lowest) / (highest - lowest || 1)));
  replace($("rows").tBodies[0], body.length ? body : h("tr", {}, h("td", { colspan: 5, class: "faint" }, "No pair fits.")));
  if (body.length) body[0].tabIndex = 0;
  const last = Math.min(first + PAGE_ROWS, positions.length);
  $("rows-said").textContent = positions.length ? `${count(first + 1)}–${count(last)} of ${count(positions.length)}` : "0 pairs";
  $("previous").disabled = first === 0;
  $("next").disabled = last === positions.length;
}

const WIDEST_CELL = 300;

function rowOf(row, part) {
  const { scale } = state.labeler;
  const differs = row.human !== null && row.predicted !== null && row.human !== row.predicted;
  const short = (text) => (text.length > WIDEST_CELL ? `${text.slice(0, WIDEST_CELL)}…` : text);
  const element = h("tr", { tabindex: -1, class: differs && "far", "data-at": row.at, "aria-selected": row.at === state.chosen ? "true" : "false", onclick: attempt(() => inspect(row, element)), onkeydown: (event) => keys(event, element) },
    [row.query_text ?? row.query, row.document_text ?? row.document].map((text) => h("td", {}, h("span", { class: "clip" }, short(text)))),
    h("td", { class: "grade" }, charts.tag(row.human, "human", scale)), h("td", { class: "grade" }, charts.tag(row.predicted, "predicted", scale)),
    h("td", { class: "bar" }, row.score === null ? "" : h("span", { class: "score", title: String(row.score) }, h("span", { class: "meter", "--part": Math.min(1, Math.max(0, part(row.score))) }), row.score.toFixed(2))));
  return element;
}

function keys(event, row) {
  const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (to) {
    row.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  } else if (event.key === "Enter" || event.key === " ") row.click();
  else return;
  event.preventDefault();
}

function emptyInspector() {
  replace($("inspector"), h("p", { class: "faint" }, "Choose a pair to see why it got its grade."));
}

async function inspect(row, element) {
  state.chosen = row.at;
  document.querySelectorAll("#rows tr[aria-selected='true']").forEach((other) => other.setAttribute("aria-selected", "false"));
  element?.setAttribute("aria-selected", "true");
  const texts = row.query_text !== null && row.document_text !== null;
  const found = texts ? await ask("explain", row.query_text, row.document_text) : null;
  if (state.chosen !== row.at) return;
  const { scale } = state.labeler;
  const place = row.line === null ? `${row.query} / ${row.document}` : `${state.file.name}:${row.line}`;
  replace($("inspector"),
    h("div", { class: "pair-head" }, h("strong", {}, row.query_text ?? row.query), h("span", {}, "Human ", charts.tag(row.human, "human", scale)),
      h("span", {}, "Predicted ", charts.tag(row.predicted, "predicted", scale)), h("span", { class: "faint" }, place)),
    h("div", { class: "document", tabindex: 0, "aria-label": "The document" }, row.document_text ?? row.document),
    found ? charts.evidence(found, scale) : h("p", { class: "faint" }, "The file has no texts to look at."));
}

// Trying

const later = (work, milliseconds) => {
  let clock;
  return (...args) => {
    clearTimeout(clock);
    clock = setTimeout(() => work(...args), milliseconds);
  };
};

const free = attempt(async () => {
  const [query, text] = [$("free-query").value, $("free-document").value];
  if (!query.trim() || !text.trim()) return replace($("free-answer"));
  const found = await ask("explain", query, text);
  const { scale } = state.labeler;
  const meaning = scale.levels.find((level) => level.grade === found.label.grade)?.meaning;
  replace($("free-answer"), h("div", { class: "parts" },
    h("div", { class: "pair-head", id: "free-grade" }, charts.tag(found.label.grade, "predicted", scale), h("span", {}, meaning ?? "")), charts.evidence(found, scale)));
});

const search = attempt(async () => {
  const query = $("search").value.trim();
  if (!query) return replace($("hits"));
  const hits = await ask("search", query, 10);
  replace($("hits"), hits.map((hit) => h("li", {}, h("span", {}, hit.title || hit._id), h("span", { class: "value" }, four(hit.score)), h("span", { class: "text" }, hit.text))));
});

// Comparing

function verdict(equal, message) {
  $("verdict").className = `verdict ${equal ? "equal" : "differs"}`;
  $("verdict").textContent = message;
}

/** The first place where two JSON values differ, as `[path, here, there]`; null where they are equal to the last bit. */
function difference(here, there, path = "") {
  if (Object.is(here, there)) return null;
  if (typeof here !== "object" || typeof there !== "object" || here === null || there === null) return [path, here, there];
  for (const key of new Set([...Object.keys(here), ...Object.keys(there)])) {
    const found = difference(here[key], there[key], path ? `${path}.${key}` : key);
    if (found) return found;
  }
  return null;
}

async function compareReport(text) {
  let there;
  try {
    there = JSON.parse(text);
  } catch (error) {
    return verdict(false, `Not JSON: ${error.message}`);
  }
  if (!there?.measures || !there.bootstrap) return verdict(false, "Not what graded agree prints as JSON: it has no measures and bootstrap.");
  const { resamples, level, seed } = there.bootstrap;
  const here = JSON.parse(await ask("report", { resamples, level, seed }));
  // Names may differ; what is under them may not.
  delete here.file;
  delete there.file;
  const order = ["labeler", "pairs", "unparsed", "queries", "grades", "scores_digest", "measures"];
  const sorted = (report) => Object.fromEntries([...order, ...Object.keys(report)].filter((key) => key in report).map((key) => [key, report[key]]));
  const found = difference(sorted(here), sorted(there));
  if (!found) {
    const scores = here.scores_digest ? `all ${count(here.pairs)} pairs' scores (digest ${here.scores_digest.slice(0, 16)}…), ` : "";
    return verdict(true, `Equal to the last bit: ${scores}${Object.keys(here.measures).length} statistics, their intervals, and the confusion.`);
  }
  const said = (value) => (value === undefined ? "nothing" : JSON.stringify(value));
  verdict(false, `Differs, first at ${found[0]}: here ${said(found[1])}, there ${said(found[2])}.`);
}

async function compareLabels(file) {
  const found = await ask("compareLabels", file);
  if (!found) return verdict(true, `Equal to the last bit: every pair, score and grade of ${file.name}.`);
  const line = found.line ? `${file.name}:${found.line}` : file.name;
  verdict(false, `Differs, first at ${line}: ${found.what} here ${found.here}, there ${found.there}.`);
}

// Exporting

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

const stem = () => state.file.name.replace(/\.[^.]*$/, "");

// Wiring

function chosenFile(id, work) {
  $(id).addEventListener("change", attempt(async () => {
    const [file] = $(id).files;
    // The same file may be chosen again.
    $(id).value = "";
    if (file) await work(file);
  }));
}

chosenFile("pairs-file", openPairs);
chosenFile("bundle-file", openBundle);
chosenFile("native-file", take);
$("pairs-sample").addEventListener("click", attempt(async () => {
  quiet();
  state.columns = {};
  await open(() => ask("openSample"), null);
}));
$("bundle-embedded").addEventListener("click", attempt(() => openBundle(null)));
$("go").addEventListener("click", attempt(() => (state.running ? ask("cancel") : label())));
$("previous").addEventListener("click", attempt(() => ((state.first -= PAGE_ROWS), showRows())));
$("next").addEventListener("click", attempt(() => ((state.first += PAGE_ROWS), showRows())));
$("filters").addEventListener("submit", (event) => event.preventDefault());
const filtered = attempt(() => ((state.first = 0), list()));
$("filters").addEventListener("change", filtered);
$("filters").elements.text.addEventListener("input", later(filtered, 120));
$("one-query").addEventListener("click", () => ((state.query = null), filtered()));
$("free-query").addEventListener("input", later(free, 60));
$("free-document").addEventListener("input", later(free, 60));
$("search").addEventListener("input", later(search, 120));
$("compare").addEventListener("click", attempt(() => compareReport($("native-text").value)));
$("export-csv").addEventListener("click", attempt(async () => download(`${stem()}.labels.csv`, "text/csv", await ask("csv"))));
$("export-json").addEventListener("click", attempt(async () => download(`${stem()}.agreement.json`, "application/json", await ask("report"))));

let dragged = 0;
addEventListener("dragenter", () => document.body.classList.toggle("dropping", (dragged += 1) > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dropping", (dragged -= 1) > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged = 0;
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) attempt(take)(file);
});

attempt(async () => {
  showLabeler(await ask("start"));
  await open(() => ask("openSample"), null);
  await free();
})();
