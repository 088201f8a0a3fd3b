// The live page: asks the server that sent it for the field and all else, over one socket that comes back by itself.
let socket = null, counter = 0, about = null, first = true;
const waiting = new Map();  // answers that are due, by the number of the message
const decoder = new TextDecoder();

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// A message, and its answer: facts, with the bytes that follow them as content.
function asked(ask, facts = {}) {
  return new Promise((done, wrong) => {
    if (!socket || socket.readyState !== WebSocket.OPEN) return wrong(new Error("the program cannot be reached"));
    const id = ++counter;
    waiting.set(id, { done, wrong });
    socket.send(JSON.stringify({ ask, id, ...facts }));
  });
}

function received(data) {
  let facts, content = null;
  if (typeof data === "string") facts = JSON.parse(data);
  else {
    const bytes = new Uint8Array(data), end = bytes.indexOf(10);
    facts = JSON.parse(decoder.decode(bytes.subarray(0, end)));
    content = bytes.subarray(end + 1);
  }
  if (facts.welcome) welcomed();
  if (facts.state) stated(facts.state);
  if (facts.job) jobs.set(facts.job.number, facts.job), showJobs();
  if ("score" in facts) scored(facts.score, facts.psnr);
  const due = waiting.get(facts.id);
  if (due) {
    waiting.delete(facts.id);
    if (facts.error) due.wrong(new Error(facts.error));
    else due.done({ ...facts, content });
  } else if (facts.error) told(facts.error);
}

function connect() {
  const token = location.hash.slice(1).split("&")[0];
  socket = new WebSocket(`ws://${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(JSON.stringify({ token }));
  socket.onmessage = (event) => received(event.data);
  socket.onclose = (event) => {
    for (const { wrong } of waiting.values()) wrong(new Error("the connection was lost"));
    waiting.clear();
    element("link").textContent = event.code === 1008 ? `not let in: ${event.reason}` : "not connected; trying again";
    if (event.code !== 1008) setTimeout(connect, 2000);  // 1008: not the token of this program
  };
}

async function welcomed() {
  element("link").textContent = "";
  about = (await asked("about")).about;
  document.title = about.title;
  element("title").textContent = about.title;
  stated(about.state);
  showPhotographs();
  for (const [frame, value] of Object.entries(about.scores)) scored(Number(frame), value);
  for (const job of about.jobs || []) jobs.set(job.number, job);
  showJobs();
  if (first) {
    try {
      await begin(live);
      first = false;
      if (about.crop) cutBy(about.crop);
      element("cuts").append(button("keep", "all outputs of this run leave out what is cut; keep it uncut to forget it", () => tried(keepCrop())));
    } catch (error) {
      if (socket.readyState === WebSocket.OPEN) failed(error);  // else it is tried again with the next connection
    }
    started();
  } else redraw();
  follow();
}
let started = null;
const ready = new Promise((done) => started = done);

// The field: the first with its facts, then each as soon as there is another.
let step = -1, latest = null;
const live = {
  head: async () => {
    latest = await asked("field", { after: -1 });
    step = latest.step;
    return latest.facts;
  },
  stream: async () => latest.content,
  elsewhere: drawnElsewhere,
};

async function follow() {
  while (socket.readyState === WebSocket.OPEN && gl && !elsewhere) {
    try {
      const next = await asked("field", { after: step });
      step = next.step;
      field = parted(next.content);
      head.range = next.facts.range;
      if (!gl.isContextLost()) {
        gl.uniform2fv(places.range, head.range);
        upload();
      }
      redraw();
    } catch (error) {
      return;
    }
  }
}

const cutFacts = () => isCut() ? { crop: cropNumbers() } : {};

// Pictures from the server, for browsers that cannot draw them: one is asked for at a time, the latest view counts.
const flat = made("canvas", { id: "flat" });
let due = null, busy = false;

function drawnElsewhere(moving) {
  const most = moving ? 320 : 1024, part = Math.min(1, most / Math.max(canvas.clientWidth, canvas.clientHeight));
  const width = Math.max(2, Math.round(canvas.clientWidth * part)), height = Math.max(2, Math.round(canvas.clientHeight * part));
  due = { pose: pose().slice(0, 12), focal: lensOf(camera.view, width, height)[0], width, height, moving, ...cutFacts() };
  if (!busy) nextElsewhere();
}

async function nextElsewhere() {
  busy = true;
  try {
    while (due) {
      const wants = due;
      due = null;
      const found = await asked("picture", wants);
      if (found.superseded) continue;
      await shownOn(flat, found);
      flat.hidden = false;
    }
  } catch (error) {
    told(error.message);
  }
  busy = false;
}

async function shownOn(target, found) {
  const picture = await createImageBitmap(new Blob([found.content], { type: "image/jpeg" }));
  target.width = picture.width;
  target.height = picture.height;
  target.getContext("2d").drawImage(picture, 0, 0);
}

// A picture as the program renders it, of twice the window's size at the most.
element("save").onclick = () => tried((async () => {
  const part = Math.min(2, 2048 / Math.max(canvas.clientWidth, canvas.clientHeight));
  const width = Math.round(canvas.clientWidth * part), height = Math.round(canvas.clientHeight * part);
  const facts = { pose: pose().slice(0, 12), focal: lensOf(camera.view, width, height)[0], width, height, moving: false, ...cutFacts() };
  const found = await asked("picture", facts);
  if (!found.superseded) handed("scene.jpg", found.content);
})());

function handed(name, content) {
  const link = made("a", { href: URL.createObjectURL(new Blob([content])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The panel.
const panel = made("aside", { id: "panel" });
const section = (title, id, ...children) => made("details", { id, open: true }, made("summary", { textContent: title }), ...children);
const button = (text, title, act) => made("button", { textContent: text, title, onclick: act });
const entry = (id, value, title, more = {}) => made("input", { id, value, title, type: "number", ...more });
const line = (...children) => made("div", { className: "line" }, ...children);
const told = (text) => element("told").textContent = text;
const tried = (promise) => promise.catch((error) => told(error.message));

const jobs = new Map(), keys = [];
const curve = made("canvas", { id: "curve", width: 300, height: 90 });
panel.append(
  line(made("b", { id: "title" }), made("span", { id: "link", textContent: "connecting" })),
  made("p", { id: "told" }),
  section("training", "training", made("p", { id: "state" }), curve, made("div", { id: "controls", className: "line" })),
  section("photographs", "photographs",
    line(button("score", "compare all photographs with the scene, small", () => tried(asked("score"))),
      made("select", { id: "order", onchange: () => showPhotographs() }, ...["in order", "worst first", "best first"].map((text) => made("option", { textContent: text }))),
      made("label", { textContent: "cameras " }, made("input", { id: "frustums", type: "checkbox", checked: true, onchange: () => redraw() })),
      made("label", { textContent: "points " }, made("input", { id: "sparse", type: "checkbox", title: "the sparse points that the cameras' poses came with", onchange: () => tried(showSparse()) })),
      made("label", { textContent: "bounds " }, made("input", { id: "bounds", type: "checkbox", title: "the box that the scene is learned in, or its middle", onchange: () => redraw() }))),
    made("div", { id: "list" })),
  section("key frames", "keyframes",
    line(button("add", "this view, two seconds after the last", addKey), button("play", "the path through them", playKeys),
      button("save", "view.track.json in the run folder", () => tried(saveKeys())),
      button("load", "what was saved, in place of these", () => tried(loadKeys())),
      made("label", { textContent: "loop " }, made("input", { id: "loop", type: "checkbox" }))),
    made("div", { id: "keylist" })),
  section("make", "make",
    line(made("label", { textContent: "path " }, made("select", { id: "path" }, ...["auto", "keys", "orbit", "arc", "spiral", "tour"].map((text) => made("option", { textContent: text })))),
      entry("frames", 90, "frames"), entry("fps", 30, "frames a second"), entry("filmwidth", 640, "width, pixels"), entry("filmheight", 480, "height, pixels"),
      button("film", "make a film", () => tried(makeFilm()))),
    line(entry("resolution", 256, "cells along a side"), button("mesh", "make a mesh", () => tried(make("mesh", { resolution: Number(element("resolution").value) }))),
      button("points", "a point cloud", () => tried(make("points"))), button("page", "the scene in one page", () => tried(make("page")))),
    made("div", { id: "jobs" })),
);
document.body.append(flat, over, panel);
flat.hidden = true;
element("bar").append(button("panel", "show or hide the panel", () => panel.hidden = !panel.hidden));
panel.hidden = innerWidth < 700;

const points = [];
let redrawn = 0;  // when a picture from elsewhere was last asked for because there is news
function stated(state) {
  const parts = [state.phase];
  if (state.step !== undefined) parts.push(`step ${state.step}`, `${state.value} dB ${state.name}`);
  if (state.seconds !== undefined) parts.push(`${state.seconds} s`, `${Math.round(100 * state.progress)} %`);
  element("state").textContent = parts.join(", ");
  if (about && !points.length) points.push(...about.curve);
  if (state.step !== undefined && (!points.length || points[points.length - 1][0] < state.step)) points.push([state.step, state.value]);
  drawCurve();
  if (elsewhere && head && !busy && performance.now() - redrawn > 4000) {
    redrawn = performance.now();
    redraw();
  }
  const controls = about && ["training", "paused"].includes(state.phase) ? about.controls : [];
  element("controls").replaceChildren(...controls.map((what) => button(what, what, () => tried(asked("do", { what })))));
  element("training").hidden = !about || (!controls.length && !points.length);
  element("make").hidden = state.phase !== "done";
}

function drawCurve() {
  const context = curve.getContext("2d"), { width, height } = curve;
  context.clearRect(0, 0, width, height);
  if (points.length < 2) return;
  const values = points.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values, low + 1);
  const last = points[points.length - 1][0];
  context.strokeStyle = "#8cf";
  context.beginPath();
  for (const [at, value] of points) context.lineTo(width * at / last, height - 4 - (height - 8) * (value - low) / (high - low));
  context.stroke();
  context.fillStyle = "#eee";
  context.fillText(`${high.toFixed(1)} dB`, 2, 10);
  context.fillText(`${low.toFixed(1)} dB`, 2, height - 2);
}

// Photographs: a row each, with a thumbnail that is asked for when it comes into sight.
const rows = new Map();
const sight = new IntersectionObserver((entries) => {
  for (const each of entries) if (each.isIntersecting) {
    sight.unobserve(each.target);
    const target = each.target;
    asked("photograph", { view: Number(target.dataset.view), side: 64 }).then((found) => shownOn(target, found), (error) => told(error.message));
  }
});
const scores = new Map();

function showPhotographs() {
  const order = element("order").value, sign = order === "worst first" ? 1 : -1;
  const frames = about.names.map((_, frame) => frame);
  if (order !== "in order") frames.sort((a, b) => sign * ((scores.get(a) ?? 1e9) - (scores.get(b) ?? 1e9)));
  for (const frame of frames) if (!rows.has(frame)) {
    const small = made("canvas", { width: 64, height: 48 }), value = made("span", { className: "score" });
    small.dataset.view = frame;
    sight.observe(small);
    rows.set(frame, made("div", { className: "row", tabIndex: 0, title: "look through this photograph's camera", onclick: () => jump(frame) }, small, made("span", { textContent: about.names[frame] }), value));
  }
  element("list").replaceChildren(...frames.map((frame) => rows.get(frame)));
}

function scored(frame, value) {
  scores.set(frame, value);
  const row = rows.get(frame);
  if (row) row.querySelector(".score").textContent = `${value.toFixed(1)} dB`;
  if (scores.size === (about ? about.names.length : 0)) showPhotographs();
  redraw();
}

function jump(frame) {
  playing = null;
  lookFrom(about.poses[frame]);
  redraw();
  tried(compare(frame));
}

// What is drawn over the scene: the cameras of the photographs, coloured by their figures, and the key frames.
// The sparse points, and the bounds of the scene.
let sparse = null;
async function showSparse() {
  if (!sparse) {
    element("sparse").checked = false;  // until they are there
    sparse = new Float32Array((await asked("points")).content.slice().buffer);
    element("sparse").checked = true;
  }
  redraw();
}

function drawSparse(context, lens) {
  for (let i = 0; i < sparse.length; i += 3) spot(context, lens, sparse.subarray(i, i + 3), "#ff0", 1.5);
}

function drawBounds(context, lens) {
  const corner = (k) => projected(lens, [0, 1, 2].map((axis) => head.core[axis] + (k >> axis & 1 ? head.core[3] : 0)));
  context.strokeStyle = "#fff";
  context.beginPath();
  for (let k = 0; k < 8; ++k) for (let axis = 0; axis < 3; ++axis) if (!(k >> axis & 1)) {
    const ends = [corner(k), corner(k | 1 << axis)];
    if (ends.includes(null)) continue;
    context.moveTo(...ends[0]);
    context.lineTo(...ends[1]);
  }
  context.stroke();
}

let eyes = [];
overlay = (lens) => {
  const context = cleared();
  eyes = [];
  if (!about || !head) return;
  if (element("sparse").checked) drawSparse(context, lens);
  if (element("bounds").checked) drawBounds(context, lens);
  if (camera.axes || !element("frustums").checked) return;
  const values = [...scores.values()], worst = Math.min(...values), best = Math.max(...values, worst + 1);
  const size = head.core[3] * .04;
  about.poses.forEach((numbers, frame) => {
    const part = scores.has(frame) ? (scores.get(frame) - worst) / (best - worst) : .5;
    const at = frustum(context, lens, numbers, `hsl(${Math.round(120 * part)} 80% 55%)`, size);
    if (at) eyes.push([...at, frame]);
  });
  for (const key of keys) frustum(context, lens, key.pose, "#6cf", size);
};

let pressed = null;
canvas.addEventListener("pointerdown", (event) => pressed = [event.offsetX, event.offsetY]);
canvas.addEventListener("click", (event) => {
  if (!pressed || Math.hypot(event.offsetX - pressed[0], event.offsetY - pressed[1]) > 3) return;
  const near = eyes.map(([x, y, frame]) => [Math.hypot(x - event.offsetX, y - event.offsetY), frame]).sort((a, b) => a[0] - b[0])[0];
  if (near && near[0] < 12) jump(near[1]);
});

// Key frames.
function addKey() {
  keys.push({ pose: pose(), time: keys.length ? keys[keys.length - 1].time + 2 : 0 });
  showKeys();
}

function showKeys() {
  element("keylist").replaceChildren(...keys.map((key, k) => {
    const when = made("input", { type: "number", step: .1, value: key.time, title: "seconds", onchange: () => key.time = Number(when.value) });
    return line(`${k + 1}`, when,
      button("go", "look from there", () => { playing = null; lookFrom(key.pose); redraw(); }),
      button("here", "move it to this view", () => { key.pose = pose(); redraw(); }),
      button("×", "leave it out", () => { keys.splice(k, 1); showKeys(); }));
  }));
  redraw();
}

function keyFacts() {
  const loop = element("loop").checked, last = keys.length ? keys[keys.length - 1].time : 0;
  return { keys, loop, seconds: loop ? last - keys[0].time + 2 : last };
}

function askedPath(save) {
  const facts = keyFacts(), from = facts.loop || !keys.length ? 0 : keys[0].time;
  return asked("path", { ...facts, save, frames: Math.max(2, Math.min(2000, Math.round(10 * (facts.seconds - from)))) });
}

async function saveKeys() {
  const found = await askedPath(true);
  told(`saved: ${found.file}`);
}

async function loadKeys() {
  const found = await asked("keys");
  keys.splice(0, keys.length, ...found.keys);
  element("loop").checked = found.loop;
  showKeys();
}

async function playKeys() {
  try {
    head.track = (await askedPath(false)).path;
    playing = performance.now();
    redraw();
  } catch (error) {
    told(error.message);
  }
}

// Films, meshes and all else that commands make.
async function makeFilm() {
  const value = (id) => Number(element(id).value), path = element("path").value;
  if (path === "keys") await askedPath(false);  // refuses, in words, what is no path
  await make("film", { ...(path === "keys" ? keyFacts() : {}), path, frames: value("frames"), fps: value("fps"), width: value("filmwidth"), height: value("filmheight") });
}

async function keepCrop() {
  about.crop = isCut() ? cropNumbers() : null;
  await asked("crop", { crop: about.crop });
  told(about.crop ? "the crop box is kept with the run" : "the run is not cropped");
}

function make(what, facts = {}) {
  const crop = isCut() || about.crop ? cropNumbers() : null;  // else the command would take the one that is kept
  socket.send(JSON.stringify({ ask: "job", what, crop, ...facts }));
  return Promise.resolve();
}

function showJobs() {
  element("jobs").replaceChildren(...[...jobs.values()].reverse().map((job) => {
    const going = ["waiting", "running"].includes(job.state);
    return made("div", { className: "job" },
      line(made("b", { textContent: job.file }), ` ${job.state} ${going ? `${job.percent} %` : ""}`,
        going ? button("cancel", "end it", () => socket.send(JSON.stringify({ ask: "cancel", job: job.number }))) : "",
        job.state === "done" ? button("download", "get the file", () => tried(download(job.number))) : ""),
      made("code", { textContent: job.command, title: "the same in a terminal" }),
      job.state === "failed" ? made("p", { textContent: job.line }) : "");
  }));
}

async function download(number) {
  const found = await asked("result", { job: number });
  handed(found.name, found.content);
}

connect();
