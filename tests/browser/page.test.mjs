// The page at `/`: tokens, app tokens, keys, and what holds for all of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { API_KEY, SCHEMES, accessible, button, fits, heading, open, screenshot, startStack, tab } from "./harness.mjs";

const url = await startStack();

/** Revokes all tokens of the demo's registration. */
async function revokeAll(stack = url) {
  const post = async (path, body) => (await fetch(stack + path, {
    method: "POST", body: JSON.stringify({ registrationId: "demo", ...body }),
    headers: { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" },
  })).json();
  for (const { id } of (await post("/api/v1/list-tokens")).tokens) await post("/api/v1/revoke-token", { tokenId: id });
}

test("tokens: create, verify, the quota and its refusal, revoke", async () => {
  await revokeAll();
  const { page, check } = await open({ origins: [url] });
  await page.goto(url);
  const meter = page.getByRole("meter", { name: "Active tokens" });
  await page.getByText("No token is active").waitFor();
  assert.equal(await meter.getAttribute("aria-valuenow"), "0");

  await page.getByLabel("E-mail").fill("user@example.com");
  await button(page, "Create token").click();
  for (const verdict of ["✓ Signature", "✓ Issuer", "✓ Audience", "✓ Not expired"]) await page.getByText(verdict, { exact: true }).waitFor();
  const made = page.locator(".card", { has: heading(page, "The new token") });
  assert.ok((await made.innerText()).includes("user@example.com"));
  await made.getByText("As it is sent").click();
  assert.match(await made.locator("pre").innerText(), /^oauth2_eyJ/);
  await button(made, "Copy token").click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^oauth2_eyJ/);

  // The curl line that is shown creates another one.
  const inspector = page.getByRole("region", { name: "The last requests" });
  const line = await inspector.getByLabel("The request as a curl line").innerText();
  assert.ok(line.startsWith(`curl ${url}/api/v1/create-token`) && line.includes(API_KEY), line);
  await button(page, "Copy as curl").first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), line);

  await page.getByLabel("E-mail").fill("");
  for (let active = 2; active <= 10; active += 1) {
    await button(page, "Create token").click();
    await page.locator(`[role=meter][aria-valuenow="${active}"]`).waitFor();
  }
  await button(page, "Create token").click();
  const refusal = page.getByRole("alert");
  await refusal.waitFor();
  assert.match(await refusal.innerText(), /Refused with 400\s+Active token quota exceeded or registration not found/);
  await screenshot(page, "tokens-full-light-1280");

  await page.getByRole("button", { name: /^Revoke / }).first().click();
  await page.locator('[role=meter][aria-valuenow="9"]').waitFor();
  assert.equal(await page.getByRole("alert").count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Active tokens");
  check();
});

test("tokens: a wrong address is refused in the service's own words", async () => {
  const { page, check } = await open({ origins: [url] });
  await page.goto(url);
  await page.getByLabel("E-mail").fill("nobody");
  await button(page, "Create token").click();
  assert.match(await page.getByRole("alert").innerText(), /Refused with 400\s+email must/);
  check();
});

test("a stack that has ended is said so", async () => {
  const { page, context } = await open({ origins: [url] });
  await page.goto(url);
  await page.getByRole("meter").waitFor();
  await context.route("**/api/v1/create-token", (route) => route.abort());
  await button(page, "Create token").click();
  assert.match(await page.getByRole("alert").innerText(), /The stack does not answer/);
});

test("app tokens: create with description and scopes, copy once, list, revoke", async () => {
  const { page, check } = await open({ origins: [url] });
  await page.goto(url);
  await tab(page, "App tokens");
  await page.getByText("There is no app token yet.").waitFor();
  await page.getByLabel("Description").fill("CI of the web shop");
  await page.getByLabel("Scopes").fill("sdk  deploy");
  await button(page, "Create app token").click();
  const made = page.locator(".card", { has: heading(page, "Copy it now") });
  await button(made, "Copy").click();
  const bearer = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(bearer, /^tma_[0-9A-Za-z]{66}$/);
  const row = page.locator(".list li", { hasText: "CI of the web shop" });
  assert.match(await row.innerText(), /sdk deploy/);
  await screenshot(page, "app-tokens-light-1280");
  await button(made, "I have it, hide it").click();
  await made.waitFor({ state: "hidden" });
  assert.ok(!(await page.locator("#app-tokens").innerHTML()).includes(bearer));

  await page.getByLabel("Scopes").fill("not/\"ok");
  await button(page, "Create app token").click();
  assert.match(await page.getByRole("alert").innerText(), /Refused with 400\s+scopes/);

  await button(page, "Revoke CI of the web shop").click();
  await page.getByText("There is no app token yet.").waitFor();
  check();
});

test("app tokens: many are in several pages", async () => {
  const path = `${url}/v1/organizations/demo/apps/demo-app/tokens`;
  const headers = { authorization: `Bearer ${API_KEY}`, "content-type": "application/json" };
  const made = [];
  for (let index = 0; index < 21; index += 1) {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ description: `token ${index}` }) });
    made.push((await answer.json()).data.id);
  }
  const { page, check } = await open({ origins: [url] });
  await page.goto(`${url}/#app-tokens`);
  const rows = page.locator("#app-tokens .list li");
  await rows.nth(19).waitFor();
  await button(page, "Older").click();
  await page.getByText("token 0", { exact: true }).waitFor();
  assert.equal(await rows.count(), 1);
  await button(page, "Newer").click();
  await rows.nth(19).waitFor();
  for (const id of made) await fetch(`${path}/${id}`, { method: "DELETE", headers });
  check();
});

test("keys: in kms mode the set, and how to rotate elsewhere", async () => {
  const { page, check } = await open({ origins: [url] });
  await page.goto(`${url}/#keys`);
  await page.getByText("signs", { exact: true }).waitFor();
  assert.equal(await page.locator("#keys .list li").count(), 1);
  assert.equal(await button(page, "Rotate the key").count(), 0);
  await page.getByText("--signing-mode envelope").waitFor();
  check();
});

test("keys: in envelope mode they rotate, and old tokens stay valid", async () => {
  const envelope = await startStack("--signing-mode", "envelope");
  const { page, check } = await open({ origins: [envelope] });
  await page.goto(envelope);
  await button(page, "Create token").click();
  await page.getByText("✓ Signature", { exact: true }).waitFor();
  await tab(page, "Keys");
  await page.getByText("signs", { exact: true }).waitFor();
  const before = await page.locator("#keys .list li").count();
  await button(page, "Rotate the key").click();
  await page.getByText("The new key is made").waitFor();
  await page.locator("#keys .list li").nth(before).waitFor({ timeout: 90_000 });
  await screenshot(page, "keys-light-1280");
  await tab(page, "Tokens");
  await button(page, "Create token").click();
  await page.getByText("✓ Signature", { exact: true }).waitFor();
  check();
});

test("by keyboard alone", async () => {
  await revokeAll();
  const { page, check } = await open({ origins: [url] });
  await page.goto(url);
  await page.getByText("No token is active").waitFor();
  const press = (key) => page.keyboard.press(key);
  const focused = () => page.evaluate(() => (document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent ?? "").trim());
  const reach = async (name) => {
    for (let presses = 0; presses < 40; presses += 1) {
      await press("Tab");
      if ((await focused()).startsWith(name)) {
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.notEqual(outline, "none", `the focus on ${name} is visible`);
        return;
      }
    }
    throw new Error(`Tab does not reach ${name}`);
  };
  await press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  await reach("Create token");
  await press("Enter");
  await page.getByText("✓ Signature", { exact: true }).waitFor();
  await reach("Revoke");
  await press("Enter");
  await page.getByText("No token is active").waitFor();

  await page.getByRole("tab", { name: "Tokens", exact: true }).focus();
  await press("ArrowRight");
  assert.equal(await focused(), "App tokens");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.type("by keyboard");
  await press("Enter");
  await heading(page, "Copy it now").waitFor();
  await reach("I have it");
  await press("Enter");
  assert.equal(await focused(), "Create app token");
  // An answer that comes late leaves the focus where the user has gone meanwhile.
  let answer;
  const held = new Promise((resolve) => { answer = resolve; });
  await page.route("**/apps/*/tokens/*", async (route) => { await held; await route.continue(); });
  await reach("Revoke");
  await press("Enter");
  await page.getByRole("tab", { name: "App tokens" }).focus();
  await press("End");
  assert.equal(await focused(), "Keys");
  answer();
  await page.getByText("There is no app token yet.").waitFor({ state: "attached" });
  assert.equal(await focused(), "Keys");
  await press("ArrowRight");
  assert.equal(await focused(), "Tokens");
  await press("ArrowLeft");
  await press("ArrowLeft");
  assert.equal(await focused(), "Log in");
  await reach("Log in");
  await press("Enter");
  await heading(page, "Log in").waitFor();
  await reach("Continue as Demo User");
  await press("Tab");
  assert.equal(await focused(), "Deny");
  await press("Enter");
  await page.getByText("You denied the request").waitFor();
  check();
});

for (const scheme of SCHEMES) {
  test(`accessible, and narrow enough for a phone: ${scheme}`, async () => {
    await revokeAll();
    for (const width of [1280, 390]) {
      const { page, check } = await open({ origins: [url], scheme, width, height: width === 390 ? 844 : 900 });
      await page.goto(url);
      await page.getByLabel("E-mail").fill("user@example.com");
      await button(page, "Create token").click();
      await page.getByText("✓ Signature", { exact: true }).waitFor();
      const look = async (name) => {
        await accessible(page, `${name} ${scheme} ${width}`);
        await fits(page, name);
        await screenshot(page, `${name}-${scheme}-${width}`);
      };
      await look("tokens");
      await tab(page, "App tokens");
      await page.getByLabel("Description").fill("CI of the web shop");
      await button(page, "Create app token").click();
      await heading(page, "Copy it now").waitFor();
      await look("app-tokens");
      await page.getByRole("button", { name: /^Revoke / }).first().click();
      await tab(page, "Keys");
      await page.getByText("signs", { exact: true }).waitFor();
      await look("keys");
      await tab(page, "Log in");
      await look("login");
      await page.goto(`${url}/authorize`);
      await look("authorize-error");
      check();
    }
  });
}

test("the picture of the README", async () => {
  const update = process.env.UPDATE_SCREENSHOTS;
  const options = { fullPage: false };
  // The address that readers will see.
  const stack = update ? await startStack("--port", "3000") : url;
  for (const scheme of SCHEMES) {
    await revokeAll(stack);
    const { page, check } = await open({ origins: [stack], scheme, width: 1200, height: 940 });
    await page.goto(stack);
    await page.getByLabel("E-mail").fill("user@example.com");
    for (let active = 1; active <= 3; active += 1) {
      await button(page, "Create token").click();
      await page.locator(`[role=meter][aria-valuenow="${active}"]`).waitFor();
    }
    await page.getByText("✓ Signature", { exact: true }).waitFor();
    await page.locator("[aria-busy=true]").waitFor({ state: "detached" });
    await page.evaluate(() => document.activeElement.blur());
    await page.mouse.move(0, 0);
    await screenshot(page, `readme-${scheme}`, options);
    if (update) {
      const path = new URL(`../../local/screenshots/${scheme}.png`, import.meta.url).pathname;
      await page.screenshot({ path, animations: "disabled", ...options });
    }
    check();
  }
});
