// A photograph beside what the scene shows through the very same lens: side by side, wiped, or the difference.
const WAYS = ["wipe", "beside", "difference", "photograph", "scene"];
const shownPair = document.createElement("canvas"), pairLayer = document.createElement("div");
pairLayer.id = "pair";
pairLayer.hidden = true;
let pair = null, way = 0, wiped = .5;

async function compare(frame) {
  pair = null;
  const side = Math.min(1600, Math.max(64, Math.round(Math.max(canvas.clientWidth, canvas.clientHeight))));
  const bitmap = (found) => found.superseded ? null : createImageBitmap(new Blob([found.content], { type: "image/jpeg" }));
  const [truth, drawn] = await Promise.all([
    asked("photograph", { view: frame, side }).then(bitmap),
    asked("picture", { view: frame, side, moving: false, ...cutFacts() }).then(bitmap),
  ]);
  if (!drawn) return;  // another photograph was asked for meanwhile
  pair = { truth, drawn, frame };
  pairLayer.hidden = false;
  drawPair();
}

function drawPair() {
  if (!pair) return;
  const { truth, drawn } = pair, width = truth.width, height = truth.height, beside = WAYS[way] === "beside";
  shownPair.width = beside ? 2 * width : width;
  shownPair.height = height;
  const context = shownPair.getContext("2d"), at = Math.round(wiped * width);
  if (WAYS[way] !== "photograph") context.drawImage(drawn, 0, 0, width, height);
  if (WAYS[way] === "photograph") context.drawImage(truth, 0, 0);
  if (beside) context.drawImage(truth, width, 0);
  if (WAYS[way] === "wipe" && at > 0) context.drawImage(truth, 0, 0, at, height, 0, 0, at, height);
  if (WAYS[way] === "difference") {
    context.globalCompositeOperation = "difference";
    context.drawImage(truth, 0, 0);
  }
  document.getElementById("way").textContent = WAYS[way];
  document.getElementById("which").textContent = about.names[pair.frame];
}

{
  const slider = document.createElement("input"), bar = document.createElement("div"), which = document.createElement("span");
  const act = (text, id, does) => Object.assign(document.createElement("button"), { textContent: text, id, onclick: does });
  Object.assign(slider, { type: "range", id: "wiper", min: 0, max: 1, step: .005, value: wiped, oninput: () => { wiped = Number(slider.value); drawPair(); } });
  which.id = "which";
  bar.append(which, act("wipe", "way", () => { way = (way + 1) % WAYS.length; drawPair(); }), slider, act("close", "closepair", () => { pairLayer.hidden = true; pair = null; }));
  pairLayer.append(shownPair, bar);
  document.body.append(pairLayer);
}
