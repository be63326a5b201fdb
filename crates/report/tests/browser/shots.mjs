// Pictures of one report for the documents: its head, and an opened step in the dark.
// node shots.mjs PAGE MODULES CHROMIUM OUT [STEP]: the page, the folder with node_modules, the browser, a folder for the
// pictures, and the step to open, such as "#step-4".
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [file, modules, executablePath, out, step = "#step-4"] = process.argv.slice(2);
const { chromium } = createRequire(join(resolve(modules), "here.js"))("playwright-core");

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
for (const [colorScheme, name] of [["light", "top"], ["dark", "step"]]) {
  const viewport = { width: 1200, height: 850 };
  const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  await page.goto(pathToFileURL(resolve(file)).href);
  if (name === "step") {
    await page.locator(`${step} button`).click();
    await page.evaluate((s) => document.querySelector(s).scrollIntoView({ block: "start" }), step);
  }
  await page.screenshot({ path: join(out, `report-${name}.png`) });
}
await browser.close();
