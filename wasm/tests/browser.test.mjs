// The modules in headless Chromium: a page and workers, served on loopback. The page posts what it found; nothing
// drives the browser but its command line.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { FLAGS, chromium, end } from "./chromium.mjs";
import { at } from "./native.mjs";
import { sameAsNative } from "./same.mjs";

/** Loading, answering three times and posting take seconds; a crowded machine gets more. */
const LONGEST_MILLISECONDS = 180_000;
const TYPES = { html: "text/html", mjs: "text/javascript", js: "text/javascript", wasm: "application/wasm" };

/** What is served: the test's files, the module, the sample. Nothing else has a name. */
function contents(files) {
  const page = (name) => [`/tests/${name}`, () => readFileSync(at("wasm", "tests", name))];
  const built = (name) => [`/web/${name}`, () => readFileSync(at("target", "wasm", "page", name))];
  return new Map([
    ["/", () => readFileSync(at("wasm", "tests", "page.html"))],
    ...["page.mjs", "worker.mjs", "cases.mjs"].map(page),
    ...["wasm.js", "wasm_bg.wasm", "wasm_relaxed_bg.wasm"].map(built),
    ["/embedded.bundle", () => readFileSync(at("target", "wasm", "page", "embedded.bundle"))],
    ["/files.json", () => JSON.stringify(files)],
  ]);
}

/** A server on loopback, and what is posted to it. */
function serve(files) {
  const served = contents(files);
  const posted = deferred();
  const server = createServer((request, response) => {
    if (request.method === "POST") {
      const parts = [];
      request.on("data", (part) => parts.push(part));
      request.on("end", () => {
        response.end();
        posted.resolve(JSON.parse(Buffer.concat(parts).toString()));
      });
      return;
    }
    const path = request.url.split("?")[0];
    const content = served.get(path);
    const type = TYPES[path.split(".").pop()] ?? (path === "/" ? TYPES.html : "application/json");
    response.writeHead(content ? 200 : 404, { "Content-Type": type });
    response.end(content?.());
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ server, posted })));
}

/** A promise that is settled from outside. */
function deferred() {
  const ends = {};
  const promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  return { promise, ...ends };
}

/** Answers of the page and of its workers. */
async function browse(files) {
  const { server, posted } = await serve(files);
  const profile = mkdtempSync(join(tmpdir(), "graded-chromium-"));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const browser = spawn(chromium(), [...FLAGS, `--user-data-dir=${profile}`, url], { detached: true, stdio: ["ignore", "ignore", "pipe"] });
  const gone = new Promise((resolve) => browser.on("exit", resolve));
  let said = "";
  browser.stderr.on("data", (part) => (said = (said + part).slice(-4000)));
  browser.on("exit", (code) => posted.reject(new Error(`the browser ended with ${code}: ${said}`)));
  const late = () => posted.reject(new Error(`no answer after ${LONGEST_MILLISECONDS / 1000} seconds: ${said}`));
  const clock = setTimeout(late, LONGEST_MILLISECONDS);
  try {
    const found = await posted.promise;
    if (found.failed) throw new Error(found.failed);
    return found;
  } finally {
    clearTimeout(clock);
    server.closeAllConnections();
    server.close();
    await end(browser, gone, profile);
  }
}

let browsed;
const ask = (place) => async (files) => (await (browsed ??= browse(files)))[place];

sameAsNative("page", ask("page"));
sameAsNative("worker", ask("worker"));
sameAsNative("worker, relaxed", ask("relaxed"));
