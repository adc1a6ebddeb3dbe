// The npm package as somebody who installs it meets it: by its name, from another folder.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

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
