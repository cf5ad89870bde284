// Requests to the stack. Each is kept for the inspector, with the curl line that sends the same.

const listeners = [];
export const onRequest = (listener) => listeners.push(listener);

/**
 * A request: `{method, path, bearer?, json?, form?}`. Answers `{status, ok, json, text, failed}` and never throws:
 * `failed` is set if there was no answer.
 */
export async function send(request) {
  const { method, path } = request;
  const { headers, body } = encoded(request);
  const start = performance.now();
  let answer;
  try {
    const response = await fetch(path, { method, headers, body, cache: "no-store" });
    const text = await response.text();
    answer = { status: response.status, ok: response.ok && !response.headers.has("x-amz-function-error"), text };
    try { answer.json = JSON.parse(text); } catch { /* Not JSON: the text is shown. */ }
  } catch (error) {
    answer = { failed: true, ok: false, status: 0, text: String(error) };
  }
  answer.milliseconds = Math.round(performance.now() - start);
  for (const listener of listeners) listener({ request, answer });
  return answer;
}

function encoded({ bearer, json, form }) {
  const headers = {};
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  if (json !== undefined) {
    headers["content-type"] = "application/json";
    return { headers, body: JSON.stringify(json) };
  }
  return { headers, body: form ? new URLSearchParams(form) : undefined };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The curl line of a request. */
export function curl({ method, path, bearer, json, form }) {
  const url = `${location.origin}${path}`;
  const parts = [`curl ${/[?&[\]]/.test(url) ? quoted(url) : url}`];
  const sendsBody = json !== undefined || form;
  if (method !== (sendsBody ? "POST" : "GET")) parts[0] = parts[0].replace("curl ", `curl -X ${method} `);
  if (bearer) parts.push(`-H ${quoted(`Authorization: Bearer ${bearer}`)}`);
  if (json !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(json))}`);
  for (const [name, value] of Object.entries(form ?? {})) {
    const plain = /^[\w.~-]*$/.test(value);
    parts.push(plain ? `-d ${name}=${value}` : `--data-urlencode ${quoted(`${name}=${value}`)}`);
  }
  return parts.join(" \\\n  ");
}
