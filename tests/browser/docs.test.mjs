// The reference at `/docs`: offline, and "try it" calls this stack.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SCHEMES, fits, open, screenshot, startStack } from "./harness.mjs";

const url = await startStack();

test("an operation is tried out", async () => {
  const { page, check } = await open({ origins: [url] });
  await page.goto(`${url}/docs`);
  const operation = page.locator("#operations-Tokens-createToken");
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Execute" }).click();
  await operation.locator(".live-responses-table .response-col_status", { hasText: "201" }).waitFor();
  assert.match(await operation.locator(".request-url pre").innerText(), new RegExp(`^${url}/api/v1/create-token$`));
  assert.match(await operation.locator(".live-responses-table").innerText(), /Token created successfully/);
  check();
});

for (const scheme of SCHEMES) {
  test(`every operation is there: ${scheme}`, async () => {
    for (const width of [1280, 390]) {
      const { page, check } = await open({ origins: [url], scheme, width });
      await page.goto(`${url}/docs`);
      await page.locator(".opblock").first().waitFor();
      const document = await (await fetch(`${url}/docs/openapi.yaml`)).text();
      const operations = document.match(/^ +operationId: /gm).length;
      await page.locator(".opblock").nth(operations - 1).waitFor();
      assert.equal(await page.locator(".opblock").count(), operations);
      await fits(page, "docs");
      await screenshot(page, `docs-${scheme}-${width}`, { fullPage: false });
      check();
    }
  });
}
