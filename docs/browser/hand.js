// A hand of a picture or of the camera by hand.onnx, which `bmc export --onnx` writes.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more threads need a server that isolates the page from other origins

const COLOURS = ["#D55E00", "#E69F00", "#009E73", "#56B4E9", "#CC79A7"]; // thumb to little finger
const FINGERS = [0, 1, 2, 3, 4].map((finger) => [0, 1, 2, 3, 4].map((level) => (level ? 4 * finger + level : 0)));
const [file, left, scale] = document.querySelectorAll("input");
const output = document.querySelector("output");
const [picture, space] = ["picture", "space"].map((id) => document.getElementById(id).getContext("2d"));

let session, size, crop;
let turn = 0;
let live = 0; // number of the camera's current use

async function load() {
  session = await ort.InferenceSession.create("hand.onnx");
  size = session.inputMetadata.find((input) => input.name === "image").shape[1];
  crop = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
  output.value = "ready";
}

/** Predicts the hand in the middle square of a source of width x height pixels, and draws it. */
async function predict(source, width, height) {
  const side = Math.min(width, height);
  const [x, y] = [(width - side) / 2, (height - side) / 2];
  // The network knows right hands: a left hand is shown mirrored, and its joints are mirrored back.
  crop.setTransform(left.checked ? -1 : 1, 0, 0, 1, left.checked ? size : 0, 0);
  crop.imageSmoothingQuality = "high";
  crop.drawImage(source, x, y, side, side, 0, 0, size, size);
  const rgba = crop.getImageData(0, 0, size, size).data;
  const pixels = new Uint8Array(3 * size * size).map((_, i) => rgba[4 * Math.floor(i / 3) + (i % 3)]);
  // The focal length is assumed to be the longer side, 53 degrees of view, and the centre the picture's. The square
  // has the same centre. Pixels have their centres at whole numbers.
  const focal = (Math.max(width, height) * size) / side;
  const centre = (size - 1) / 2;

  const start = performance.now();
  const found = await session.run({
    image: new ort.Tensor("uint8", pixels, [1, size, size, 3]),
    K: new ort.Tensor("float32", [focal, 0, centre, 0, focal, centre, 0, 0, 1], [1, 3, 3]),
    scale: new ort.Tensor("float32", [Number(scale.value)], [1]),
  });
  output.value = `${Math.round(performance.now() - start)} ms`;
  const flip = left.checked ? -1 : 1;
  const rows = (data, width) => Array.from({ length: 21 }, (_, i) => Array.from(data.slice(width * i, width * (i + 1))));
  window.hand = {
    joints_2d: rows(found.joints_2d.data, 2).map(([u, v]) => [left.checked ? size - 1 - u : u, v]), // of the square
    joints_3d: rows(found.joints_3d.data, 3).map(([x, y, z]) => [flip * x, y, z]), // metres: x right, y down, z forward
  };
  const shown = picture.canvas.width;
  picture.drawImage(source, x, y, side, side, 0, 0, shown, shown);
  draw(picture, window.hand.joints_2d.map((joint) => joint.map((at) => ((at + 0.5) * shown) / size)));
  drawSpace();
}

function drawSpace() {
  if (!window.hand) return;
  const joints = window.hand.joints_3d;
  const middle = [0, 1, 2].map((axis) => joints.reduce((sum, joint) => sum + joint[axis], 0) / joints.length);
  const { width } = space.canvas;
  space.clearRect(0, 0, width, width);
  const pixels = width / 0.3; // a square of 0.3 m
  draw(space, joints.map(([x, y, z]) => {
    const across = Math.cos(turn) * (x - middle[0]) + Math.sin(turn) * (z - middle[2]);
    return [width / 2 + pixels * across, width / 2 + pixels * (y - middle[1])];
  }));
}

function draw(canvas, points) {
  canvas.lineWidth = 5;
  canvas.lineCap = canvas.lineJoin = "round";
  FINGERS.forEach((finger, i) => {
    canvas.strokeStyle = COLOURS[i];
    canvas.beginPath();
    finger.forEach((joint) => canvas.lineTo(...points[joint]));
    canvas.stroke();
  });
}

async function showFile() {
  live += 1;
  if (!file.files.length) return;
  const image = await createImageBitmap(file.files[0], { colorSpaceConversion: "none" });
  await predict(image, image.width, image.height);
}

async function showCamera() {
  const mine = (live += 1);
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true });
  await video.play();
  while (mine === live) {
    await predict(video, video.videoWidth, video.videoHeight);
    await new Promise(requestAnimationFrame);
  }
  stream.getTracks().forEach((track) => track.stop());
}

const loaded = load();
const told = (work) => loaded.then(work).catch((error) => (output.value = `error: ${error.message}`));
told(() => {});
file.addEventListener("change", () => told(showFile));
left.addEventListener("change", () => file.files.length && told(showFile));
scale.addEventListener("change", () => file.files.length && told(showFile));
document.querySelector("button").addEventListener("click", () => told(showCamera));
space.canvas.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  turn += event.movementX / 100;
  drawSpace();
});
