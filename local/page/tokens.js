// OAuth access tokens under a quota.

import { curl, send } from "./api.js";
import { view } from "./jwt.js";
import { announce, busy, button, copyButton, date, fill, h, moveFocus, notice, refusal } from "./ui.js";

export function tokens(panel, settings) {
  const { apiKey: bearer, registration: registrationId } = settings;
  const email = h("input", { type: "email", id: "email", autocomplete: "off", placeholder: "user@example.com" });
  const create = () => ({
    method: "POST", path: "/api/v1/create-token", bearer,
    json: { registrationId, ...(email.value.trim() && { email: email.value.trim() }) },
  });
  const submit = h("button", { class: "primary" }, "Create token");
  const form = h("form", { novalidate: true },
    h("label", { for: "email" }, "E-mail ", h("small", {}, "(optional, becomes a claim)")), email);
  const outcome = h("div", { class: "outcome", hidden: true });
  const quota = h("div", { class: "quota" });
  const made = h("div", { class: "card", hidden: true });
  const rows = h("div", {});
  const heading = h("h2", { tabindex: "-1" }, "Active tokens");

  function show(...children) {
    fill(outcome, ...children);
    outcome.hidden = !children.length;
  }

  function showQuota(active, max) {
    quota.classList.toggle("full", active >= max);
    const slots = Math.min(max, 40);
    const bar = h("div", {
      class: "bar", role: "meter", "aria-label": "Active tokens", "aria-valuemin": 0,
      "aria-valuemax": max, "aria-valuenow": active,
    });
    for (let slot = 0; slot < slots; slot += 1) {
      bar.append(h("span", { class: slot < (active / max) * slots ? "on" : "" }));
    }
    fill(quota,
      h("p", { class: "figures" }, h("span", {}, h("strong", {}, `${active} of ${max}`), " active"),
        h("span", {}, active >= max ? "full" : `${max - active} free`)),
      bar);
  }

  async function list() {
    const answer = await send({ method: "POST", path: "/api/v1/list-tokens", bearer, json: { registrationId } });
    if (!answer.ok) return fill(rows, refusal(answer));
    const { tokens: active, activeTokens, maxAllowed } = answer.json;
    showQuota(activeTokens, maxAllowed);
    if (!active.length) {
      return fill(rows, h("p", { class: "empty" }, "No token is active. Create the first one above."));
    }
    fill(rows, h("ul", { class: "list" }, ...active.map((token) => h("li", {},
      h("div", { class: "what" }, h("code", {}, token.id),
        h("small", {}, [token.email, `expires ${date(token.expiresAt)}`].filter(Boolean).join(" · "))),
      button("Revoke", "small danger", () => revoke(token.id), { "aria-label": `Revoke ${token.id}` })))));
  }

  async function revoke(tokenId) {
    const json = { registrationId, tokenId };
    const answer = await send({ method: "POST", path: "/api/v1/revoke-token", bearer, json });
    if (answer.ok) {
      announce("Token revoked");
      show();
      if (made.dataset.id === tokenId) made.hidden = true;
    } else show(refusal(answer));
    await list();
    moveFocus(heading);
  }

  form.append(h("div", { class: "actions" }, submit, copyButton("Copy as curl", () => curl(create()), "secondary")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(submit, async () => {
      const answer = await send(create());
      if (answer.ok) {
        const { token, activeTokens, maxAllowed } = answer.json;
        show();
        made.dataset.id = token.id;
        fill(made, h("h2", {}, "The new token"), h("p", { class: "lead" },
          "It is shown this once. Any service can check it with the published keys; this page just did."),
          view(token.accessToken, { issuer: settings.issuer, audience: settings.audience ?? settings.issuer }));
        made.hidden = false;
        announce(`Token created. ${activeTokens} of ${maxAllowed} active`);
      } else if (answer.status === 400 && /quota/.test(answer.json?.message)) {
        show(notice("error", "Refused with 400", answer.json.message),
          h("p", { class: "quiet" }, "That is the documented refusal. Revoke a token and its place is free at once."));
      } else show(refusal(answer));
      await list();
    });
  });

  fill(panel,
    h("div", { class: "card" },
      h("h2", {}, "Create a token"),
      h("p", { class: "lead" }, "An OAuth access token for the demo's registration. ",
        "At most ten are active at any time, however many requests race."),
      form, quota, outcome),
    made,
    h("div", { class: "card" }, h("div", { class: "head" }, heading, button("Refresh the list", "small", list)), rows));
  fill(rows, h("p", { class: "empty" }, "Loading…"));
  return list;
}
