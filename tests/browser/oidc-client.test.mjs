// oidc-client-ts, as it is published, in a single-page application on another origin: discovery, sign-in, silent renewal with a
// refresh token and in a frame, userinfo, revocation.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { button, invoke, open, startStack } from "./harness.mjs";

const library = readFileSync(new URL("node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js", import.meta.url));
const html = "<!doctype html><title>An application</title><link rel=icon href=data:,><script src=/oidc-client-ts.js></script>";
// The page of the frame hands the answer over to the window around it.
const silent = `${html}<script>new oidc.UserManager({ authority: "-", client_id: "-", redirect_uri: "-" }).signinSilentCallback()</script>`;
const server = createServer(({ url: path }, response) => {
  const script = path === "/oidc-client-ts.js";
  response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" });
  response.end(script ? library : path.startsWith("/silent") ? silent : html);
});
await new Promise((listening) => { server.listen(0, "127.0.0.1", listening); });
after(() => server.close());
const application = `http://127.0.0.1:${server.address().port}`;

const url = await startStack("--allow-origin", application);
const { clientId } = await invoke(url, "provision", {
  action: "createClient", redirectUris: [`${application}/callback`, `${application}/silent`], services: ["email"],
  scopes: ["openid", "profile", "email"],
});

/** Makes `manager` in the page. */
const start = (page, more = {}) => page.evaluate((settings) => {
  globalThis.manager = new globalThis.oidc.UserManager(settings);
}, {
  authority: url, client_id: clientId, redirect_uri: `${application}/callback`, silent_redirect_uri: `${application}/silent`,
  scope: "openid profile email", loadUserInfo: true, automaticSilentRenew: false, ...more,
});
const user = (page, call) => page.evaluate(async (source) => {
  // The test's own code, not the library's.
  const { profile, ...rest } = (await new Function("manager", `return ${source}`)(globalThis.manager)) ?? {};
  return { profile, ...rest };
}, call);

async function signIn(page) {
  await page.goto(application);
  await start(page);
  await page.evaluate(() => { globalThis.manager.signinRedirect(); });
  await button(page, "Continue as Demo User").click();
  await page.waitForURL(`${application}/callback?*`);
  await start(page);
  return user(page, "manager.signinCallback()");
}

test("sign-in, silent renewal with the refresh token, revocation", async () => {
  const { page, check } = await open({ origins: [url, application] });
  const first = await signIn(page);
  assert.equal(first.profile.sub, "demo-user");
  assert.equal(first.profile.email, "user@example.com");
  assert.equal(first.token_type, "Bearer");
  assert.equal(first.scope, "openid profile email");

  const renewed = await user(page, "manager.signinSilent()");
  assert.equal(renewed.profile.sub, "demo-user");
  assert.notEqual(renewed.access_token, first.access_token);
  assert.notEqual(renewed.refresh_token, first.refresh_token);

  await page.evaluate(() => globalThis.manager.revokeTokens(["refresh_token"]));
  const refused = await fetch(`${url}/oauth2/token`, {
    method: "POST", body: new URLSearchParams({ grant_type: "refresh_token", client_id: clientId, refresh_token: renewed.refresh_token }),
  });
  assert.deepEqual([refused.status, (await refused.json()).error], [400, "invalid_grant"]);
  check();
});

test("silent renewal in a frame", async () => {
  const { page, check } = await open({ origins: [url, application] });
  await page.goto(application);
  await start(page);
  const before = await page.evaluate(() => globalThis.manager.signinSilent().then(() => "signed in", (error) => error.error));
  assert.equal(before, "login_required");
  const first = await signIn(page);
  const renewed = await user(page, "manager.signinSilent({ forceIframeAuth: true })");
  assert.equal(renewed.profile.sub, "demo-user");
  assert.notEqual(renewed.access_token, first.access_token);
  check();
});
