// A page of another origin reaches the API's own routes, and nothing else of the stack.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { API_KEY, open, startStack } from "./harness.mjs";

const url = await startStack();

/** A server of another origin, with an empty page at every path. */
async function stranger() {
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("<!doctype html><title>Another origin</title>");
  });
  await new Promise((listening) => { server.listen(0, "127.0.0.1", listening); });
  after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

test("a page of another origin", async () => {
  const other = await stranger();
  const { page, context } = await open({ origins: [url, other] });
  const answered = [];
  context.on("response", (response) => { if (response.url().startsWith(url)) answered.push(`${response.status()} ${response.request().method()} ${response.url().slice(url.length)}`); });
  await page.goto(other);

  const attempt = (path, options) => page.evaluate(async ([target, init]) => {
    try {
      const response = await fetch(target, init);
      return response.type === "opaque" ? "unreadable" : response.status;
    } catch {
      return "refused";
    }
  }, [url + path, options]);

  const headers = { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" };
  const list = { method: "POST", headers, body: JSON.stringify({ registrationId: "demo" }) };
  assert.equal(await attempt("/api/v1/list-tokens", list), 200, "the API is for everybody");

  const event = JSON.stringify({ action: "createOrganization", slug: "stolen" });
  const invocation = "/2015-03-31/functions/provision/invocations";
  for (const [path, init] of [
    [invocation, { method: "POST", body: event }],
    [invocation, { method: "POST", body: event, mode: "no-cors" }],
    [invocation, { method: "POST", body: event, headers: { "content-type": "application/json" } }],
    ["/", { method: "POST", body: "{}", headers: { "x-amz-target": "DynamoDB_20120810.ListTables" } }],
    ["/", { method: "POST", body: "{}", headers: { "x-amz-target": "TrentService.ListKeys" } }],
    ["/", {}],
    ["/", { mode: "no-cors" }],
    ["/docs", {}],
    ["/page/callback", {}],
    ["/page/settings.json", {}],
    ["/page/settings.json", { mode: "no-cors", credentials: "include" }],
    ["/page/main.js", { mode: "no-cors" }],
    ["/authorize", {}],
    ["/authorize", { mode: "no-cors", credentials: "include" }],
    ["/authorize", { method: "POST", mode: "no-cors", body: "ticket=x&answer=continue" }],
  ]) {
    const result = await attempt(path, init);
    assert.ok(["refused", "unreadable"].includes(result), `${JSON.stringify(init)} ${path}: ${result}`);
  }
  // Whatever arrived was refused there, too: nothing was done that the page could not see.
  const beyond = answered.filter((line) => !line.includes("/api/v1/"));
  assert.ok(beyond.length > 5, String(beyond));
  for (const line of beyond) assert.match(line, /^(403|204 OPTIONS)/, line);
  const again = await fetch(`${url}${invocation}`, { method: "POST", body: event });
  assert.equal(again.headers.get("x-amz-function-error"), null, "the organization was not created before");
});

test("no page can be framed, and no script of it loaded elsewhere", async () => {
  const other = await stranger();
  const { page, wrong } = await open({ origins: [url, other] });
  for (const path of ["/", "/docs", "/authorize"]) {
    await page.goto(other);
    const shown = await page.evaluate((target) => new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.src = target;
      frame.addEventListener("load", () => { try { done(Boolean(frame.contentDocument)); } catch { done(false); } });
      document.body.append(frame);
    }), url + path);
    assert.equal(shown, false, path);
    const frame = page.frames().find((one) => one !== page.mainFrame());
    assert.ok(!(await frame.content()).includes("tokenmint"), path);
  }
  assert.ok(wrong.some((line) => line.includes("frame-ancestors")), String(wrong));
  await page.goto(other);
  const loaded = await page.evaluate((source) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = source;
    script.addEventListener("load", () => done(true));
    script.addEventListener("error", () => done(false));
    document.body.append(script);
  }), `${url}/page/main.js`);
  assert.equal(loaded, false);
});

test("a form of another origin cannot answer the login", async () => {
  const other = await stranger();
  const { page } = await open({ origins: [url, other] });
  await page.goto(other);
  const answer = page.waitForResponse((response) => response.url() === `${url}/authorize`);
  await page.evaluate((action) => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = action;
    document.body.append(form);
    form.submit();
  }, `${url}/authorize`);
  assert.equal((await answer).status(), 403);
});
