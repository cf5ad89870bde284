// The code flow with PKCE (RFC 6749, 7636, 9207; OpenID Connect Core), as a public client in a browser does it. Then
// what can be done with the tokens: refresh, replay, userinfo, introspection, and the end.

import { curl, send } from "./api.js";
import { decode, view } from "./jwt.js";
import { announce, button, copyButton, fill, h, json, moveFocus, notice, refusal, short } from "./ui.js";

const PENDING = "tokenmint-login";

const base64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

export function login(panel, settings) {
  const redirectUri = `${location.origin}/page/callback`;
  const client_id = settings.client;
  /** The tokens of this login: the access and ID token, and every refresh token so far, the current one last. */
  let session;

  // 1. Send the browser to the login service. What must come back unchanged stays in this tab.
  async function begin() {
    if (!globalThis.crypto?.subtle) {
      return signedOut(notice("error", "This browser offers no cryptography here",
        "Open this page at 127.0.0.1 or localhost."));
    }
    const discovery = await send({ method: "GET", path: "/.well-known/openid-configuration" });
    if (!discovery.ok) {
      return signedOut(discovery.status === 404
        ? notice("error", "This stack has no OpenID Connect issuer",
          "Its issuer has to be a URL without a path: see --oidc-issuer.")
        : refusal(discovery));
    }
    const pending = { issuer: discovery.json.issuer, verifier: random(), state: random(), nonce: random() };
    sessionStorage.setItem(PENDING, JSON.stringify(pending));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(pending.verifier));
    location.assign(`/authorize?${new URLSearchParams({
      response_type: "code", client_id, redirect_uri: redirectUri, scope: settings.scopes.join(" "),
      state: pending.state, nonce: pending.nonce, code_challenge: base64url(digest), code_challenge_method: "S256",
    })}`);
  }

  // 2. The browser is back. Nothing is believed before `state` and `iss` are right.
  async function finish(parameters) {
    const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
    sessionStorage.removeItem(PENDING);
    if (!pending || parameters.get("state") !== pending.state) {
      return signedOut(notice("error", "This answer belongs to no login of this tab",
        "Its state is not the one that was sent. Log in again."));
    }
    if (parameters.get("iss") !== pending.issuer) {
      return signedOut(notice("error", "This answer is from another service", "Its iss is not this issuer."));
    }
    if (parameters.has("error")) {
      const error = parameters.get("error");
      const title = error === "access_denied" ? "You denied the request" : `The login failed: ${error}`;
      return signedOut(notice("error", title, parameters.get("error_description") ?? ""));
    }
    fill(panel, h("p", { class: "empty" }, "Exchanging the code…"));
    const answer = await token({
      grant_type: "authorization_code", code: parameters.get("code"), redirect_uri: redirectUri,
      client_id, code_verifier: pending.verifier,
    });
    if (!answer.ok) return signedOut(refusal(answer));
    session = { issuer: pending.issuer, nonce: pending.nonce, refreshTokens: [], views: new Map() };
    keep(answer.json);
    draw();
    announce("You are logged in as Demo User");
    moveFocus(panel.querySelector("h2"));
  }

  const token = (form) => send({ method: "POST", path: "/oauth2/token", form });
  const latest = () => session.refreshTokens.at(-1);
  const refreshWith = (refresh_token) => ({
    method: "POST", path: "/oauth2/token", form: { grant_type: "refresh_token", refresh_token, client_id },
  });

  const grantHasEnded = (answer) => answer.json?.error === "invalid_grant";

  function keep(tokens) {
    session.access = tokens.access_token;
    session.id = tokens.id_token ?? session.id;
    if (tokens.refresh_token !== latest()) session.refreshTokens.push(tokens.refresh_token);
  }

  async function refresh() {
    const answer = await send(refreshWith(latest()));
    if (!answer.ok) return grantHasEnded(answer) ? over(refusal(answer)) : draw(refusal(answer));
    // A refresh answers with no nonce (OpenID Connect Core, 12.2).
    session.nonce = undefined;
    keep(answer.json);
    draw(notice("", "Rotated", `Refresh token ${session.refreshTokens.length} takes the place of the one before.`));
    announce("Tokens refreshed");
  }

  async function replay(index) {
    const answer = await send(refreshWith(session.refreshTokens[index]));
    if (answer.ok) {
      const next = session.refreshTokens.indexOf(answer.json.refresh_token) + 1;
      keep(answer.json);
      return draw(notice("", `The same successor again: refresh token ${next}`,
        "For a minute, and while its successor is unused, this counts as a retry of a refresh whose answer was lost. "
          + "Refresh once more, then replay it."));
    }
    if (!grantHasEnded(answer)) return draw(refusal(answer));
    over(refusal(answer), h("p", { class: "quiet" },
      "A used refresh token came back, so somebody may have stolen it. The whole grant is dead: the current refresh ",
      "token and userinfo are refused from now on. Try them."));
  }

  function over(...why) {
    session.over = true;
    draw(...why);
    announce("The grant is over");
  }

  const requests = {
    Userinfo: () => ({ method: "GET", path: "/oauth2/userinfo", bearer: session.access }),
    Introspect: () => ({
      method: "POST", path: "/oauth2/introspect", bearer: settings.apiKey, form: { token: session.access },
    }),
    Refresh: () => refreshWith(latest()),
    "Sign out": () => ({
      method: "POST", path: "/oauth2/revoke", form: { token: latest(), token_type_hint: "refresh_token", client_id },
    }),
  };

  async function ask(name) {
    const answer = await send(requests[name]());
    const title = h("h3", {}, `${name}: ${answer.failed ? "no answer" : answer.status}`);
    draw(answer.ok ? h("div", {}, title, json(answer.json)) : refusal(answer));
    announce(`${name} answered ${answer.status}`);
  }

  async function signOut() {
    const answer = await send(requests["Sign out"]());
    if (!answer.ok) return draw(refusal(answer));
    session = undefined;
    signedOut(notice("", "Signed out", "The grant is over: its refresh token works no more. "
      + "APIs that check only the signature accept the access token until it expires."));
    announce("Signed out");
    moveFocus(panel.querySelector("button"));
  }

  function signedOut(...messages) {
    const step = (title, text) => h("li", {}, h("strong", {}, title), text);
    fill(panel, h("div", { class: "card" },
      h("h2", { tabindex: "-1" }, "Log in with OpenID Connect"),
      h("p", { class: "lead" }, "The authorization code flow with PKCE, through a demo login service with one user."),
      ...messages,
      h("ol", { class: "steps" },
        step("Ask", "The page makes a verifier, keeps it, and sends its SHA-256 with state and nonce."),
        step("Agree", "You continue or deny. The code comes back in a redirect."),
        step("Exchange", "The page shows the verifier, and gets an ID token, an access token and a refresh token.")),
      h("div", { class: "actions" }, button("Log in", "primary", begin))));
  }

  function draw(...result) {
    const count = session.refreshTokens.length;
    const state = (index) => {
      if (session.over) return ["ended", "bad"];
      return index === count - 1 ? ["current", "good"] : ["used", ""];
    };
    const chain = h("ol", { class: "list" }, ...session.refreshTokens.map((secret, index) => {
      const [text, style] = state(index);
      return h("li", {},
        h("div", { class: "what" }, h("span", {}, `Refresh token ${index + 1}`), h("code", {}, short(secret))),
        h("div", { class: "actions" },
          index < count - 1 && !session.over
            ? button("Replay", "small", () => replay(index), { "aria-label": `Replay refresh token ${index + 1}` })
            : null,
          h("span", { class: `badge ${style}` }, text)));
    }));
    /** The view of a token is made, and the token verified, once. */
    const shown = (token, expected) => {
      if (!session.views.has(token)) session.views.set(token, view(token, expected));
      return session.views.get(token);
    };
    const { name, email } = decode(session.id).claims;
    fill(panel,
      h("div", { class: "card" },
        h("div", { class: "head" },
          h("h2", { tabindex: "-1" }, session.over ? "The grant is over" : `Logged in as ${name}`),
          h("span", { class: `badge ${session.over ? "bad" : "good"}` }, session.over ? "ended" : email)),
        h("div", { class: "actions" },
          button("Refresh", "primary", refresh),
          button("Userinfo", "secondary", () => ask("Userinfo")),
          button("Introspect", "secondary", () => ask("Introspect")),
          session.over ? button("Log in again", "secondary", begin) : button("Sign out", "secondary", signOut)),
        ...result),
      h("div", { class: "card" }, h("h2", {}, "Refresh tokens"),
        h("p", { class: "lead" },
          "Each works once and brings the next. Refresh twice, then replay the first: the grant dies."),
        chain,
        h("div", { class: "actions" }, ...Object.entries(requests).map(([name, request]) =>
          copyButton(`${name} as curl`, () => curl(request()))))),
      h("div", { class: "pair" },
        h("div", { class: "card" }, h("h2", {}, "ID token"),
          h("p", { class: "lead" }, "For the client: who has logged in."),
          shown(session.id, { issuer: session.issuer, audience: client_id, nonce: session.nonce })),
        h("div", { class: "card" }, h("h2", {}, "Access token"),
          h("p", { class: "lead" }, "For APIs: what the client may do."),
          shown(session.access, { issuer: session.issuer, audience: settings.audience ?? session.issuer }))));
  }

  signedOut();
  return finish;
}
