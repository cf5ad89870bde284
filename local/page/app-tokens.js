// Opaque tokens for an application.

import { curl, send } from "./api.js";
import { announce, busy, button, copyButton, date, fill, h, moveFocus, refusal } from "./ui.js";

const LIMIT = 20;

export function appTokens(panel, settings) {
  const bearer = settings.apiKey;
  const path = `/v1/organizations/${settings.organization}/apps/${settings.application}/tokens`;
  let page = 1;
  const input = (id, properties) => h("input", { type: "text", id, autocomplete: "off", ...properties });
  const description = input("description", { placeholder: "CI of the web shop" });
  const scopes = input("scopes", { placeholder: "sdk deploy", spellcheck: "false" });
  const create = () => ({
    method: "POST", path, bearer,
    json: {
      ...(description.value.trim() && { description: description.value.trim() }),
      ...(scopes.value.trim() && { scopes: scopes.value.trim().split(/\s+/) }),
    },
  });
  const submit = h("button", { class: "primary" }, "Create app token");
  const form = h("form", { novalidate: true },
    h("div", { class: "fields" },
      h("div", {}, h("label", { for: "description" }, "Description ", h("small", {}, "(optional)")), description),
      h("div", {}, h("label", { for: "scopes" }, "Scopes ", h("small", {}, "(separated by spaces)")), scopes)));
  const outcome = h("div", { hidden: true });
  const made = h("div", { class: "card", hidden: true });
  const rows = h("div", {});
  const heading = h("h2", { tabindex: "-1" }, "App tokens");

  function show(...children) {
    fill(outcome, ...children);
    outcome.hidden = !children.length;
  }

  async function list() {
    const query = `?page=${page}&limit=${LIMIT}&sort=createdAt:desc`;
    const answer = await send({ method: "GET", path: path + query, bearer });
    if (!answer.ok) return fill(rows, refusal(answer));
    const { items, hasNextPage } = answer.json.data;
    if (!items.length && page > 1) { page -= 1; return list(); }
    if (!items.length) return fill(rows, h("p", { class: "empty" }, "There is no app token yet."));
    const turn = (label, by) => button(label, "small", async () => { page += by; await list(); moveFocus(heading); });
    const newer = page > 1 ? turn("Newer", -1) : null;
    const older = hasNextPage ? turn("Older", 1) : null;
    fill(rows, h("ul", { class: "list" }, ...items.map(row)),
      newer || older ? h("div", { class: "actions turn" }, newer, older) : null);
  }

  function row({ id, description, scopes, createdAt }) {
    return h("li", {},
      h("div", { class: "what" },
        h("span", {}, description ?? "No description"),
        h("code", {}, id),
        h("small", {}, `${scopes.join(" ") || "no scopes"} · ${date(createdAt)}`)),
      button("Revoke", "small danger", () => revoke(id), { "aria-label": `Revoke ${description ?? id}` }));
  }

  async function revoke(id) {
    const answer = await send({ method: "DELETE", path: `${path}/${id}`, bearer });
    if (answer.ok) {
      announce("App token revoked");
      show();
      if (made.dataset.id === id) made.hidden = true;
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
        const { id, bearer: secret } = answer.json.data;
        show();
        made.dataset.id = id;
        fill(made, h("h2", {}, "Copy it now"),
          h("p", { class: "lead" }, "It is shown this once: the service keeps only its hash."),
          h("div", { class: "once" }, h("code", {}, secret), copyButton("Copy", () => secret, "primary")),
          button("I have it, hide it", "link", () => { made.hidden = true; made.replaceChildren(); submit.focus(); }));
        made.hidden = false;
        announce("App token created. Copy it now, it is shown this once");
        page = 1;
      } else show(refusal(answer));
      await list();
    });
  });

  fill(panel,
    h("div", { class: "card" },
      h("h2", {}, "Create an app token"),
      h("p", { class: "lead" }, "An opaque credential for an integration of the demo's application. ",
        "It has no expiry and ends when it is revoked."),
      form, outcome),
    made,
    h("div", { class: "card" }, h("div", { class: "head" }, heading, button("Refresh the list", "small", list)), rows));
  fill(rows, h("p", { class: "empty" }, "Loading…"));
  return list;
}
