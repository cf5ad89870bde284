// Starts the page: the tabs, the inspector, and the return from a login.

import { curl, onRequest } from "./api.js";
import { appTokens } from "./app-tokens.js";
import { keys } from "./keys.js";
import { login } from "./login.js";
import { tokens } from "./tokens.js";
import { copyButton, fill, h } from "./ui.js";

const HISTORY = 6;
const LONG = 96;

/** The requests of the tab that is shown: what was sent, as curl, and what was answered. */
function inspector(element) {
  const tabs = new Map();
  let tab;

  // Whole tokens are elsewhere on the page, and in the answer that curl shows.
  const shortened = (_, value) =>
    (typeof value === "string" && value.length > LONG ? `${value.slice(0, LONG / 2)}…` : value);

  function draw() {
    const { entries, selected } = tabs.get(tab) ?? { entries: [] };
    if (!selected) {
      return fill(element, h("div", { class: "card inspector" }, h("h2", {}, "Request"),
        h("p", { class: "empty" }, "What this page sends appears here, as a curl line to copy.")));
    }
    const { request, answer } = selected;
    const line = curl(request);
    const body = answer.json === undefined ? answer.text : JSON.stringify(answer.json, shortened, 2);
    const select = (one) => { tabs.get(tab).selected = one; draw(); };
    const status = answer.failed ? "no answer" : `${answer.status} · ${answer.milliseconds} ms`;
    const entry = (one) => h("li", {},
      h("button", { type: "button", "aria-pressed": String(one === selected), onclick: () => select(one) },
        h("span", { class: "path" }, `${one.request.method} ${one.request.path.split("?")[0]}`),
        h("span", { class: `status ${one.answer.ok ? "" : "bad"}` },
          one.answer.failed ? "–" : String(one.answer.status))));
    fill(element, h("div", { class: "card inspector" },
      h("div", { class: "head" }, h("h2", {}, "Request"),
        h("span", { class: `badge ${answer.ok ? "good" : "bad"}` }, status)),
      h("p", { class: "path" }, `${request.method} ${request.path}`),
      h("h3", {}, "curl", copyButton("Copy", () => line)),
      h("pre", { class: "wrap line", tabindex: "0", "aria-label": "The request as a curl line" }, line),
      h("h3", {}, "Answer"),
      h("pre", { class: "wrap", tabindex: "0", "aria-label": "The answer" }, body || "(empty)"),
      entries.length > 1
        ? h("ul", { class: "history", "aria-label": "Earlier requests" }, ...entries.map(entry))
        : null));
  }

  onRequest((entry) => {
    const of = tabs.get(tab) ?? { entries: [] };
    tabs.set(tab, of);
    of.entries.unshift(entry);
    of.entries.length = Math.min(of.entries.length, HISTORY);
    // Reading the list or the keys follows an action: the action is what one wants to see.
    const reads = /list-tokens|jwks\.json|\/tokens\?/.test(entry.request.path);
    if (!of.selected || !reads || !of.entries.includes(of.selected)) of.selected = entry;
    draw();
  });
  return (id) => { tab = id; draw(); };
}

/** Tabs by the pattern of WAI-ARIA: arrow keys move, and the address remembers. */
function tabs(onShow) {
  const all = [...document.querySelectorAll("[role=tab]")];
  function show(tab, focus) {
    for (const one of all) {
      const on = one === tab;
      one.setAttribute("aria-selected", String(on));
      one.tabIndex = on ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !on;
    }
    if (focus) tab.focus();
    history.replaceState(null, "", `/#${tab.getAttribute("aria-controls")}`);
    onShow(tab.getAttribute("aria-controls"));
  }
  for (const tab of all) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const index = all.indexOf(tab);
      const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: all.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(all[(next + all.length) % all.length], true);
    });
  }
  const named = () => all.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  addEventListener("hashchange", () => { if (named()) show(named()); });
  return (id) => show(all.find((tab) => tab.getAttribute("aria-controls") === id) ?? named() ?? all[0]);
}

const settings = await (await fetch("/page/settings.json")).json();
const inspect = inspector(document.getElementById("inspector"));
const panel = (id) => document.getElementById(id);
const returned = location.pathname === "/page/callback" ? new URLSearchParams(location.search) : undefined;
const refresh = {
  tokens: tokens(panel("tokens"), settings),
  "app-tokens": appTokens(panel("app-tokens"), settings),
  keys: keys(panel("keys"), settings),
  login: login(panel("login"), settings),
};
// This also takes the code out of the address and the history.
const show = tabs((id) => {
  inspect(id);
  if (id !== "login") refresh[id]();
});
show(returned ? "login" : undefined);
if (returned) await refresh.login(returned);
