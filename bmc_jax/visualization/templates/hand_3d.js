"use strict";
/* Hands in 3D on canvases, which are turned, moved and zoomed together. Pages add a script of their own behind this one. */
const data = JSON.parse(document.getElementById("data").textContent);
const COLOURS = data.colours, FINGERS = ["thumb", "index", "middle", "ring", "little"];
const CHAINS = FINGERS.map((_, f) => [0, 1, 2, 3, 4].map(level => level ? 4 * f + level : 0));
const element = id => document.getElementById(id);
const make = (tag, attributes = {}, ...inside) => {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};
const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const view = { yaw: 0, pitch: 0, zoom: 1, x: 0, y: 0 };

/* The middle of some points, metres, and their greatest distance from it: what a canvas shows at zoom 1. */
function extent(points) {
  const middle = [0, 1, 2].map(a => (Math.min(...points.map(p => p[a])) + Math.max(...points.map(p => p[a]))) / 2);
  return { middle, reach: Math.max(...points.map(p => Math.hypot(...p.map((value, a) => value - middle[a]))), 1e-6) };
}
/* Turned about the vertical by yaw, then about the horizontal by pitch, seen from the camera's side. */
function turned(points, { middle, reach }) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  return points.map(p => {
    const [x, y, z] = p.map((value, a) => (value - middle[a]) / reach);
    const [rx, rz] = [cy * x + sy * z, -sy * x + cy * z];
    return [rx, cp * y - sp * rz, sp * y + cp * rz];
  });
}
/* Draws joints, metres. `red` joints are marked, `ringed` has a ring, and `ghost` is another hand, thin and grey behind. */
function drawJoints(canvas, joints, { shown = extent(joints), red = new Set(), ringed = -1, ghost = null } = {}) {
  const pen = canvas.getContext("2d"), size = canvas.clientWidth, sharp = window.devicePixelRatio || 1;
  if (!size) return;
  canvas.width = canvas.height = Math.round(size * sharp);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, size, size);
  pen.lineCap = pen.lineJoin = "round";
  const far = 4.5, scale = size * 0.42 * view.zoom, thick = 0.045 * scale;
  const place = points => turned(points, shown).map(([x, y, z]) => {
    const near = far / (far + z);
    return { x: size * (0.5 + view.x) + x * near * scale, y: size * (0.5 + view.y) + y * near * scale, z, near };
  });
  if (ghost) {
    const at = place(ghost);
    pen.strokeStyle = colour("ghost"); pen.lineWidth = thick * 0.6;
    CHAINS.forEach(chain => { pen.beginPath(); chain.forEach(j => pen.lineTo(at[j].x, at[j].y)); pen.stroke(); });
  }
  const seen = place(joints), [ink, paper, alarm] = ["ink", "track", "beyond"].map(colour);
  pen.fillStyle = colour("palm");
  pen.beginPath();
  [0, 1, 5, 9, 13, 17].forEach(j => pen.lineTo(seen[j].x, seen[j].y));
  pen.fill();
  const parts = CHAINS.flatMap((chain, f) => chain.slice(1).map((joint, level) =>
    ({ a: seen[chain[level]], b: seen[joint], colour: COLOURS[f], z: (seen[chain[level]].z + seen[joint].z) / 2 })));
  // A joint lies over its own bones, whichever end of them is nearer.
  const nearest = seen.map(({ z }) => z);
  CHAINS.forEach(chain => chain.slice(1).forEach((joint, level) => {
    const middle = (seen[chain[level]].z + seen[joint].z) / 2;
    for (const end of [chain[level], joint]) nearest[end] = Math.min(nearest[end], middle);
  }));
  seen.forEach((at, joint) => parts.push({ at, joint, z: nearest[joint] - 1e-6 }));
  parts.sort((one, other) => other.z - one.z);
  for (const part of parts) {
    if (part.at) {
      const { at, joint } = part, radius = thick * at.near * 0.62, marked = red.has(joint);
      const disc = (r, fill) => { pen.fillStyle = fill; pen.beginPath(); pen.arc(at.x, at.y, r, 0, 7); pen.fill(); };
      if (marked) { disc(radius * 2.1, paper); disc(radius * 1.8, alarm); }
      disc(radius, ink); disc(radius * 0.72, marked ? "#fff" : paper);
      if (joint === ringed) {
        pen.strokeStyle = ink; pen.lineWidth = 2; pen.setLineDash([4, 4]);
        pen.beginPath(); pen.arc(at.x, at.y, radius * 3.2, 0, 7); pen.stroke(); pen.setLineDash([]);
      }
    } else {
      const near = (part.a.near + part.b.near) / 2;
      for (const [stroke, width] of [[paper, 1.7], [part.colour, 1]]) {
        pen.strokeStyle = stroke; pen.lineWidth = thick * width * near;
        pen.beginPath(); pen.moveTo(part.a.x, part.a.y); pen.lineTo(part.b.x, part.b.y); pen.stroke();
      }
    }
  }
  /* The camera's axes, and a length. */
  pen.font = "12px system-ui, sans-serif"; pen.fillStyle = pen.strokeStyle = colour("quiet"); pen.lineWidth = 1.5;
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  [["x", [cy, sp * sy]], ["y", [0, cp]], ["z", [sy, -sp * cy]]].forEach(([name, [x, y]]) => {
    const [ox, oy] = [34, size - 40];
    pen.beginPath(); pen.moveTo(ox, oy); pen.lineTo(ox + 20 * x, oy + 20 * y); pen.stroke();
    if (Math.hypot(x, y) > 0.3) pen.fillText(name, ox + 29 * x - 3, oy + 29 * y + 4);
  });
  const length = [0.1, 0.05, 0.02, 0.01, 0.005].find(m => m / shown.reach * scale < size * 0.3) || 0.002;
  const end = size - 16, start = end - length / shown.reach * scale, low = size - 18;
  pen.beginPath(); pen.moveTo(start, low - 4); pen.lineTo(start, low); pen.lineTo(end, low); pen.lineTo(end, low - 4); pen.stroke();
  pen.textAlign = "center"; pen.fillText(`${1000 * length} mm`, (start + end) / 2, low - 7);
  for (const [key, value] of Object.entries(view)) canvas.dataset[key] = value.toFixed(4);
}

/* Lets mouse, pen, touch and keys change the view of a canvas, and calls `redraw` afterwards. The page can be scrolled over
   the canvas: by touch up and down, and by the wheel, which zooms only with Ctrl or while the canvas has the focus. */
function control(canvas, redraw) {
  const held = new Map();
  const turn = (yaw, pitch) => { view.yaw += yaw; view.pitch += pitch; redraw(); };
  const zoom = factor => { view.zoom = Math.min(12, Math.max(0.3, view.zoom * factor)); redraw(); };
  const move = (x, y) => { view.x += x; view.y += y; redraw(); };
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.classList.add("held");
  });
  canvas.addEventListener("pointermove", event => {
    if (!held.has(event.pointerId)) return;
    const before = [...held.values()].map(point => [...point]), size = canvas.clientWidth;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    const after = [...held.values()];
    const middle = points => [0, 1].map(a => points.reduce((sum, p) => sum + p[a], 0) / points.length);
    const [dx, dy] = [0, 1].map(a => middle(after)[a] - middle(before)[a]);
    if (held.size > 1) {
      const apart = ([p, q]) => Math.hypot(p[0] - q[0], p[1] - q[1]) || 1;
      move(dx / size, dy / size);
      zoom(apart(after) / apart(before));
    } else if (event.shiftKey || event.buttons & 6) move(dx / size, dy / size);
    else turn(-3.5 * dx / size, 3.5 * dy / size);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(name, event => {
    held.delete(event.pointerId);
    if (!held.size) canvas.classList.remove("held");
  });
  canvas.addEventListener("contextmenu", event => event.preventDefault());
  canvas.addEventListener("wheel", event => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.04 : 0.0015)));
  }, { passive: false });
  canvas.addEventListener("keydown", event => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (arrow && event.shiftKey) move(0.05 * arrow[0], 0.05 * arrow[1]);
    else if (arrow) turn(-0.12 * arrow[0], 0.12 * arrow[1]);
    else if (event.key === "+" || event.key === "=") zoom(1.15);
    else if (event.key === "-") zoom(1 / 1.15);
    else if (event.key === "0") { look(0, 0); redraw(); }
    else return;
    event.preventDefault();
  });
  new ResizeObserver(redraw).observe(canvas);
}
function look(yaw, pitch) { Object.assign(view, { yaw: yaw * Math.PI / 180, pitch: pitch * Math.PI / 180, zoom: 1, x: 0, y: 0 }); }
/* Lets the buttons with a `data-view`, "yaw,pitch" in degrees, choose the view. */
function offerViews(redraw) {
  document.querySelectorAll("[data-view]").forEach(button => button.addEventListener("click", () => {
    look(...button.dataset.view.split(",").map(Number));
    redraw();
  }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
