"use strict";
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
const degrees = value => value.toFixed(0).replace("-", "\u2212") + "°";
let shown = 0, chosen = -1, marks = [];
const view = { yaw: 0, pitch: 0, zoom: 1, x: 0, y: 0 };

/* The joint that the angle row i is about: row i is the bone after it. */
const jointOf = i => 4 * Math.floor(i / 3) + 1 + i % 3;
const beyond = hand => new Set(hand.angles.flatMap((angle, i) => angle.beyond > 0 ? [jointOf(i)] : []));

/* The picture. */
function drawPhoto() {
  const hand = data.hands[shown], picture = data.pictures[shown], svg = element("photo");
  const [left, top, right, bottom] = picture.region, width = right - left, height = bottom - top;
  svg.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
  svg.setAttribute("aria-label", `${hand.image} with the predicted ${hand.hand} hand`);
  svg.replaceChildren(make("svg:image", { href: picture.source, x: left, y: top, width, height }));
  if (!element("overlay").checked) return;
  // An image's pixel (0, 0) has its centre where SVG has (0.5, 0.5).
  const points = hand.joints_2d.map(([u, v]) => [u + 0.5, v + 0.5]);
  const span = axis => Math.max(...points.map(p => p[axis])) - Math.min(...points.map(p => p[axis]));
  const thick = Math.max(Math.max(span(0), span(1)) * 0.016, Math.max(width, height) / 200);
  const line = (chain, stroke, size) => svg.append(make("svg:polyline", {
    points: chain.map(j => points[j].join(",")).join(" "), fill: "none", stroke, "stroke-width": size,
    "stroke-linejoin": "round", "stroke-linecap": "round" }));
  CHAINS.forEach(chain => line(chain, "#000000a0", thick * 1.9));
  CHAINS.forEach((chain, f) => line(chain, COLOURS[f], thick));
  const out = beyond(hand);
  points.forEach(([cx, cy], j) => {
    if (out.has(j)) svg.append(make("svg:circle", { cx, cy, r: thick * 1.75, fill: "none", stroke: "#fff", "stroke-width": thick * 0.9 }),
      make("svg:circle", { cx, cy, r: thick * 1.75, fill: "none", stroke: "#c2003b", "stroke-width": thick * 0.5 }));
    svg.append(make("svg:circle", { cx, cy, r: thick * 0.8, fill: "#fff", stroke: "#1f2933", "stroke-width": thick * 0.3 },
      make("svg:title", {}, data.joints[j])));
  });
  if (chosen >= 0) {
    const [cx, cy] = points[jointOf(chosen)];
    svg.append(make("svg:circle", { cx, cy, r: thick * 3, fill: "none", stroke: "#fff", "stroke-width": thick * 0.6, "stroke-dasharray": thick }));
  }
}

/* The hand in 3D: turned about the vertical by yaw, then about the horizontal by pitch, seen from the camera's side. */
function turned(points) {
  const middle = [0, 1, 2].map(a => (Math.min(...points.map(p => p[a])) + Math.max(...points.map(p => p[a]))) / 2);
  const reach = Math.max(...points.map(p => Math.hypot(...p.map((value, a) => value - middle[a]))), 1e-6);
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  return [points.map(p => {
    const [x, y, z] = p.map((value, a) => (value - middle[a]) / reach);
    const [rx, rz] = [cy * x + sy * z, -sy * x + cy * z];
    return [rx, cp * y - sp * rz, sp * y + cp * rz];
  }), reach];
}
function drawHand() {
  const canvas = element("hand"), hand = data.hands[shown], pen = canvas.getContext("2d");
  const size = canvas.clientWidth, sharp = window.devicePixelRatio || 1;
  if (!size) return;
  canvas.width = canvas.height = Math.round(size * sharp);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, size, size);
  pen.lineCap = pen.lineJoin = "round";
  const [points, reach] = turned(hand.joints_3d), far = 4.5;
  const scale = size * 0.42 * view.zoom;
  const seen = points.map(([x, y, z]) => {
    const near = far / (far + z);
    return { x: size * (0.5 + view.x) + x * near * scale, y: size * (0.5 + view.y) + y * near * scale, z, near };
  });
  const [ink, paper, alarm] = ["ink", "track", "beyond"].map(colour), thick = 0.045 * scale, out = beyond(hand);
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
      const { at, joint } = part, radius = thick * at.near * 0.62, red = out.has(joint);
      const disc = (r, fill) => { pen.fillStyle = fill; pen.beginPath(); pen.arc(at.x, at.y, r, 0, 7); pen.fill(); };
      if (red) { disc(radius * 2.1, paper); disc(radius * 1.8, alarm); }
      disc(radius, ink); disc(radius * 0.72, red ? "#fff" : paper);
      if (chosen >= 0 && joint === jointOf(chosen)) {
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
  const length = [0.1, 0.05, 0.02, 0.01, 0.005].find(m => m / reach * scale < size * 0.3) || 0.002;
  const end = size - 16, start = end - length / reach * scale, low = size - 18;
  pen.beginPath(); pen.moveTo(start, low - 4); pen.lineTo(start, low); pen.lineTo(end, low); pen.lineTo(end, low - 4); pen.stroke();
  pen.textAlign = "center"; pen.fillText(`${1000 * length} mm`, (start + end) / 2, low - 7);
  for (const [key, value] of Object.entries(view)) canvas.dataset[key] = value.toFixed(4);
}
function turn(yaw, pitch) { view.yaw += yaw; view.pitch += pitch; drawHand(); }
function zoom(factor) { view.zoom = Math.min(12, Math.max(0.3, view.zoom * factor)); drawHand(); }
function move(x, y) { view.x += x; view.y += y; drawHand(); }
function look(yaw, pitch) { Object.assign(view, { yaw: yaw * Math.PI / 180, pitch: pitch * Math.PI / 180, zoom: 1, x: 0, y: 0 }); drawHand(); }

/* Mouse, pen and touch. */
const held = new Map();
const canvas = element("hand");
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
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.04 : 0.0015)));
}, { passive: false });
canvas.addEventListener("keydown", event => {
  const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (arrow && event.shiftKey) move(0.05 * arrow[0], 0.05 * arrow[1]);
  else if (arrow) turn(-0.12 * arrow[0], 0.12 * arrow[1]);
  else if (event.key === "+" || event.key === "=") zoom(1.15);
  else if (event.key === "-") zoom(1 / 1.15);
  else if (event.key === "0") look(0, 0);
  else return;
  event.preventDefault();
});
document.querySelectorAll("[data-view]").forEach(button =>
  button.addEventListener("click", () => look(...button.dataset.view.split(",").map(Number))));

/* Bars. */
const clamp = value => Math.min(100, Math.max(0, value));
function meter(words, text, value, [low, high], [from, to]) {
  const share = x => clamp(100 * (x - from) / (to - from));
  return make("div", { class: "meter" }, make("b", {}, text), make("div",
    { class: "track", role: "img", "aria-label": `${words} ${text}, allowed ${low.toFixed(1)} to ${high.toFixed(1)}` },
    make("span", { style: `left:${share(low)}%;right:${100 - share(high)}%` }),
    make("em", { style: `left:${Math.min(99, Math.max(1, share(value)))}%` })));
}
const named = (finger, words) => make("span", { class: "name" },
  make("i", { style: `background:${COLOURS[FINGERS.indexOf(finger)] || "var(--quiet)"}` }), words);
function range(limits, pad) {
  const low = Math.min(...limits.map(l => l[0])), high = Math.max(...limits.map(l => l[1]));
  return [low - pad * (high - low), high + pad * (high - low)];
}
const FLEXION = range(data.limits.angles.map(l => l.flexion), 0.15);
const ABDUCTION = range(data.limits.angles.map(l => l.abduction), 0.15);
function drawAngles() {
  const hand = data.hands[shown];
  element("angles").replaceChildren(make("li", {}, make("div", { class: "row titles", "aria-hidden": "true" },
    make("span", { class: "name" }, "joint"), make("span", {}, `flexion, ${degrees(FLEXION[0])} to ${degrees(FLEXION[1])}`),
    make("span", {}, `abduction, ${degrees(ABDUCTION[0])} to ${degrees(ABDUCTION[1])}`), make("span", { class: "status" }, "limits"))),
  ...data.limits.angles.map((limit, i) => {
    const angle = hand.angles[i], bad = angle.beyond > 0;
    const row = make("button", { type: "button", class: bad ? "row bad" : "row", "aria-pressed": i === chosen },
      named(limit.finger, `${limit.finger} ${limit.joint}`),
      meter("flexion", degrees(angle.flexion), angle.flexion, limit.flexion, FLEXION),
      meter("abduction", degrees(angle.abduction), angle.abduction, limit.abduction, ABDUCTION),
      make("span", { class: "status" }, bad ? `${angle.beyond.toFixed(1)}° beyond` : "within"));
    row.addEventListener("click", () => { chosen = chosen === i ? -1 : i; mark(); });
    return make("li", {}, row);
  }));
  const lengths = data.limits.bone_length.map((limit, i) =>
    [`${limit.finger} ${limit.bone} bone`, limit.finger, hand.bone_length[i], limit.range, data.scale.metres * 1000, " mm"]);
  const palm = data.limits.palm.flatMap((limit, i) => [
    [`spread ${limit.between}`, "", hand.spread[i], limit.spread, 1, "°"],
    [`curvature ${limit.between}`, "", hand.curvature[i], limit.curvature, 1, ""]]);
  element("rest").replaceChildren(...[...lengths, ...palm].map(([words, finger, { value, beyond }, limit, unit, sign]) => {
    const pad = Math.max(limit[1] - limit[0], Math.abs(limit[1]) * 0.1, 1e-3);
    const far = beyond * unit, bad = beyond > 0;
    const text = (value * unit).toFixed(sign ? 0 : 2).replace("-", "\u2212") + sign;
    const row = make("div", { class: bad ? "row bad" : "row" }, named(finger, words),
      meter(words, text, value, limit, [limit[0] - pad, limit[1] + pad]),
      make("span", { class: "quiet" }, `${(limit[0] * unit).toFixed(sign ? 0 : 2)} to ${(limit[1] * unit).toFixed(sign ? 0 : 2)}${sign}`.replaceAll("-", "\u2212")),
      make("span", { class: "status" }, bad ? `${far.toFixed(sign ? 1 : 2)}${sign} beyond` : "within"));
    return make("li", {}, row);
  }));
  const count = hand.angles.filter(a => a.beyond > 0).length;
  const others = [...hand.bone_length, ...hand.spread, ...hand.curvature].filter(a => a.beyond > 0).length;
  element("verdict").className = hand.within_limits ? "" : "bad";
  element("verdict").textContent = hand.within_limits ? "a hand can do this: all within the limits"
    : `beyond the limits: ${count} of 15 joints, ${others} of 28 lengths and palm angles`;
}
function mark() {
  document.querySelectorAll("button.row").forEach((row, i) => row.setAttribute("aria-pressed", i === chosen));
  drawPhoto(); drawHand();
}

/* Which hand. */
function show(i) {
  shown = i;
  const hand = data.hands[i];
  document.body.dataset.shown = i;
  element("name").textContent = hand.image.split(/[\\/]/).pop()
    + ("frame" in hand ? ` · frame ${hand.frame}, ${hand.time.toFixed(2)} s` : "") + ` · ${hand.hand} hand`;
  element("camera").textContent = `K: ${hand.intrinsics_from}. Box: ${hand.box_from}.`;
  document.querySelectorAll("#strip button").forEach((button, j) => button.setAttribute("aria-pressed", i === j));
  drawPhoto(); drawHand(); drawAngles();
}
const strip = element("strip");
data.hands.forEach((hand, i) => {
  const button = make("button", { type: "button", class: hand.within_limits ? "" : "bad",
    "aria-label": `${hand.image}, ${hand.hand} hand${hand.within_limits ? "" : ", beyond the limits"}` },
    make("img", { alt: "", src: data.pictures[i].source, loading: "lazy" }));
  button.addEventListener("click", () => show(i));
  strip.append(button);
});
strip.addEventListener("keydown", event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const to = step && strip.children[[...strip.children].indexOf(document.activeElement) + step];
  if (to) { to.focus(); to.click(); event.preventDefault(); }
});
strip.hidden = data.hands.length < 2;
strip.style.display = strip.hidden ? "none" : "";
element("about").textContent = data.about;
const facts = { ...(data.checkpoint ? { checkpoint: `${data.checkpoint.folder}, step ${data.checkpoint.step}` } : { source: data.source }),
  limits: `${data.limits.source}, ${data.limits.poses} poses`, scale: `${(1000 * data.scale.metres).toFixed(1)} mm, ${data.scale.from}`,
  ...data.conventions };
for (const [name, words] of Object.entries(facts)) element("facts").append(make("dt", {}, name), make("dd", {}, words));
element("overlay").addEventListener("change", drawPhoto);
new ResizeObserver(drawHand).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawHand);
show(0);
