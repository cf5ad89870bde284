// Decodes a JWT, and verifies it with the browser's cryptography and the published keys, as any resource server would.

import { send } from "./api.js";
import { copyButton, date, fill, h } from "./ui.js";

const bytes = (base64url) =>
  Uint8Array.from(atob(base64url.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const object = (part) => JSON.parse(new TextDecoder().decode(bytes(part)));

export function decode(token) {
  const jwt = token.replace(/^oauth2_/, "");
  const [header, payload, signature] = jwt.split(".");
  return { jwt, parts: [header, payload, signature], header: object(header), claims: object(payload) };
}

/** How long a key set is kept. Verifiers ask again after that, and when they meet a key that they do not know. */
const KEPT_MS = 60_000;
let kept;

async function fetchKeys() {
  const answer = await send({ method: "GET", path: "/.well-known/jwks.json" });
  if (answer.ok) return answer.json.keys;
  kept = undefined;
  throw new Error("The key set could not be fetched.");
}

async function findKey(kid) {
  for (const fresh of [false, true]) {
    if (fresh || !kept || Date.now() - kept.at > KEPT_MS) kept = { at: Date.now(), keys: fetchKeys() };
    const found = (await kept.keys).find((key) => key.kid === kid);
    if (found) return found;
  }
  return undefined;
}

/** The checks, as `[name, passed, detail]`. Throws with a sentence for the user if the signature cannot be checked. */
async function checks({ parts, header, claims }, expected) {
  if (!globalThis.crypto?.subtle) {
    throw new Error("Browsers verify signatures only on pages from localhost or over TLS. "
      + "Open this page at 127.0.0.1.");
  }
  const jwk = await findKey(header.kid);
  if (!jwk) return [["Signature", false, "no published key has this kid"]];
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", { kty: jwk.kty, n: jwk.n, e: jwk.e }, algorithm, false, ["verify"]);
  const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
  const signature = header.alg === "RS256" && await crypto.subtle.verify(algorithm, key, bytes(parts[2]), signed);
  const audiences = [claims.aud].flat();
  return [
    ["Signature", signature],
    ["Issuer", claims.iss === expected.issuer],
    ["Audience", audiences.includes(expected.audience)],
    ["Not expired", claims.exp * 1000 > Date.now()],
    ...(expected.nonce ? [["Nonce", claims.nonce === expected.nonce]] : []),
  ];
}

const TIMES = ["exp", "iat", "auth_time", "nbf"];

/** A view of a token: its claims, whether it is valid, and how it looks on the wire. */
export function view(token, expected) {
  const decoded = decode(token);
  const verdict = h("div", { class: "checks", "aria-live": "polite" }, h("span", { class: "badge" }, "Verifying…"));
  const badge = ([name, passed, detail]) =>
    h("span", { class: `badge ${passed ? "good" : "bad"}` },
      `${passed ? "✓" : "✗"} ${name}${detail ? `: ${detail}` : ""}`);
  checks(decoded, expected).then(
    (results) => fill(verdict, ...results.map(badge)),
    (error) => fill(verdict, h("span", { class: "badge bad" }, error.message)),
  );
  const claims = h("dl", { class: "claims" });
  for (const [name, value] of Object.entries(decoded.claims)) {
    const shown = typeof value === "string" ? value : JSON.stringify(value);
    const time = TIMES.includes(name) ? h("small", {}, date(value * 1000)) : null;
    claims.append(h("dt", {}, name), h("dd", {}, shown, time));
  }
  const { alg, typ, kid } = decoded.header;
  const prefix = token.startsWith("oauth2_") ? "oauth2_" : null;
  const encoded = h("pre", { class: "wrap", tabindex: "0" }, prefix);
  decoded.parts.forEach((part, index) => encoded.append(index ? "." : "", h("span", { class: `part-${index}` }, part)));
  return h("div", { class: "jwt" },
    verdict,
    h("p", { class: "quiet" }, "Header: ", h("code", {}, `${alg} · ${typ} · kid ${kid}`)),
    claims,
    h("div", { class: "actions" }, copyButton("Copy token", () => token)),
    h("details", {}, h("summary", {}, "As it is sent"), encoded));
}
