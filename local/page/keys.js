// The published keys, and how they are replaced.

import { curl, send } from "./api.js";
import { announce, button, copyButton, fill, h, notice, refusal } from "./ui.js";

export function keys(panel, settings) {
  const set = { method: "GET", path: "/.well-known/jwks.json" };
  const rows = h("div", {});
  const outcome = h("div", { hidden: true });

  async function list() {
    const answer = await send(set);
    if (!answer.ok) return fill(rows, refusal(answer));
    const found = answer.json.keys;
    fill(rows, h("ul", { class: "list" }, ...found.map((key, index) => h("li", {},
      h("div", { class: "what" }, h("code", {}, key.kid),
        h("small", {}, `${key.kty} · ${key.alg} · modulus ${key.n.slice(0, 16)}…`)),
      h("span", { class: `badge ${index ? "" : "good"}` }, index ? "still trusted" : "signs")))));
    return found;
  }

  function rotation() {
    if (settings.signingMode === "kms") {
      return h("div", { class: "card" }, h("h2", {}, "Replace the signing key"),
        h("p", { class: "lead" }, "This stack signs inside KMS, where the template replaces the key. ",
          "To replace it here, run the stack in envelope mode:"),
        h("div", { class: "once" }, h("code", {}, "cargo run -p local -- --signing-mode envelope"),
          copyButton("Copy", () => "cargo run -p local -- --signing-mode envelope", "secondary")));
    }
    const withdraw = h("input", { type: "checkbox", id: "withdraw" });
    const request = () => ({
      method: "POST", path: "/2015-03-31/functions/provision/invocations",
      json: { action: "rotateSigningKey", ...(withdraw.checked && { withdrawPrevious: true }) },
    });
    return h("div", { class: "card" }, h("h2", {}, "Replace the signing key"),
      h("p", { class: "lead" }, "The one action here that is no public route: it invokes the function ",
        h("code", {}, "provision"), " as an operator does, which only pages of this stack may do. ",
        "Functions cache keys for up to a minute."),
      h("label", { class: "check", for: "withdraw" }, withdraw, "Withdraw the previous key too: its tokens end"),
      h("div", { class: "actions" },
        button("Rotate the key", "primary", async () => {
          const answer = await send(request());
          outcome.hidden = false;
          if (!answer.ok) return fill(outcome, refusal(answer));
          const { kid } = answer.json;
          announce("Key rotated");
          fill(outcome, notice("", "The new key is made", h("code", {}, kid)));
          await follow(kid);
        }),
        copyButton("Copy as curl", () => curl(request()), "secondary")),
      outcome);
  }

  /** Waits until the set has the new key. */
  async function follow(kid) {
    for (let round = 0; round < 14; round += 1) {
      const found = await list();
      if (found?.some((key) => key.kid === kid)) return;
      fill(outcome, notice("", "The new key is made", `It is published within 65 seconds: ${kid}`));
      await new Promise((resolve) => { setTimeout(resolve, 5000); });
    }
  }

  fill(panel,
    h("div", { class: "card" },
      h("div", { class: "head" }, h("h2", {}, "Published keys"), button("Refresh the set", "small", list)),
      h("p", { class: "lead" }, "Whoever has these can verify every signed token without calling the service. ",
        "The first one signs."),
      rows,
      h("div", { class: "actions" }, copyButton("Copy as curl", () => curl(set), "secondary"))),
    rotation());
  fill(rows, h("p", { class: "empty" }, "Loading…"));
  return list;
}
