"use strict";
const report = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; children that are text stay text. */
function make(name, attributes, ...children) {
  const svg = ["svg", "rect", "path"].includes(name);
  const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

// Pictures: pointing at a mark, or walking over the marks with the arrow keys, tells its title below the picture.
for (const svg of document.querySelectorAll("svg[data-marks]")) {
  const marks = [...svg.querySelectorAll(".mark")];
  const readout = svg.closest("figure").querySelector(".readout");
  const words = new Map();
  for (const m of marks) {
    // The title would show a second time, beside the pointer.
    const title = m.querySelector("title");
    words.set(m, title.textContent);
    m.setAttribute("aria-label", title.textContent);
    title.remove();
    if (m.tagName === "a") m.setAttribute("tabindex", "-1");
    else m.setAttribute("role", "img");
  }
  if (!marks.length) continue;
  svg.setAttribute("tabindex", "0");
  let now = -1;
  const show = (i) => {
    if (i === now || !marks[i]) return;
    for (const on of svg.querySelectorAll(".on")) on.classList.remove("on");
    now = i;
    const mark = marks[i];
    mark.classList.add("on");
    readout.replaceChildren(words.get(mark));
    const more = mark.dataset.more && document.getElementById(mark.dataset.more);
    if (more) readout.append(...[...more.childNodes].map((n) => n.cloneNode(true)).flatMap((n) => n.nodeType === 3 ? [": ", n] : [n]));
    const box = mark.dataset.box;
    if (box === undefined) return;
    for (const e of svg.querySelectorAll(`.edge[data-from="${box}"], .edge[data-to="${box}"]`)) e.classList.add("on");
  };
  const under = (event) => marks.indexOf(event.target.closest(".mark"));
  svg.addEventListener("pointermove", (e) => show(under(e)));
  svg.addEventListener("click", (e) => show(under(e)));
  svg.addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (by && !e.shiftKey) show(Math.min(Math.max(now + by, 0), marks.length - 1));
    else if (e.key === "Home") show(0);
    else if (e.key === "End") show(marks.length - 1);
    else if (e.key === "Enter" && now >= 0) marks[now].dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
    else return;
    e.preventDefault();
    svg.dispatchEvent(new CustomEvent("shown", { detail: marks[now] }));
  });
}

document.getElementById("save").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([JSON.stringify(report, null, 1)], { type: "application/json" }));
  make("a", { href: url, download: "report.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});
