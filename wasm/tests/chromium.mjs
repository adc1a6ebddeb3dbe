// Headless Chromium, driven over its debugging pipe: nothing is installed for it, and no port is opened.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NAMES = ["chromium"];
export const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export function chromium() {
  const named = process.env.CHROMIUM ? [process.env.CHROMIUM] : NAMES;
  const found = named.find((name) => spawnSync(name, ["--version"]).status === 0);
  if (!found) throw new Error(`no browser: none of ${named.join(", ")} can be started; CHROMIUM=PATH names one`);
  return found;
}

/** Ends a browser that was spawned as the head of a group of its own, with all of its processes, and removes its profile.
 * What a dying process still holds open may stay behind in the temporary folder: that fails no test. */
export async function end(browser, gone, profile) {
  try {
    process.kill(-browser.pid, "SIGKILL");
  } catch {
    browser.kill("SIGKILL");
  }
  await gone;
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  } catch (error) {
    console.error(`left behind: ${error.message}`);
  }
}

/** A browser with one tab. `close` ends it. */
export class Browser {
  #profile = mkdtempSync(join(tmpdir(), "graded-chromium-"));
  #waiting = new Map();
  #next = 0;
  #rest = "";
  #said = "";
  /** What the page complained about: exceptions, violations of its policy, failed requests. */
  complaints = [];

  static async open() {
    const browser = new Browser();
    await browser.#start();
    return browser;
  }

  async #start() {
    const flags = [...FLAGS, "--remote-debugging-pipe", `--user-data-dir=${this.#profile}`, "about:blank"];
    this.process = spawn(chromium(), flags, { detached: true, stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });
    this.gone = new Promise((resolve) => this.process.on("exit", resolve));
    this.process.stderr.on("data", (part) => (this.#said = (this.#said + part).slice(-4000)));
    this.process.on("exit", (code) => this.#fail(`the browser ended with ${code}: ${this.#said}`));
    this.process.stdio[3].on("error", () => {});
    this.process.stdio[4].setEncoding("utf8").on("data", (part) => this.#hear(part));
    const { targetInfos } = await this.#send("Target.getTargets");
    const { targetId } = targetInfos.find(({ type }) => type === "page") ?? (await this.#send("Target.createTarget", { url: "about:blank" }));
    ({ sessionId: this.session } = await this.#send("Target.attachToTarget", { targetId, flatten: true }));
    for (const domain of ["Page", "Runtime", "Log", "DOM"]) await this.call(`${domain}.enable`);
  }

  #fail(reason) {
    this.#waiting.forEach(({ reject }) => reject(new Error(reason)));
    this.#waiting.clear();
  }

  #hear(part) {
    const messages = (this.#rest + part).split("\0");
    this.#rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (waiting) message.error ? waiting.reject(new Error(message.error.message)) : waiting.resolve(message.result);
      else this.#note(message);
    }
  }

  #note({ method, params }) {
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && params.entry.level === "error") this.complaints.push(`${params.entry.text} ${params.entry.url ?? ""}`);
  }

  #send(method, params = {}, sessionId) {
    const id = (this.#next += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  /** One command of the debugging protocol, to the tab. */
  call(method, params) {
    return this.#send(method, params, this.session);
  }

  async go(url) {
    await this.call("Page.navigate", { url });
  }

  /** The value of an expression in the page. */
  async ask(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression holds. */
  async until(expression, seconds = 120) {
    const end = Date.now() + seconds * 1000;
    for (;;) {
      const value = await this.ask(expression).catch(() => false);
      if (value) return value;
      if (Date.now() > end) throw new Error(`not within ${seconds} seconds: ${expression}; complaints: ${this.complaints.join("; ")}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Chooses files in an `<input type=file>`, as a person would. */
  async choose(selector, ...files) {
    const { root } = await this.call("DOM.getDocument");
    const { nodeId } = await this.call("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.call("DOM.setFileInputFiles", { nodeId, files });
  }

  async close() {
    await end(this.process, this.gone, this.#profile);
  }
}
