// The table of steps: sorts, filters, and opens a step's candidates.
const table = document.getElementById("steps");
const GAP = "\u202f";
const NONE = "–";

function digits(n) {
  const a = Math.abs(n);
  return a === 0 ? "0" : n.toFixed(a < 9.995 ? 2 : a < 99.95 ? 1 : 0);
}

function time(us) {
  if (us === null || us === undefined) return NONE;
  const a = Math.abs(us);
  return a < 999.5 ? digits(us) + GAP + "µs" : a < 999500 ? digits(us / 1e3) + GAP + "ms" : digits(us / 1e6) + GAP + "s";
}

function bytes(n) {
  if (!n) return NONE;
  const k = n < 1024 ? 0 : n < 2 ** 20 ? 1 : n < 2 ** 30 ? 2 : n < 2 ** 40 ? 3 : 4;
  if (!k) return n + GAP + "B";
  const text = digits(n / 1024 ** k);
  return (text.includes(".") ? text.replace(/\.?0+$/, "") : text) + GAP + ["", "KiB", "MiB", "GiB", "TiB"][k];
}

/** A bar for the median, and a line from the fastest to the median and its deviation. */
function bar(t, most) {
  const at = (us) => Math.min(Math.max(us / most * 100, 0), 100).toFixed(2);
  const beyond = t.median_us > most;
  const svg = make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(make("rect", { x: 0, y: 2, height: 6, width: at(t.median_us) }));
  const high = at(t.median_us + t.mad_us);
  svg.append(make("path", { d: `M${at(Math.min(t.min_us, t.median_us))} 5H${high}M${high} 2V8` }));
  if (beyond) svg.append(make("path", { class: "beyond", d: "M94 0L92 10M97 0L95 10" }));
  return svg;
}

const ORDER = ["chosen", "tie", "lost", "over_budget", "wrong", "failed"];
const SHOWN = 12;

/** Equal candidates are said once. */
const tried = (step) => step.candidates || (report.steps[step.candidates_of] || {}).candidates || [];

function candidates(step) {
  const list = tried(step).map((c) => ({ outcome: "lost", ...c }));
  // What was chosen first; then by time; then what was never timed.
  const key = (c) => [c.outcome === "chosen" ? 0 : c.timing ? 1 : 2, c.timing ? c.timing.median_us : ORDER.indexOf(c.outcome)];
  list.sort((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1] || (a.id < b.id ? -1 : 1));
  const shown = list.slice(0, SHOWN).filter((c) => c.timing);
  const times = shown.map((c) => c.timing.median_us + c.timing.mad_us);
  // The slowest must not press all others together: bars end at twice the fastest, and are cut there.
  const most = Math.max(Math.min(Math.max(...times), 2 * Math.min(...times)), 1e-9) * 1.02;
  const head = ["tactic", "", "time", "workspace", "error", "verdict"].map((t, i) =>
    make("th", { scope: "col", class: i > 1 && i < 5 ? "n" : "" }, t));
  const body = make("tbody");
  list.forEach((c, i) => {
    const t = c.timing;
    const row = make("tr", { class: c.outcome },
      make("td", { class: "id" }, make("code", null, c.id)),
      make("td", { class: "chart" }, ...(t ? [bar(t, most)] : [])),
      make("td", { class: "n us", title: t ? `± ${time(t.mad_us)}, ${t.samples} samples` : "" }, t ? time(t.median_us) : NONE),
      make("td", { class: "n size" }, bytes(c.workspace_bytes)),
      make("td", { class: "n error" }, c.error === null || c.error === undefined ? NONE : c.error.toExponential(1)),
      make("td", { class: "verdict" }, c.verdict || c.outcome.replace("_", " ")));
    row.hidden = i >= SHOWN;
    body.append(row);
  });
  const out = [make("table", { class: "tried" }, make("thead", null, make("tr", null, ...head)), body)];
  if (list.length > SHOWN) {
    const all = make("button", { type: "button", class: "all" }, `Show all ${list.length}`);
    all.addEventListener("click", () => {
      for (const r of body.rows) r.hidden = false;
      all.remove();
    });
    out.push(make("p", null), all);
  }
  return out;
}

/** A row's inside, which is made when it is first opened. */
function inside(step) {
  const cell = make("td", { colspan: 9 });
  const line = (name, text) => text && cell.append(make("p", null, make("b", null, name + " "), text));
  line("Computes", (step.fused || []).join(", "));
  line("Why these", step.why || "");
  const t = step.timing;
  const inside = t ? `${time(t.median_us)} ± ${time(t.mad_us)}, at best ${time(t.min_us)}, over ${t.samples} samples; ` : "";
  const launches = step.launches === 1 ? "1 launch" : `${step.launches} launches`;
  line("Takes", `${inside}${time(step.predicted_us)} when measured alone; ${launches}`);
  line("Needs", (step.needs || []).join(", "));
  if (tried(step).length) cell.append(...candidates(step));
  else cell.append(make("p", null, "No other tactic is known for it."));
  return make("tr", { class: "inside" }, cell);
}

if (table) {
  const body = table.tBodies[0];
  const rows = [...body.querySelectorAll("tr[data-step]")];
  const opened = new Map();

  const toggle = (row, open) => {
    const button = row.querySelector(".name button");
    if (open === undefined) open = button.getAttribute("aria-expanded") !== "true";
    if (open && !opened.has(row)) opened.set(row, inside(report.steps[row.dataset.step]));
    button.setAttribute("aria-expanded", open);
    row.classList.toggle("open", open);
    if (open) row.after(opened.get(row));
    else if (opened.has(row)) opened.get(row).remove();
  };
  for (const row of rows) {
    const name = row.querySelector(".name span");
    name.replaceWith(make("button", { type: "button", "aria-expanded": "false" }, name.textContent));
  }
  body.addEventListener("click", (e) => {
    const row = e.target.closest("tr[data-step]");
    // Selecting text is no wish to open.
    if (row && !String(getSelection())) toggle(row);
  });

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((th, i) => {
    const button = make("button", { type: "button" }, th.textContent);
    th.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = th.getAttribute("aria-sort");
      // Numbers begin with the largest.
      const down = before ? before === "ascending" : th.classList.contains("n") && i > 0;
      for (const h of heads) h.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[i].dataset.key === undefined ? row.cells[i].textContent : Number(row.cells[i].dataset.key);
      const order = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
      rows.sort((a, b) => (down ? -1 : 1) * order(key(a), key(b)) || a.dataset.step - b.dataset.step);
      for (const row of rows) {
        body.append(row);
        if (row.classList.contains("open")) row.after(opened.get(row));
      }
    });
  });

  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const texts = new Map(rows.map((r) => [r, r.textContent.toLowerCase()]));
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const shown = words.every((w) => texts.get(row).includes(w));
      row.hidden = !shown;
      n += shown;
      if (!shown && row.classList.contains("open")) toggle(row, false);
    }
    count.textContent = n === rows.length ? `${n} steps` : `${n} of ${rows.length} steps`;
  };
  filter.addEventListener("input", apply);
  // A browser may keep what was typed over a reload.
  apply();

  const go = () => {
    const row = /^#step-\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!row) return;
    filter.value = "";
    apply();
    toggle(row, true);
    row.scrollIntoView({ block: "start" });
    row.querySelector(".name button").focus({ preventScroll: true });
  };
  addEventListener("hashchange", go);
  document.addEventListener("click", (e) => {
    const link = e.target.closest("a[href^='#step-']");
    if (link && !e.defaultPrevented && link.getAttribute("href") === location.hash) go();
  });
  go();
}
