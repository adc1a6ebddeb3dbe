// The page: what is chosen, what is asked of the worker, what is shown. It computes nothing.

import * as charts from "./charts.js";
import { Client, Moot } from "./client.js";
import { $, count, four, h, many, replace, rove } from "./dom.js";

const PAGE_ROWS = 25;
const ROLES = {
  query: "Query id", document: "Document id", query_text: "Query text", document_text: "Document text", human: "Human grade",
  predicted: "Predicted grade",
};

/** `source` is the file that is open (null: the sample), `columns` those of it that were named by hand, `view` whose grades
 * are looked at. */
const state = {
  labeler: null, file: null, source: null, columns: {}, view: "labeler", summary: null, cuts: null, running: false,
  positions: [], first: 0, run: 0, chosen: null, query: null,
};

const client = new Client({ progress, loading }, (error) => recover(error));
const ask = (...call) => client.ask(...call);

// Messages

function say(message, action) {
  const close = h("button", { type: "button", onclick: () => ($("notice").hidden = true) }, "Close");
  replace($("notice"), h("span", {}, message), action, close);
  $("notice").hidden = false;
}

/** What was wrong is past; only that the scorer had to be started again stays said. */
function quiet() {
  $("notice").hidden ||= !recovering;
}

let recovering = false;

/** How many actions are under way; the body says so too. */
let busy = 0;

/** Runs an action of the user's; what goes wrong is said, and what was there stays. */
const attempt = (work) => async (...args) => {
  document.body.dataset.busy = (busy += 1);
  try {
    await work(...args);
  } catch (error) {
    if (error instanceof Moot) return;
    $("labeler-loading").textContent = "";
    say(error.message);
  } finally {
    busy -= 1;
    if (busy) document.body.dataset.busy = busy;
    else delete document.body.dataset.busy;
  }
};

async function recover(error) {
  if (recovering) return;
  recovering = true;
  try {
    say(`The scorer stopped (${error.message}), probably for want of memory. It is started again with the sample.`);
    await start();
  } catch (second) {
    if (!(second instanceof Moot)) say(second.message);
  }
  recovering = false;
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
  $("labeler-name").textContent = labeler.name;
  $("labeler-digest").textContent = labeler.digest.slice(0, 16);
  $("labeler-digest").title = labeler.digest;
  $("bundle-embedded").hidden = labeler.name === "embedded";
  if ($("search").value) replace($("hits"), h("li", { class: "faint" }, "Another labeler: Enter searches again."));
}

/** Clears what was said of another file, labeler or column, and asks it of what is open now. */
async function begin() {
  state.run += 1;
  Object.assign(state, { cuts: null, summary: null, running: false, positions: [], first: 0, chosen: null });
  for (const id of ["confusion", "per-grade", "calibration", "histogram", "cuts", "ranking", "free-answer"]) replace($(id));
  for (const id of ["agreement-said", "ranking-said", "rows-said", "verdict"]) $(id).textContent = "";
  // Rows of the file before must not answer clicks meant for this one.
  for (const id of ["statistics", "rows"]) replace($(id).tBodies[0]);
  for (const id of ["previous", "next", "export-csv", "export-json"]) $(id).disabled = true;
  $("scores-digest").textContent = "–";
  emptyInspector();
  grey();
  attempt(free)();
  const { file, view } = state;
  if (!file) return;
  showNative();
  const named = file.columns.predicted?.name;
  $("grades-choice").hidden = !named || Boolean(file.textless);
  $("grades-file").textContent = `the file's column ${named}`;
  $("grades").value = view;
  progress({ done: 0, total: file.length });
  if (file.textless) {
    go("Label", true);
    if (named) $("progress-text").textContent = `not labelled: grades of column ${named}`;
  }
  if (view === "file") await refresh();
  if (!file.textless) await label();
  else if (!named) throw new Error(`${file.textless}. Nothing can be labelled, and no column holds predicted grades.`);
}

/** Greys what is about to be replaced. */
function grey() {
  document.body.classList.toggle("stale", (state.running && state.view === "labeler") || regrading !== null);
}

/** Opens pairs by a `call` of the worker's. `source` is the file they come from, null the sample; `columns` those named by
 * hand. What is refused leaves all as it was, labelling included. */
async function open(call, source, columns, view) {
  let file;
  try {
    file = await client.open(call, source, columns, view);
  } catch (error) {
    if (error.header) showChoices(error.header, Object.fromEntries(Object.entries(columns).map(([role, name]) => [role, { name }])), source, columns);
    if (error.header) $("columns").open = true;
    throw error;
  }
  quiet();
  Object.assign(state, { file, source, columns, view: file.view, query: null });
  $("pairs-name").textContent = file.name;
  $("pairs-size").textContent = `${many(file.length, "pair", "pairs")}, ${many(Object.keys(file.queries).length, "query", "queries")}`;
  $("pairs-sample").hidden = source === null;
  $("filters").reset();
  showChoices(file.columns.header, file.columns, source, columns);
  await begin();
}

function showChoices(header, found, source, columns) {
  $("columns").hidden = source === null;
  if (source === null) return;
  const roles = Object.keys(ROLES).filter((role) => found[role]);
  const said = roles.map((role) => `${ROLES[role].toLowerCase()} = ${found[role].name}${found[role].guessed ? " (guessed)" : ""}`);
  $("columns-said").textContent = said.length ? said.join(", ") : `say which column of ${source.name} holds what`;
  $("columns").open = said.length === 0;
  const choice = (role) => {
    const select = h("select", { "data-role": role, onchange: attempt(() => chooseColumn(role, select.value, source, columns)) },
      h("option", { value: "" }, "(guess)"), header.map((name) => h("option", { value: name, selected: found[role]?.name === name }, name)));
    return h("label", {}, ROLES[role], select);
  };
  replace($("columns-choices"), Object.keys(ROLES).map(choice));
}

async function chooseColumn(role, name, source, columns) {
  const { [role]: _, ...others } = columns;
  await open("openPairs", source, name ? { ...others, [role]: name } : others, source === state.source ? state.view : null);
}

const openSample = () => open("openSample", null, {});
const openPairs = (file) => open("openPairs", file, {});

async function openBundle(file) {
  showLabeler(file ? await client.open("openBundle", file) : await client.open("embeddedBundle"));
  quiet();
  await begin();
}

/** Looks at the grades of the labeler, or at those that the file came with. */
async function look(view) {
  try {
    await ask("look", view);
    state.view = view;
    quiet();
  } finally {
    $("grades").value = state.view;
  }
  state.cuts = null;
  await ask("regrade", null);
  $("verdict").textContent = "";
  showNative();
  grey();
  await refresh();
}

/** Compares with a file of the native binary's. */
async function compareFile(file, kind) {
  if (kind === "report") return compareReport(await file.text());
  if (kind === "labels") return compareLabels(file);
  verdict(false, `${file.name} is neither what graded agree prints as JSON nor a CSV of graded label: nothing was compared.`);
}

/** Whatever was dropped: pairs, a bundle, or what the native binary said. */
async function take(file) {
  const kind = await client.open("kind", file);
  if (kind === "bundle") return openBundle(file);
  return kind === "pairs" ? openPairs(file) : compareFile(file, kind);
}

// Labelling

function progress({ done, total }) {
  $("progress").max = Math.max(1, total);
  $("progress").value = done;
  $("progress-text").textContent = `${count(done)} of ${count(total)}`;
}

function go(text, disabled) {
  $("go").textContent = text;
  $("go").disabled = disabled;
}

/** Labels what is left of the pairs that are open. */
async function label() {
  const mine = (state.run += 1);
  const running = (is) => {
    state.running = is;
    if (state.summary) showAgreement(state.summary);
    grey();
  };
  running(true);
  go("Cancel", false);
  try {
    const answer = await ask("label");
    if (mine !== state.run) return;
    running(false);
    progress(answer);
    const isDone = answer.done === answer.total;
    go(isDone ? "Labelled" : "Resume", isDone);
  } catch (error) {
    if (mine === state.run && !(error instanceof Moot)) {
      running(false);
      go("Resume", false);
    }
    throw error;
  }
  await refresh();
}

// Agreement

async function refresh() {
  const summary = await ask("summary");
  const { histogram, calibration, ranking } = summary;
  showAgreement(summary);
  replace($("calibration"), charts.calibration(calibration));
  showHistogram(histogram);
  showCuts(histogram);
  showRanking(ranking);
  $("scores-digest").textContent = summary.labeled > 0 ? summary.digest : "–";
  await listAnew();
}

/** Draws what `summary` or `regrade` said. */
function showAgreement(found) {
  state.summary = { ...state.summary, ...found };
  const { agreement: { value: report, error }, labeled, length } = found;
  $("export-csv").disabled = state.running || labeled < length;
  $("export-csv").title = labeled < length ? "Only pairs that are all labelled make a CSV of labels." : "";
  $("export-json").disabled = !report || (state.running && state.view === "labeler");
  const named = state.view === "file" ? state.file.columns.predicted?.name : null;
  const whose = named ? `Grades of column ${named}: ` : $("grades-choice").hidden ? "" : "This labeler's grades: ";
  showGrades(report?.grades ?? []);
  if (!report) {
    $("agreement-said").textContent = error;
    replace($("statistics").tBodies[0]);
    replace($("confusion"));
    replace($("per-grade"));
    return;
  }
  const stopped = state.running ? "labelling goes on" : "labelling stopped";
  const partly = labeled > 0 && labeled < length ? `; ${stopped} after ${count(labeled)}` : "";
  const moved = state.cuts ? "; cuts moved" : "";
  const { resamples, level, seed } = report.bootstrap;
  const unparsed = report.unparsed && !partly ? `, ${count(report.unparsed)} without a predicted grade` : "";
  $("agreement-said").textContent =
    `${whose}${many(report.pairs, "pair", "pairs")} of ${many(report.queries, "query", "queries")}${unparsed}${partly}${moved}. Intervals: ${count(resamples)} resamplings of the queries, seed ${seed}.`;
  $("interval-name").textContent = `${level * 100} % interval`;
  replace($("statistics").tBodies[0], charts.statistics(report));
  replace($("per-grade"), charts.perGrade(report));
  replace($("confusion"), charts.confusion(report, (human, predicted) => choose({ human, predicted })));
}

/** The grades to choose from: those of the scale, and others that occur. */
function showGrades(found) {
  const grades = [...new Set([...state.labeler.scale.levels.map((level) => level.grade), ...found])].sort((a, b) => a - b);
  for (const name of ["human", "predicted"]) {
    const select = $("filters").elements[name];
    const { value } = select;
    replace(select, h("option", { value: "" }, "all"), grades.map((grade) => h("option", { value: grade }, String(grade))));
    select.value = grades.map(String).includes(value) ? value : "";
  }
}

/** The native command of what is shown, or why there is none. */
function showNative() {
  const { file, source, columns, view, labeler } = state;
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const option = (name, value) => (value ? ` --${name}${value.startsWith("-") ? "=" : " "}${quoted(value)}` : "");
  const own = view === "file";
  const texts = ["query", "document", "query_text", "document_text"].map((role) => option(role.replace("_", "-"), columns[role])).join("");
  const grades = own ? option("human", file.columns.human?.name) + option("predicted", file.columns.predicted?.name) : option("human", columns.human);
  const what = source ? `${option("pairs", file.name)}${texts}${grades}` : " --dataset sample";
  const why = own && !(file.columns.human && file.columns.predicted) ? "No native command: there are no two grades to compare." : "";
  $("native-run").hidden = Boolean(why);
  $("native-note").textContent = why;
  $("native-command").textContent = why ? "" : `graded agree${what}${own ? "" : option("labeler", labeler.name)} --format json`;
}

function showHistogram(histogram) {
  replace($("histogram"), charts.histogram(histogram, state.summary.labeled > 0 ? (state.cuts ?? state.labeler.cuts) : [], state.labeler.scale));
}

function showRanking({ value, error }) {
  const mean = value?.measures["nDCG@10"];
  $("ranking-said").textContent = value ? `mean ${four(mean)}; by query, lowest first` : `– ${error}`;
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
  $("verdict").textContent = "";
  showHistogram(state.summary.histogram);
  regrade();
}

let regrading = null;

/** Asks for the agreement with the cuts as they stand; while an answer is awaited, only the last move counts. */
const regrade = attempt(async () => {
  if (regrading) return void (regrading = "again");
  regrading = "once";
  grey();
  try {
    showAgreement(await ask("regrade", state.cuts));
  } finally {
    const again = regrading === "again";
    regrading = null;
    grey();
    if (again && state.summary) regrade();
  }
  await Promise.all([listAnew(), free()]);
});

async function resetCuts() {
  state.cuts = null;
  $("verdict").textContent = "";
  await ask("regrade", null);
  await Promise.all([refresh(), free()]);
}

// Pairs

/** Lists the pairs of a cell or of a query, and no fewer. */
function choose({ human = "", predicted = "", query = null }) {
  const { elements } = $("filters");
  $("filters").reset();
  [elements.human.value, elements.predicted.value, state.query, state.first] = [human, predicted, query, 0];
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

/** Lists pairs whose grades are others now; so may be that of the chosen one. */
const listAnew = () => Promise.all([list(), state.chosen === null || inspect(state.chosen)]);

/** Goes so many pages on, not beyond an end. */
async function turnPage(pages) {
  const last = Math.floor(Math.max(0, state.positions.length - 1) / PAGE_ROWS);
  state.first = Math.min(last, Math.max(0, state.first / PAGE_ROWS + pages)) * PAGE_ROWS;
  await showRows();
}

async function showRows() {
  const { positions, first } = state;
  const rows = await ask("rows", positions.slice(first, first + PAGE_ROWS));
  const { lowest, highest } = state.summary?.histogram ?? { lowest: 0, highest: 1 };
  const body = rows.map((row) => rowOf(row, (score) => (score - lowest) / (highest - lowest || 1)));
  replace($("rows").tBodies[0], body.length ? body : h("tr", {}, h("td", { colspan: 5, class: "faint" }, "No pair fits.")));
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
  return h("tr", { tabindex: -1, class: differs && "far", "data-at": row.at, "aria-selected": row.at === state.chosen ? "true" : "false", onclick: attempt(() => inspect(row.at)) },
    [row.query_text ?? row.query, row.document_text ?? row.document].map((text) => h("td", {}, h("span", { class: "clip" }, short(text)))),
    h("td", { class: "grade" }, charts.tag(row.human, "human", scale)), h("td", { class: "grade" }, charts.tag(row.predicted, "predicted", scale)),
    h("td", { class: "bar" }, row.score === null ? "" : h("span", { class: "score", title: String(row.score) }, h("span", { class: "meter", "--part": Math.min(1, Math.max(0, part(row.score))) }), row.score.toFixed(2))));
}

function emptyInspector() {
  replace($("inspector"), h("p", { class: "faint" }, "Choose a pair to see why it got its grade."));
}

async function inspect(at) {
  state.chosen = at;
  for (const row of $("rows").tBodies[0].rows) row.setAttribute("aria-selected", String(row.dataset.at === String(at)));
  const [row] = await ask("rows", [at]);
  const texts = row.query_text !== null && row.document_text !== null;
  const found = texts ? await ask("explain", row.query_text, row.document_text) : null;
  if (state.chosen !== at) return;
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

async function free() {
  const [query, text] = [$("free-query").value, $("free-document").value];
  if (!query.trim() || !text.trim()) return replace($("free-answer"));
  const found = await ask("explain", query, text);
  const { scale } = state.labeler;
  const meaning = scale.levels.find((level) => level.grade === found.label.grade)?.meaning;
  const cuts = state.cuts ? " (by the labeler's own cuts)" : "";
  replace($("free-answer"), h("div", { class: "parts" },
    h("div", { class: "pair-head", id: "free-grade" }, charts.tag(found.label.grade, "predicted", scale), h("span", {}, `${meaning ?? ""}${cuts}`)), charts.evidence(found, scale)));
}

const search = attempt(async () => {
  const query = $("search").value.trim();
  if (!query) return replace($("hits"));
  const hits = await ask("search", query, 10);
  replace($("hits"), hits.map((hit) => h("li", {}, h("span", {}, hit.title || hit._id), h("span", { class: "value" }, four(hit.score)), h("span", { class: "text" }, hit.text))));
});

// Comparing

function verdict(equal, message) {
  quiet();
  $("verdict").className = `verdict ${equal ? "equal" : "differs"}`;
  $("verdict").textContent = message;
}

const byOwnCuts = () => (state.cuts ? " Compared by the labeler's own cuts, not by those moved here." : "");

/** Whether there is something whole to compare with; if not, the verdict says so. */
function isWhole() {
  const { labeled, length } = state.summary ?? { labeled: 0, length: state.file.length };
  if (state.view === "file" || (!state.running && labeled === length)) return true;
  verdict(false, `Not compared: not all of ${many(length, "pair", "pairs")} are labelled here.`);
  return false;
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
    there = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    return verdict(false, `Not JSON: ${error.message}`);
  }
  if (!there?.measures || !there.bootstrap) return verdict(false, "Not what graded agree prints as JSON: it has no measures and bootstrap.");
  if (!isWhole()) return;
  const { resamples, level } = there.bootstrap;
  // A seed may have more digits than a number of JavaScript.
  const [, seed] = text.match(/"seed"\s*:\s*(\d+)/) ?? [null, there.bootstrap.seed];
  const here = JSON.parse(await ask("report", `{"resamples":${resamples},"level":${level},"seed":${seed}}`, true));
  // Names may differ; what is under them may not.
  delete here.file;
  delete there.file;
  const order = ["labeler", "pairs", "unparsed", "queries", "grades", "scores_digest", "measures"];
  const sorted = (report) => Object.fromEntries([...order, ...Object.keys(report)].filter((key) => key in report).map((key) => [key, report[key]]));
  const found = difference(sorted(here), sorted(there));
  if (!found) {
    const scores = here.scores_digest ? `all ${count(here.pairs)} pairs' scores (digest ${here.scores_digest.slice(0, 16)}…), ` : "";
    return verdict(true, `Equal to the last bit: ${scores}${Object.keys(here.measures).length} statistics, their intervals, and the confusion.${byOwnCuts()}`);
  }
  const said = (value) => (value === undefined ? "nothing" : JSON.stringify(value));
  verdict(false, `Differs, first at ${found[0]}: here ${said(found[1])}, there ${said(found[2])}.${byOwnCuts()}`);
}

async function compareLabels(file) {
  if (!isWhole()) return;
  const found = await ask("compareLabels", file);
  if (!found) return verdict(true, `Equal to the last bit: every pair, score, grade and probability of ${file.name}.${byOwnCuts()}`);
  const line = found.line ? `${file.name}:${found.line}` : file.name;
  verdict(false, `Differs, first at ${line}: ${found.what} here ${found.here}, there ${found.there}.${byOwnCuts()}`);
}

// Exporting

function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The name of a file that holds what the screen shows. */
function exported(what) {
  const { labeled, length } = state.summary;
  const partly = labeled > 0 && labeled < length ? `.first-${labeled}` : "";
  return `${state.file.name.replace(/\.[^.]*$/, "")}${partly}${state.cuts ? ".cuts-moved" : ""}.${what}`;
}

async function exportAgreement() {
  const name = exported("agreement.json");
  const report = await ask("report", undefined, false);
  // Its numbers keep their digits: nothing is parsed.
  const moved = state.cuts ? report.replace(/\}\s*$/, `,"cuts_moved_to":${JSON.stringify(state.cuts)}}`) : report;
  download(name, "application/json", moved);
}

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
chosenFile("native-file", async (file) => compareFile(file, await client.open("kind", file)));
$("pairs-sample").addEventListener("click", attempt(openSample));
$("grades").addEventListener("change", attempt(() => look($("grades").value)));
$("bundle-embedded").addEventListener("click", attempt(() => openBundle(null)));
$("go").addEventListener("click", attempt(() => (state.running ? ask("cancel") : label())));
$("previous").addEventListener("click", attempt(() => turnPage(-1)));
$("next").addEventListener("click", attempt(() => turnPage(1)));
$("filters").addEventListener("submit", (event) => event.preventDefault());
const filtered = attempt(() => ((state.first = 0), list()));
$("filters").addEventListener("change", filtered);
$("filters").elements.text.addEventListener("input", later(filtered, 120));
$("one-query").addEventListener("click", () => ((state.query = null), filtered()));
$("free-query").addEventListener("input", later(attempt(free), 60));
$("free-document").addEventListener("input", later(attempt(free), 60));
$("search").addEventListener("input", later(search, 120));
$("search").addEventListener("keydown", (event) => event.key === "Enter" && search());
$("compare").addEventListener("click", attempt(() => compareReport($("native-text").value)));
$("export-csv").addEventListener("click", attempt(async () => download(exported("labels.csv"), "text/csv", await ask("csv"))));
$("export-json").addEventListener("click", attempt(exportAgreement));
rove($("confusion"), "button", () => $("confusion").querySelectorAll("thead th").length - 1);
rove($("ranking"), "button");
rove($("rows").tBodies[0], "tr", () => 1, async (pages) => {
  await attempt(turnPage)(pages);
  $("rows").tBodies[0].rows[0].focus();
});

let dragged = 0;
addEventListener("dragenter", () => document.body.classList.toggle("dropping", (dragged += 1) > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dropping", (dragged -= 1) > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged = 0;
  document.body.classList.remove("dropping");
  const [file, ...others] = event.dataTransfer.files;
  if (!file) return;
  attempt(async () => {
    await take(file);
    if (others.length) say(`Of ${others.length + 1} files only ${file.name} was taken.`);
  })();
});

async function start() {
  showLabeler(await client.open("start"));
  await openSample();
}

attempt(start)();
