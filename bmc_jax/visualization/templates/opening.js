let shown = data.opened;

/* The chosen hand: its picture, and each pose beside the label. */
function drawPoses() {
  const hand = data.hands[shown], around = extent(hand.poses.flat());
  around.reach *= 0.85;  // the corners of the canvas are empty
  document.querySelectorAll("canvas.pose").forEach((canvas, i) =>
    drawJoints(canvas, hand.poses[i], { shown: around, ghost: i ? hand.poses[0] : null }));
}
function show(i) {
  shown = i;
  const hand = data.hands[i];
  if (element("seen")) element("seen").src = hand.picture;
  document.querySelectorAll(".error").forEach((words, k) => { words.textContent = `${hand.errors[k].toFixed(0)} mm`; });
  document.querySelectorAll("#strip button").forEach((button, j) => button.setAttribute("aria-pressed", i === j));
  drawPoses();
}
data.hands.forEach((hand, i) => {
  const words = `hand ${i + 1}: depth errors ${hand.errors.map(error => `${error.toFixed(0)} mm`).join(" and ")}`;
  const button = make("button", { type: "button", "aria-label": words, title: words },
    hand.picture ? make("img", { alt: "", src: hand.picture }) : `${i + 1}`);
  button.addEventListener("click", () => show(i));
  element("strip").append(button);
});
look(75, 0);
document.querySelectorAll("canvas.pose").forEach(canvas => control(canvas, drawPoses));
offerViews(drawPoses);
show(shown);
