// Opens the pages that `sample` writes in a headless Chromium and uses them as a reader would.
// node check.mjs PAGES MODULES CHROMIUM [SHOTS]: the folder of pages, the folder with node_modules, the browser, and
// a folder for screenshots.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [pages, modules, executablePath, shots] = process.argv.slice(2);
const { chromium } = createRequire(join(resolve(modules), "here.js"))("playwright-core");

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});

const DESK = { viewport: { width: 1200, height: 850 } };
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** Opens a page, does something with it, and holds it to what every page promises. */
async function visit(name, options, act) {
  const began = Date.now();
  // Nothing moves, so that nothing has to be waited for.
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(5000);
  const url = pathToFileURL(resolve(pages, name)).href;
  const faults = [];
  page.on("console", (m) => faults.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => faults.push(`error: ${e.message}`));
  page.on("dialog", (d) => { faults.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => { if (r.url().split("#")[0] !== url) faults.push(`request: ${r.url().slice(0, 200)}`); });
  await page.goto(url);
  await fits(page, name);
  await act(page);
  await fits(page, name);
  assert.deepEqual(faults, [], name);
  await context.close();
  console.log(`${name} ${options.viewport.width} ${options.colorScheme || "light"}: ${Date.now() - began} ms`);
}

/** Nothing sticks out at the side. */
async function fits(page, name) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${name} is ${wide} wide where there are ${room}`);
}

const shot = async (page, name, options = {}) => shots && page.screenshot({ path: join(shots, `${name}.png`), ...options });
const part = async (page, id, name) => shots && page.locator(id).screenshot({ path: join(shots, `${name}.png`) });
const data = JSON.parse(readFileSync(join(pages, "report.json"), "utf8"));

try {
  await visit("report.html", DESK, async (page) => {
    await shot(page, "top");
    // A step tells what else could have run it.
    const row = page.locator("#step-4");
    await row.locator("button").click();
    assert.equal(await row.locator("button").getAttribute("aria-expanded"), "true");
    const tried = page.locator("#step-4 + tr.inside .tried tbody tr");
    assert.equal(await tried.count(), data.steps[4].candidates.length);
    assert.match(await tried.first().textContent(), new RegExp(data.steps[4].tactic.replace(/[.+]/g, "\\$&") + ".*chosen"));
    assert.ok(await tried.last().isHidden());
    await page.locator("#step-4 + tr .all").click();
    assert.ok(await tried.last().isVisible());
    await part(page, "#steps-section", "steps");
    await row.locator("button").click();
    assert.equal(await page.locator("tr.inside").count(), 0);

    // The table sorts and filters.
    const first = async () => Number(await page.locator("#steps tbody tr").first().getAttribute("data-step"));
    await page.getByRole("button", { name: "time", exact: true }).click();
    const us = (s) => s.timing.median_us;
    const slowest = data.steps.map((s, i) => [us(s), i]).sort((a, b) => b[0] - a[0])[0][1];
    assert.equal(await first(), slowest);
    assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
    await page.getByRole("button", { name: "#", exact: true }).click();
    assert.equal(await first(), 0);
    await page.locator("#filter").fill("layer1 conv2");
    assert.equal(await page.locator("#steps tbody tr:visible").count(), 3);
    assert.equal(await page.locator("#count").textContent(), `3 of ${data.steps.length} steps`);
    await page.locator("#filter").fill("");

    // The curve tells what a step bought, by pointer and by keys.
    const curve = page.locator("#curve figure").first();
    const readout = () => curve.locator(".readout").textContent();
    await curve.locator(".mark").nth(2).hover();
    assert.match(await readout(), /predicted.*less.*saves/);
    await curve.locator("svg").focus();
    await page.keyboard.press("Home");
    assert.match(await readout(), /^from 0/);
    await page.keyboard.press("ArrowRight");
    assert.match(await readout(), /→/);
    await part(page, "#curve", "curve");

    // The graph zooms and moves, and a click opens a step.
    const graph = page.locator("#graph svg");
    const view = async () => (await graph.getAttribute("viewBox")).split(" ").map(Number);
    const whole = await view();
    await part(page, "#graph", "graph");
    await page.locator("[data-by='1.5']").click();
    const near = await view();
    assert.ok(near[2] < whole[2] * 0.7);
    const box = await graph.boundingBox();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x + 150, y + 60, { steps: 4 });
    await page.mouse.up();
    const moved = await view();
    assert.ok(moved[0] < near[0] && moved[1] < near[1]);
    assert.equal(await page.evaluate(() => location.hash), "", "a drag is no click");
    await page.mouse.wheel(0, -300);
    await page.waitForFunction((w) => document.querySelector("#graph svg").viewBox.baseVal.width < w, moved[2] * 0.95);
    await part(page, "#graph", "graph-near");
    await page.getByRole("button", { name: "whole" }).click();
    assert.deepEqual(await view(), whole);
    await page.locator("#graph .region").nth(7).click({ position: { x: 20, y: 8 } });
    assert.match(await page.evaluate(() => location.hash), /^#step-\d+$/);
    const opened = page.locator(await page.evaluate(() => location.hash));
    assert.equal(await opened.locator("button").getAttribute("aria-expanded"), "true");
    await graph.focus();
    await page.keyboard.press("End");
    await page.keyboard.press("+");
    assert.ok((await view())[2] < whole[2]);

    // Memory names what lies where.
    await page.locator("#memory .mark").nth(6).hover();
    assert.match(await page.locator("#memory .readout").textContent(), /(activation|scratch), .* step \d/);
    await part(page, "#memory", "memory");
  });

  await visit("report.html", { ...PHONE }, async (page) => {
    await shot(page, "phone-top");
    await page.locator("#step-2 button").tap();
    await fits(page, "an open step on a phone");
    await page.locator("#step-2").scrollIntoViewIfNeeded();
    await page.evaluate(() => document.getElementById("step-2").scrollIntoView());
    await shot(page, "phone-step");
    await page.locator("#curve .mark").nth(3).tap();
    assert.match(await page.locator("#curve .readout").first().textContent(), /predicted/);
    await page.locator("#curve details").first().locator("summary").tap();
    await part(page, "#graph", "phone-graph");
  });

  await visit("report.html", { ...DESK, colorScheme: "dark" }, async (page) => {
    const [ground, ink] = await page.evaluate(() => {
      const s = getComputedStyle(document.documentElement);
      return [s.backgroundColor, s.color].map((c) => Number(c.match(/\d+/)[0]));
    });
    assert.ok(ground < 60 && ink > 200, "dark where dark is asked for");
    await page.locator("#step-4 button").click();
    await page.evaluate(() => document.getElementById("steps-section").scrollIntoView());
    await page.mouse.move(0, 0);
    await shot(page, "dark-step");
  });

  await visit("report.html", { ...DESK, javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("#steps tbody tr").count(), data.steps.length);
    assert.ok(await page.locator("#graph svg .region").first().isVisible());
    assert.ok(await page.locator("noscript p").isVisible());
    assert.ok(await page.locator(".needs-script").first().isHidden());
  });

  for (const options of [DESK, PHONE]) {
    await visit("hostile.html", options, async (page) => {
      await page.locator("#step-3 button").click();
      assert.ok((await page.locator("#step-3 + tr .tried tbody tr").count()) > 3);
      await page.locator("#step-1 button").click();
      assert.equal(await page.locator("img, svg[onload], iframe").count(), 0);
    });
  }
  await visit("large.html", DESK, async (page) => {
    await part(page, "#graph", "large-graph");
    const took = await page.evaluate(() => {
      const button = document.querySelector("[data-by='1.5']");
      const start = performance.now();
      for (let i = 0; i < 10; i++) {
        button.click();
        document.querySelector("#graph svg").getBoundingClientRect();
      }
      return performance.now() - start;
    });
    assert.ok(took < 2000, `ten steps of zoom took ${took} ms`);
  });
  await visit("empty.html", PHONE, async () => {});
} finally {
  await browser.close();
}
