// The whole login at `/`, in real redirects: the code flow with PKCE, and what becomes of its tokens.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { CLIENT, SCHEMES, accessible, button, fits, heading, invoke, open, screenshot, startStack, tab } from "./harness.mjs";

const url = await startStack();

/** Logs in by the visible controls. */
async function logIn(page) {
  await page.goto(`${url}/#login`);
  await button(page, "Log in").click();
  await button(page, "Continue as Demo User").click();
  await heading(page, "Logged in as Demo User").waitFor();
}

/** Waits until both tokens are verified. */
async function verified(page) {
  await page.getByText("✓ Signature", { exact: true }).nth(1).waitFor();
  assert.equal(await page.getByText(/^✗/).count(), 0);
}

const claim = (card, name) => card.locator(`dt:text-is("${name}") + dd`).innerText();
const card = (page, name) => page.locator("#login .card", { has: heading(page, name) });
const chain = (page) => page.locator("#login .card", { has: heading(page, "Refresh tokens") }).locator("ol > li");

test("a login in a redirect, with both tokens verified side by side", async () => {
  const { page, context, check } = await open({ origins: [url] });
  const navigations = [];
  context.on("request", (request) => { if (request.isNavigationRequest()) navigations.push(new URL(request.url())); });
  await logIn(page);
  await verified(page);
  const authorize = navigations.find(({ pathname, search }) => pathname === "/authorize" && search);
  const sent = Object.fromEntries(authorize.searchParams);
  assert.equal(sent.code_challenge_method, "S256");
  assert.match(sent.code_challenge, /^[\w-]{43}$/);
  assert.equal(sent.redirect_uri, `${url}/page/callback`);
  const callback = navigations.find(({ pathname }) => pathname === "/page/callback");
  assert.equal(callback.searchParams.get("state"), sent.state);
  assert.equal(callback.searchParams.get("iss"), url);
  assert.equal(page.url(), `${url}/#login`, "the code is not left in the address");

  const [idToken, access] = [card(page, "ID token"), card(page, "Access token")];
  assert.equal(await claim(idToken, "nonce"), sent.nonce);
  assert.equal(await claim(idToken, "aud"), CLIENT);
  assert.equal(await claim(idToken, "email"), "user@example.com");
  assert.equal(await claim(access, "scope"), "openid profile email");
  assert.match(await access.innerText(), /RS256 · at\+jwt/);
  await idToken.getByText("✓ Nonce").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Logged in as Demo User");
  assert.deepEqual(await page.evaluate(() => [localStorage.length, sessionStorage.length]), [0, 0]);
  check();
});

test("userinfo, introspection, refresh, and sign out", async () => {
  const { page, check } = await open({ origins: [url] });
  await logIn(page);
  const shown = page.locator("#login .card").first().locator("pre");
  await button(page, "Userinfo").click();
  await heading(page, "Userinfo: 200").waitFor();
  assert.deepEqual(JSON.parse(await shown.innerText()), {
    sub: "demo-user", name: "Demo User", email: "user@example.com", email_verified: true,
  });
  await button(page, "Introspect").click();
  await heading(page, "Introspect: 200").waitFor();
  const introspected = JSON.parse(await shown.innerText());
  assert.deepEqual([introspected.active, introspected.sub, introspected.client_id], [true, "demo-user", CLIENT]);

  const jti = await claim(card(page, "Access token"), "jti");
  await button(page, "Refresh").click();
  await page.getByText("Refresh token 2 takes the place of the one before.").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Refresh", "the focus stays");
  await verified(page);
  assert.notEqual(await claim(card(page, "Access token"), "jti"), jti);
  assert.match((await chain(page).allInnerTexts()).join(" / "), /token 1.*used \/ .*token 2.*current/s);
  // A repeated refresh gives the same successor.
  await button(page, "Replay refresh token 1").click();
  await page.getByText("The same successor again: refresh token 2").waitFor();
  assert.equal(await chain(page).count(), 2);

  await button(page, "Refresh as curl").click();
  const line = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(line, /^curl http\S+\/oauth2\/token \\\n {2}-d grant_type=refresh_token \\\n {2}-d refresh_token=tmr_\w+ \\\n/);

  await button(page, "Sign out").click();
  await page.locator("#login strong", { hasText: "Signed out" }).waitFor();
  assert.equal(await heading(page, "ID token").count(), 0);
  const refused = await fetch(`${url}/oauth2/token`, {
    method: "POST", body: new URLSearchParams({ grant_type: "refresh_token", client_id: CLIENT, refresh_token: /tmr_\w+/.exec(line)[0] }),
  });
  assert.equal((await refused.json()).error, "invalid_grant");
  check();
});

test("a replayed refresh token ends the grant", async () => {
  const { page, check } = await open({ origins: [url] });
  await logIn(page);
  for (const count of [2, 3]) {
    await button(page, "Refresh").click();
    await page.getByText(`Refresh token ${count} takes the place`).waitFor();
  }
  await button(page, "Replay refresh token 1").click();
  await heading(page, "The grant is over").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "The grant is over");
  assert.match(await page.getByRole("alert").innerText(), /Refused with 400\s+invalid_grant/);
  assert.match((await chain(page).allInnerTexts()).join(" "), /ended.*ended.*ended/s);
  await screenshot(page, "replayed-light-1280");
  // The current one and the access token are dead too.
  await button(page, "Userinfo").click();
  await page.getByText("Refused with 401").waitFor();
  await button(page, "Refresh").click();
  await page.getByText("Refused with 400").waitFor();
  check();
});

test("a user denies, and an answer that nobody asked for is not believed", async () => {
  const { page, check } = await open({ origins: [url] });
  await page.goto(`${url}/#login`);
  await button(page, "Log in").click();
  await button(page, "Deny").click();
  await page.getByText("You denied the request").waitFor();
  const calls = [];
  page.on("request", (request) => calls.push(new URL(request.url()).pathname));
  await page.goto(`${url}/page/callback?code=tmc_x&state=forged&iss=${encodeURIComponent(url)}`);
  await page.getByText("This answer belongs to no login of this tab").waitFor();
  await page.goto(`${url}/#login`);
  await page.reload();
  await button(page, "Log in").click();
  await page.waitForURL(`${url}/authorize?*`);
  const state = new URL(page.url()).searchParams.get("state");
  await page.goto(`${url}/page/callback?code=tmc_x&state=${state}&iss=https%3A%2F%2Fevil.example`);
  await page.getByText("This answer is from another service").waitFor();
  assert.ok(!calls.includes("/oauth2/token"), "no code was sent anywhere");
  check();
});

test("without an issuer for OpenID Connect the page says so", async () => {
  const stack = await startStack("--issuer", "urn:example");
  const { page, check } = await open({ origins: [stack] });
  await page.goto(`${stack}/#login`);
  await button(page, "Log in").click();
  await page.getByText("This stack has no OpenID Connect issuer").waitFor();
  await tab(page, "Tokens");
  await button(page, "Create token").click();
  await page.getByText("✓ Issuer", { exact: true }).waitFor();
  check();
});

test("by keyboard alone, by the other name of the loopback", async () => {
  const other = url.replace("127.0.0.1", "localhost");
  const { page, check } = await open({ origins: [url, other] });
  await page.goto(`${other}/#login`);
  await page.getByRole("tab", { name: "Log in" }).focus();
  for (const name of ["Log in", "Continue as Demo User"]) {
    await button(page, name).waitFor();
    for (let presses = 0; presses < 20; presses += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(() => document.activeElement.textContent) === name) break;
    }
    await page.keyboard.press("Enter");
  }
  await heading(page, "Logged in as Demo User").waitFor();
  check();
});

for (const scheme of SCHEMES) {
  test(`accessible, and narrow enough for a phone: ${scheme}`, async () => {
    for (const width of [1280, 390]) {
      const { page, check } = await open({ origins: [url], scheme, width, height: width === 390 ? 844 : 900 });
      const look = async (name) => {
        await accessible(page, `${name} ${scheme} ${width}`);
        await fits(page, name);
        await screenshot(page, `${name}-${scheme}-${width}`);
      };
      await page.goto(`${url}/#login`);
      await button(page, "Log in").click();
      await heading(page, "Log in").waitFor();
      await look("authorize");
      await button(page, "Continue as Demo User").click();
      await verified(page);
      await button(page, "Refresh").click();
      await page.getByText("Refresh token 2 takes the place").waitFor();
      await verified(page);
      await look("logged-in");
      await button(page, "Userinfo").click();
      await heading(page, "Userinfo: 200").waitFor();
      await look("userinfo");
      await tab(page, "Tokens");
      await tab(page, "Log in");
      await heading(page, "Logged in as Demo User").waitFor();
      check();
    }
  });
}

test("a page posts the answer to the client", async () => {
  const received = [];
  const client = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request));
    if (request.method === "POST") received.push(Object.fromEntries(form));
    response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>Client</title><h1>At the client</h1>");
  }).listen(0, "127.0.0.1");
  await once(client, "listening");
  const callback = `http://127.0.0.1:${client.address().port}/callback`;
  const { clientId } = await invoke(url, "provision", {
    action: "createClient", redirectUris: ["http://127.0.0.1/callback"], services: ["email"], scopes: ["openid"],
  });
  const { page, check } = await open({ origins: [url, new URL(callback).origin] });
  const query = new URLSearchParams({
    response_type: "code", response_mode: "form_post", client_id: clientId, redirect_uri: callback, scope: "openid",
    state: "a \"state\" & <more>", code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", code_challenge_method: "S256",
  });
  for (const answer of ["Continue as Demo User", "Deny"]) {
    await page.goto(`${url}/authorize?${query}`);
    await button(page, answer).click();
    await heading(page, "At the client").waitFor();
    assert.equal(page.url(), callback);
  }
  const [allowed, denied] = received;
  assert.match(allowed.code, /^tmc_\w+$/);
  assert.deepEqual([allowed.state, allowed.iss], ["a \"state\" & <more>", url]);
  assert.deepEqual([denied.error, denied.code, received.length], ["access_denied", undefined, 2]);
  check();
  client.close();
});
