const degrees = value => value.toFixed(0).replace("-", "\u2212") + "°";
let shown = 0, chosen = -1, marks = [];

/* The joint that the angle row i is about: row i is the bone after it. */
const jointOf = i => 4 * Math.floor(i / 3) + 1 + i % 3;
/* Of lifted hands little remains beyond the limits almost always, so only what is far beyond is marked, in degrees. */
const LEAST = data.landmarks ? 10 : 0;
const beyond = hand => new Set(hand.angles.flatMap((angle, i) => angle.beyond > LEAST ? [jointOf(i)] : []));
const isMarked = hand => data.landmarks ? beyond(hand).size > 0 : !hand.within_limits;

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

/* The hand in 3D. */
function drawHand() {
  const hand = data.hands[shown];
  drawJoints(element("hand"), hand.joints_3d, { red: beyond(hand), ringed: chosen < 0 ? -1 : jointOf(chosen) });
}
control(element("hand"), drawHand);
offerViews(drawHand);

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
    const angle = hand.angles[i], bad = angle.beyond > LEAST;
    const row = make("button", { type: "button", class: bad ? "row bad" : "row", "aria-pressed": i === chosen },
      named(limit.finger, `${limit.finger} ${limit.joint}`),
      meter("flexion", degrees(angle.flexion), angle.flexion, limit.flexion, FLEXION),
      meter("abduction", degrees(angle.abduction), angle.abduction, limit.abduction, ABDUCTION),
      make("span", { class: "status" }, angle.beyond > 0 ? `${angle.beyond.toFixed(1)}° beyond` : "within"));
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
    const far = beyond * unit, bad = beyond > 0 && !data.landmarks;
    const text = (value * unit).toFixed(sign ? 0 : 2).replace("-", "\u2212") + sign;
    const row = make("div", { class: bad ? "row bad" : "row" }, named(finger, words),
      meter(words, text, value, limit, [limit[0] - pad, limit[1] + pad]),
      make("span", { class: "quiet" }, `${(limit[0] * unit).toFixed(sign ? 0 : 2)} to ${(limit[1] * unit).toFixed(sign ? 0 : 2)}${sign}`.replaceAll("-", "\u2212")),
      make("span", { class: "status" }, beyond > 0 ? `${far.toFixed(sign ? 1 : 2)}${sign} beyond` : "within"));
    return make("li", {}, row);
  }));
  const count = hand.angles.filter(a => a.beyond > 0).length;
  const others = [...hand.bone_length, ...hand.spread, ...hand.curvature].filter(a => a.beyond > 0).length;
  element("verdict").className = isMarked(hand) ? "bad" : "";
  element("verdict").textContent = hand.within_limits ? "a hand can do this: all within the limits"
    : data.landmarks ? `the nearest hand on these rays; at most ${Math.max(...hand.angles.map(a => a.beyond)).toFixed(1)}° beyond the limits`
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
  const button = make("button", { type: "button", class: isMarked(hand) ? "bad" : "",
    "aria-label": `${hand.image}, ${hand.hand} hand${isMarked(hand) ? ", beyond the limits" : ""}` },
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
show(0);
