// The reference: Swagger UI over the stack's own openapi.yaml. The demo's API key is filled in.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

const { apiKey } = await (await fetch("/page/settings.json")).json();
const ui = SwaggerUIBundle({
  url: "/docs/openapi.yaml",
  domNode: document.getElementById("reference"),
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: () => ui.preauthorizeApiKey("bearerAuth", apiKey),
});
