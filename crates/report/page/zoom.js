// The graph: moves and zooms by its view box.
for (const frame of document.querySelectorAll("[data-zoom]")) {
  const svg = frame.querySelector("svg");
  const { x, y, width, height } = svg.viewBox.baseVal;
  const whole = { x, y, w: width, h: height };
  let view = { ...whole };
  let active = false;
  const set = (v) => {
    const most = Math.max(whole.w, whole.h), least = 120;
    const scale = Math.min(Math.max(v.w, least), most * 1.2) / v.w;
    view = { x: v.x + v.w * (1 - scale) / 2, y: v.y + v.h * (1 - scale) / 2, w: v.w * scale, h: v.h * scale };
    // Something of the picture stays in sight.
    view.x = Math.min(Math.max(view.x, whole.x - view.w * 0.8), whole.x + whole.w - view.w * 0.2);
    view.y = Math.min(Math.max(view.y, whole.y - view.h * 0.8), whole.y + whole.h - view.h * 0.2);
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    // A finger that moves up or down scrolls the page while the whole height is in sight.
    frame.classList.toggle("near", view.h < whole.h * 0.98);
  };
  /** Size of a pixel, and the picture's place under a point of the window. */
  const place = (cx, cy) => {
    const r = svg.getBoundingClientRect();
    const px = Math.max(view.w / r.width, view.h / r.height);
    return {
      px,
      x: view.x + view.w / 2 + (cx - r.left - r.width / 2) * px,
      y: view.y + view.h / 2 + (cy - r.top - r.height / 2) * px,
    };
  };
  const zoom = (by, at) => {
    at = at || { x: view.x + view.w / 2, y: view.y + view.h / 2 };
    set({ x: at.x - (at.x - view.x) / by, y: at.y - (at.y - view.y) / by, w: view.w / by, h: view.h / by });
  };
  for (const b of frame.querySelectorAll("button")) {
    b.addEventListener("click", () => {
      const by = Number(b.dataset.by);
      by ? zoom(by) : set(whole);
    });
  }
  svg.addEventListener("wheel", (e) => {
    // A page is to be scrolled: the wheel is the picture's only once it was clicked, or with Ctrl, which a pinch on
    // a touchpad sends.
    if (!active && !e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    zoom(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), place(e.clientX, e.clientY));
  }, { passive: false });
  document.addEventListener("pointerdown", (e) => { active = frame.contains(e.target); });

  // On a narrow screen the whole would be too small to read: begin at the left, as high as the frame.
  const r = svg.getBoundingClientRect();
  if (r.width < 640 && whole.w / whole.h > r.width / r.height) set({ ...whole, w: whole.h * r.width / r.height });

  const fingers = new Map();
  let moved = 0;
  svg.addEventListener("dragstart", (e) => e.preventDefault());
  svg.addEventListener("pointerdown", (e) => {
    if (fingers.size === 0) moved = 0;
    fingers.set(e.pointerId, e);
  });
  svg.addEventListener("pointermove", (e) => {
    const before = fingers.get(e.pointerId);
    if (!before) return;
    const other = [...fingers.values()].find((f) => f.pointerId !== e.pointerId);
    const { px } = place(0, 0);
    if (other) {
      const apart = (f) => Math.hypot(f.clientX - other.clientX, f.clientY - other.clientY);
      const middle = place((e.clientX + other.clientX) / 2, (e.clientY + other.clientY) / 2);
      zoom(Math.max(apart(e), 1) / Math.max(apart(before), 1), middle);
      moved = 99;
    }
    const part = other ? 0.5 : 1;
    const [dx, dy] = [(e.clientX - before.clientX) * part, (e.clientY - before.clientY) * part];
    moved += Math.hypot(dx, dy);
    // Until it is a drag, it may be a click.
    if (moved > 4) {
      if (!svg.hasPointerCapture(e.pointerId)) svg.setPointerCapture(e.pointerId);
      set({ ...view, x: view.x - dx * px, y: view.y - dy * px });
    }
    fingers.set(e.pointerId, e);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    svg.addEventListener(end, (e) => fingers.delete(e.pointerId));
  }
  // The end of a drag is no click.
  svg.addEventListener("click", (e) => {
    if (moved <= 4) return;
    moved = 0;
    e.preventDefault();
    e.stopImmediatePropagation();
  }, true);
  svg.addEventListener("keydown", (e) => {
    const far = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    if (e.key === "+" || e.key === "=") zoom(1.3);
    else if (e.key === "-") zoom(1 / 1.3);
    else if (e.key === "0") set(whole);
    else if (far && e.shiftKey) set({ ...view, x: view.x + far[0] * view.w / 8, y: view.y + far[1] * view.h / 8 });
    else return;
    e.preventDefault();
  });
  // Walking with the keys brings the box into sight.
  svg.addEventListener("shown", (e) => {
    const b = e.detail.getBoundingClientRect();
    const { x: cx, y: cy } = place(b.left + b.width / 2, b.top + b.height / 2);
    const inside = cx > view.x && cx < view.x + view.w && cy > view.y && cy < view.y + view.h;
    if (!inside) set({ ...view, x: cx - view.w / 2, y: cy - view.h / 2 });
  });
}
