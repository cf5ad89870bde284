// Small helpers around the DOM. Text is always set as text, never as HTML.

/** Makes an element: `h("p", {class: "quiet"}, "text", child)`. A property that begins with `on` is a listener. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Tells a screen reader what has just happened. */
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

/** A button that is busy while its action runs. It keeps the focus, and ignores clicks meanwhile. */
export function button(label, style, action, properties = {}) {
  const element = h("button", { type: "button", class: style, ...properties }, label);
  element.addEventListener("click", () => busy(element, action));
  return element;
}

export async function busy(element, action) {
  if (element.getAttribute("aria-busy") === "true") return;
  element.setAttribute("aria-busy", "true");
  try {
    await action();
  } finally {
    element.removeAttribute("aria-busy");
  }
}

/** A button that copies a text. */
export function copyButton(label, text, style = "small") {
  const element = h("button", { type: "button", class: style }, label);
  element.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(await text());
      element.textContent = "Copied";
      announce("Copied");
    } catch {
      element.textContent = "Cannot copy here";
      announce("The browser does not let this page copy");
    }
    setTimeout(() => { element.textContent = label; }, 1600);
  });
  return element;
}

export function notice(kind, title, text) {
  return h("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : null }, h("strong", {}, title), text);
}

/** What to show when a request was refused: the status and the service's own words. */
export function refusal(answer) {
  if (answer.failed) {
    return notice("error", "The stack does not answer", "Is it still running? Start it with cargo run -p local.");
  }
  const body = answer.json ?? {};
  const words = body.message ?? body.error?.message ?? body.errors?.[0]?.message ?? body.errorMessage
    ?? (body.error ? [body.error, body.error_description].filter(Boolean).join(": ") : answer.text);
  return notice("error", `Refused with ${answer.status}`, words || "The answer has no body.");
}

const label = (element) => element.getAttribute("aria-label") ?? element.textContent;
const focusable = (element) => [...element.querySelectorAll("button, [tabindex='0']")];

/** Replaces the children. Whoever uses a keyboard stays at the same control, or gets to the heading. */
export function fill(element, ...children) {
  const active = element.contains(document.activeElement) ? document.activeElement : undefined;
  const same = (one) => label(one) === label(active);
  const index = active ? focusable(element).filter(same).indexOf(active) : 0;
  element.replaceChildren(...children.filter((child) => child != null));
  if (active && !active.isConnected) {
    const next = focusable(element).filter(same);
    (next[index] ?? next[0] ?? element.querySelector("h2[tabindex]"))?.focus();
  }
}

/** Moves the focus where an action has led, unless its user has gone to another part of the page meanwhile. */
export function moveFocus(element) {
  const active = document.activeElement;
  if (active === document.body || element.closest("[role=tabpanel]").contains(active)) element.focus();
}

export function json(value) {
  return h("pre", { class: "wrap", tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

const dates = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
export const date = (instant) => dates.format(new Date(instant));

/** The ends of a long credential. */
export const short = (credential) =>
  credential.length > 28 ? `${credential.slice(0, 12)}…${credential.slice(-8)}` : credential;
