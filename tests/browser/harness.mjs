// A stack of its own for each file of tests, and pages that notice what must not happen: an error in the console, a violation
// of the content security policy, a request to another host.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { after } from "node:test";
import { chromium } from "playwright-core";

const root = new URL("../../", import.meta.url).pathname;
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

export const SCHEMES = ["light", "dark"];
export const API_KEY = "tmk_PublicDemoKeyOfTheLocalStackNotASecret000002v2C12";
export const CLIENT = "11111111-1111-1111-1111-111111111111";

/** Starts a stack on a free port, or the one of the options. It ends with the tests of the file, or with the test. */
export async function startStack(...options) {
  const directory = mkdtempSync(join(tmpdir(), "tokenmint-"));
  const ready = join(directory, "ready");
  const port = options.includes("--port") ? [] : ["--port", "0"];
  const stack = spawn(join(root, "target/debug/local"), [...port, "--ready-file", ready, ...options], { stdio: "ignore" });
  after(() => {
    stack.kill();
    rmSync(directory, { recursive: true });
  });
  for (let round = 0; round < 300; round += 1) {
    assert.equal(stack.exitCode, null, "the stack has ended");
    try {
      const url = readFileSync(ready, "utf8");
      if (url) return url;
    } catch { /* Not yet. */ }
    await sleep(100);
  }
  throw new Error("the stack does not start");
}

let browser;
after(() => browser?.close());

/** A page in a fresh context. `check()` fails if something happened that must not; `allow` are further origins. */
export async function open({ scheme = "light", width = 1280, height = 900, origins }) {
  if (!browser) {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  }
  const context = await browser.newContext({
    colorScheme: scheme, viewport: { width, height }, reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"],
  });
  context.setDefaultTimeout(15_000);
  const wrong = [];
  context.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith("data:") && !origins.includes(new URL(url).origin)) wrong.push(`request to ${url}`);
  });
  context.on("weberror", (error) => wrong.push(`error: ${error.error().message}`));
  context.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    // Chromium reports each answer of 400 and above. What is expected is asserted by the tests.
    if (/^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text())) return;
    wrong.push(`console: ${message.text()}`);
  });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  const page = await context.newPage();
  return { page, context, wrong, check: () => assert.deepEqual(wrong, []) };
}

/** Asserts that axe finds nothing, with its best practices too. */
export async function accessible(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(found, [], name);
}

export async function screenshot(page, name, options = { fullPage: true }) {
  const directory = new URL("screenshots/", import.meta.url).pathname;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`), animations: "disabled", ...options });
}

/** Asserts that nothing is wider than the window. */
export async function fits(page, name) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${name} is ${content} wide in a window of ${window}`);
}

/** Invokes a function as an operator does. */
export async function invoke(url, name, event) {
  const response = await fetch(`${url}/2015-03-31/functions/${name}/invocations`, { method: "POST", body: JSON.stringify(event) });
  assert.equal(response.headers.get("x-amz-function-error"), null, await response.clone().text());
  return response.json();
}

export const tab = (page, name) => page.getByRole("tab", { name, exact: true }).click();
export const button = (scope, name) => scope.getByRole("button", { name, exact: true });
export const heading = (page, name) => page.getByRole("heading", { name, exact: true });
