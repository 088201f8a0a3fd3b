"use strict";
// The scene in a canvas: gives the field to the shader, moves the camera. Nothing is drawn when nothing moves.
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const SHOWN = ["colour", "depth", "normals"];
const SLOW = 28, QUICK = 14;           // milliseconds of a frame beyond which it is drawn smaller, or larger
const SLOWEST = 250;                   // milliseconds of a frame of 200 x 200 beyond which it is rendered elsewhere
const STILL = 400;                     // milliseconds that a frame may take when nothing moves
const OFFSETS = [[0, 0], [-.25, -.125], [.125, -.25], [-.125, .25], [.25, .125]];  // of rays, for the mean of still frames
const DISTANCE_BITS = 3, EVALUATIONS = 4;  // what the shader shows beside SHOWN
let head, gl, program, places, field, buffers;
let up, level, across;  // axes of turning: up, and two level ones
let overlay = () => {};  // what is drawn over the scene whenever the camera has moved
let elsewhere = null;    // who renders where this browser cannot: a function of the size that is wanted

// Vectors.
const plus = (a, b, k = 1) => a.map((x, i) => x + k * b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const scaled = (a, k) => a.map((x) => x * k);
const unit = (a) => scaled(a, 1 / Math.hypot(...a));

function know(facts) {
  head = facts;
  up = unit(head.up);
  level = unit(cross(up, Math.abs(up[0]) < .9 ? [1, 0, 0] : [0, 1, 0]));
  across = cross(up, level);
  uncut();
}

// The camera: it looks along azimuth and elevation at a pivot, or has the very axes of a view.
const camera = { pivot: [0, 0, 0], away: 1, azimuth: 0, elevation: 0, view: 1, axes: null };
const ahead = () => {
  const c = Math.cos(camera.elevation);
  return plus(plus(scaled(level, -c * Math.cos(camera.azimuth)), across, -c * Math.sin(camera.azimuth)), up, -Math.sin(camera.elevation));
};
const eye = () => plus(camera.pivot, camera.axes ? camera.axes[2] : ahead(), -camera.away);
const axes = () => {
  if (camera.axes) return camera.axes;
  const forward = ahead(), right = unit(cross(forward, up));
  return [right, cross(forward, right), forward];
};
const pose = () => [...axes().flat(), ...eye(), camera.view];

function lookFrom(numbers, away = camera.away) {
  const rows = [0, 3, 6, 9].map((i) => numbers.slice(i, i + 3)), forward = rows[2];
  camera.axes = rows.slice(0, 3);
  camera.away = away;
  camera.pivot = plus(rows[3], forward, away);
  camera.azimuth = Math.atan2(-dot(forward, across), -dot(forward, level));
  camera.elevation = Math.asin(Math.max(-1, Math.min(1, -dot(forward, up))));
  camera.view = numbers[12];
}

// From the stream's bytes to arrays.
function parted(bytes) {
  let at = head.rows * head.texels * 4;
  const found = { table: bytes.subarray(0, at), blocks: {} };
  for (const [name, size] of Object.entries(head.blocks)) found.blocks[name] = bytes.subarray(at, at += size);
  found.cells = bytes.subarray(at);
  const same = field && field.cells.length === found.cells.length && field.cells.every((x, i) => x === found.cells[i]);
  found.apart = same ? field.apart : apart(found.cells, head.cells);
  return found;
}

// Chebyshev distances to the nearest full cell, at most 60: two sweeps, each over the neighbours that it has passed.
function apart(bits, n) {
  const far = 60, m = n + 2, padded = new Uint8Array(m * m * m).fill(far);  // a border saves the comparisons
  const index = (x, y, z) => ((z + 1) * m + y + 1) * m + x + 1;
  for (let z = 0, k = 0; z < n; ++z) for (let y = 0; y < n; ++y) for (let x = 0; x < n; ++x, ++k)
    if (bits[k >> 3] >> (k & 7) & 1) padded[index(x, y, z)] = 0;
  const passed = [];
  for (let z = -1; z <= 0; ++z) for (let y = -1; y <= 1; ++y) for (let x = -1; x <= 1; ++x)
    if (z < 0 || y < 0 || (y === 0 && x < 0)) passed.push((z * m + y) * m + x);
  const sweep = (from, to, sign) => {
    for (let z = from; z !== to; z += sign) for (let y = from; y !== to; y += sign)
      for (let x = from, k = index(x, y, z); x !== to; x += sign, k += sign) {
        let least = padded[k];
        for (const step of passed) least = Math.min(least, padded[k + sign * step] + 1);
        padded[k] = least;
      }
  };
  sweep(0, n, 1);
  sweep(n - 1, -1, -1);
  const found = new Uint8Array(n * n * n);
  for (let z = 0, k = 0; z < n; ++z) for (let y = 0; y < n; ++y, k += n)
    found.set(padded.subarray(index(0, y, z), index(0, y, z) + n), k);
  return found;
}

// The shader and room for the field on the graphics card; again after its context was lost.
function setUp() {
  const compiled = (kind, text) => {
    const made = gl.createShader(kind);
    gl.shaderSource(made, text);
    gl.compileShader(made);
    return made;
  };
  const triangle = "#version 300 es\nvoid main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }";
  program = gl.createProgram();
  const shaders = [compiled(gl.VERTEX_SHADER, triangle), compiled(gl.FRAGMENT_SHADER, head.shader)];
  shaders.forEach((each) => gl.attachShader(program, each));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS))
    throw new Error(gl.getShaderInfoLog(shaders[1]) || gl.getProgramInfoLog(program) || "the shader does not link");
  gl.useProgram(program);
  gl.bindVertexArray(gl.createVertexArray());
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);

  const bound = (slot, kind) => {
    gl.activeTexture(gl.TEXTURE0 + slot);
    gl.bindTexture(kind, gl.createTexture());
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  };
  const n = head.cells;
  bound(0, gl.TEXTURE_2D);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, head.wide, Math.ceil(head.rows * head.texels / head.wide));
  bound(1, gl.TEXTURE_3D);
  gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R8UI, n, n, n);
  buffers = Object.keys(head.blocks).map((name, slot) => {
    const buffer = gl.createBuffer();
    gl.bindBufferBase(gl.UNIFORM_BUFFER, slot, buffer);
    gl.uniformBlockBinding(program, gl.getUniformBlockIndex(program, `block_${name}`), slot);
    return buffer;
  });
  const names = ["table", "apart", "scale", "grid", "axes", "eye", "lens", "jitter", "height", "background", "range", "low", "high", "shown"];
  places = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
  gl.uniform1i(places.table, 0);
  gl.uniform1i(places.apart, 1);
  gl.uniform1fv(places.scale, head.scales);
  gl.uniform4iv(places.grid, head.grids.flat());
  gl.uniform1f(places.background, head.background);
  gl.uniform2fv(places.range, head.range);
  upload();
}

// The field's numbers, into the room that is there.
function upload() {
  const high = Math.ceil(head.rows * head.texels / head.wide), n = head.cells;
  const texels = new Uint8Array(head.wide * high * 4);
  texels.set(field.table);
  gl.activeTexture(gl.TEXTURE0);
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, head.wide, high, gl.RGBA, gl.UNSIGNED_BYTE, texels);
  gl.activeTexture(gl.TEXTURE1);
  gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, n, n, n, gl.RED_INTEGER, gl.UNSIGNED_BYTE, field.apart);
  Object.values(field.blocks).forEach((bytes, slot) => {
    gl.bindBuffer(gl.UNIFORM_BUFFER, buffers[slot]);
    gl.bufferData(gl.UNIFORM_BUFFER, bytes, gl.STATIC_DRAW);
  });
}

// The crop box, scene units; an end that is not cut lies beyond everything.
const BEYOND = 1e30;
const cut = { low: [], high: [] };
let shown = 0;

function uncut() {
  cut.low = [-BEYOND, -BEYOND, -BEYOND];
  cut.high = [BEYOND, BEYOND, BEYOND];
  element("cuts").replaceChildren();
  const side = head.core[3];
  for (const axis of [0, 1, 2]) for (const end of ["low", "high"]) {
    const label = document.createElement("label"), input = document.createElement("input"), shows = document.createElement("output");
    const from = head.core[axis], rest = end === "low" ? from : from + side;
    Object.assign(input, { type: "range", min: from, max: from + side, step: side / 512, value: rest, id: `${end}${axis}` });
    input.oninput = () => {
      const at = Number(input.value), free = end === "low" ? at <= from + side / 1024 : at >= from + side * (1 - 1 / 1024);
      cut[end][axis] = free ? (end === "low" ? -BEYOND : BEYOND) : at;
      shows.textContent = free ? "" : at.toPrecision(4);
      redraw();
    };
    input.dataset.slot = axis + (end === "low" ? 0 : 3);
    label.append("xyz"[axis], " ", end === "low" ? "from" : "to", input, shows);
    element("cuts").append(label);
  }
}

// Cuts by six numbers, as `cropNumbers` gives them; what lies beyond what can be seen is not cut.
function cutBy(numbers) {
  for (const input of element("cuts").querySelectorAll("input")) {
    input.value = numbers[input.dataset.slot];
    input.oninput();
  }
}

// The six numbers of the crop box as commands take them: where nothing is cut, the ends of what can be seen.
function cropNumbers() {
  const far = 4 * head.core[3];
  return ["low", "high"].flatMap((end) => cut[end].map((x, axis) => Math.abs(x) < BEYOND ? x : head.core[axis] + (end === "low" ? -far : far + head.core[3])));
}
const isCut = () => [...cut.low, ...cut.high].some((x) => Math.abs(x) < BEYOND);

// numbers: right, down, ahead, place. lens: focal length and principal point, pixels.
function draw(numbers, lens, width, height, what, jitter = [0, 0]) {
  gl.viewport(0, 0, width, height);
  gl.uniformMatrix3fv(places.axes, false, numbers.slice(0, 9));
  gl.uniform3fv(places.eye, numbers.slice(9, 12));
  gl.uniform4fv(places.lens, lens);
  gl.uniform2fv(places.jitter, jitter);
  gl.uniform1f(places.height, height);
  gl.uniform3fv(places.low, cut.low);
  gl.uniform3fv(places.high, cut.high);
  gl.uniform1i(places.shown, what);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
}

const lensOf = (view, width, height) => {
  const focal = Math.min(height, 1.2 * width) / view;
  return [focal, focal, width / 2, height / 2];
};

function sized(width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
}

// A picture as bytes, RGBA from the top row, by what the shader shows.
function picture(numbers, lens, width, height, what = 0) {
  sized(width, height);
  draw(numbers, lens, width, height, what);
  const bytes = new Uint8Array(width * height * 4), row = width * 4;
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  const turned = new Uint8Array(bytes.length);
  for (let y = 0; y < height; ++y) turned.set(bytes.subarray((height - 1 - y) * row, (height - y) * row), y * row);
  redraw();
  return turned;
}

// The distance of what a place of the window shows; 0 where there is nothing.
function distanceAt(x, y) {
  const width = canvas.width, height = canvas.height;
  const column = Math.min(width - 1, Math.floor(x / canvas.clientWidth * width));
  const row = Math.min(height - 1, Math.floor((1 - y / canvas.clientHeight) * height));
  gl.enable(gl.SCISSOR_TEST);
  gl.scissor(column, row, 1, 1);
  draw(pose(), lensOf(camera.view, width, height), width, height, DISTANCE_BITS);
  gl.disable(gl.SCISSOR_TEST);
  const bytes = new Uint8Array(4);
  gl.readPixels(column, row, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  redraw();
  return new DataView(bytes.buffer).getFloat32(0, true);
}

// When to draw: at once and small while something moves, then whole, then the mean of several rays a pixel.
let pending = false, pass = 0, drawing = null, cost = 1, scale = 1, moved = 0, last = 0;
const wanted = new Set();
let playing = null;

function redraw() {
  pass = 0;
  ask();
}

function ask() {
  if (!pending && head && (gl || elsewhere)) {
    pending = true;
    requestAnimationFrame(tick);
  }
}

function move() {
  moved = performance.now();
  camera.axes = null;
  playing = null;
  redraw();
}

function tick(now) {
  pending = false;
  if (elsewhere) return tickElsewhere(now);
  if (gl.isContextLost()) return;
  if (drawing) {
    const status = gl.clientWaitSync(drawing.fence, 0, 0);
    if (status !== gl.ALREADY_SIGNALED && status !== gl.CONDITION_SATISFIED) return ask();
    const spent = performance.now() - drawing.start;
    cost = .7 * cost + .3 * spent / drawing.pixels;
    if (drawing.moving) scale = Math.max(1 / 6, Math.min(devicePixelRatio, 2, scale * (spent > SLOW ? .8 : spent < QUICK ? 1.1 : 1)));
    gl.deleteSync(drawing.fence);
    drawing = null;
  }
  const seconds = Math.min(.1, (now - last) / 1000);
  last = now;
  fly(seconds);
  play(now);
  const moving = playing !== null || wanted.size > 0 || performance.now() - moved < 200;
  if (!moving && pass >= OFFSETS.length) return;

  const most = Math.min(devicePixelRatio, 2), area = canvas.clientWidth * canvas.clientHeight;
  const patience = pass === 0 ? STILL : 10 * STILL;  // soon something, then all of it
  const whole = Math.min(most, Math.sqrt(patience / (cost * Math.max(1, area))));
  if (!moving && pass > 1 && cost * area * whole * whole > STILL / 2) return;  // too slow for several rays a pixel
  const part = moving ? Math.min(scale, most) : Math.max(whole, 1 / 6);
  const width = Math.max(1, Math.round(canvas.clientWidth * part)), height = Math.max(1, Math.round(canvas.clientHeight * part));
  if (moving) pass = 0;
  sized(width, height);
  if (pass > 1) {
    gl.enable(gl.BLEND);
    gl.blendColor(0, 0, 0, 1 / pass);
    gl.blendFunc(gl.CONSTANT_ALPHA, gl.ONE_MINUS_CONSTANT_ALPHA);
  }
  const start = performance.now();
  draw(pose(), lensOf(camera.view, width, height), width, height, shown, moving ? [0, 0] : OFFSETS[pass]);
  gl.disable(gl.BLEND);
  drawing = { start, moving, pixels: width * height, fence: gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0) };
  gl.flush();
  if (!moving) ++pass;
  overlay(lensOf(camera.view, canvas.clientWidth, canvas.clientHeight));
  ask();
}

// The same where the pictures come from elsewhere: small while something moves, then whole.
function tickElsewhere(now) {
  const seconds = Math.min(.1, (now - last) / 1000);
  last = now;
  fly(seconds);
  play(now);
  const moving = playing !== null || wanted.size > 0 || performance.now() - moved < 200;
  overlay(lensOf(camera.view, canvas.clientWidth, canvas.clientHeight));
  if (moving) pass = 0;
  if (moving || pass < 1) elsewhere(moving);
  if (!moving) ++pass;
  if (moving) ask();
}

function fly(seconds) {
  if (!wanted.size) return;
  camera.axes = null;
  playing = null;
  const has = (key) => wanted.has(key) ? 1 : 0, [right, , forward] = axes();
  const step = camera.away * .8 * seconds, turn = 1.2 * seconds;
  camera.pivot = plus(camera.pivot, forward, step * (has("w") - has("s")));
  camera.pivot = plus(camera.pivot, right, step * (has("d") - has("a")));
  camera.pivot = plus(camera.pivot, up, step * (has("e") - has("q")));
  turned(turn * (has("arrowleft") - has("arrowright")), turn * (has("arrowup") - has("arrowdown")));
}

function turned(azimuth, elevation) {
  camera.azimuth += azimuth;
  camera.elevation = Math.max(-1.55, Math.min(1.55, camera.elevation + elevation));
}

// The film's path, ten frames a second, smooth between them.
function play(now) {
  if (playing === null) return;
  const track = head.track, at = Math.max(0, now - playing) / 100 % track.length, k = Math.floor(at), part = at - k;
  const a = track[k], b = track[(k + 1) % track.length];
  const mixed = a.map((x, i) => x + part * (b[i] - x));
  const forward = unit(mixed.slice(6, 9)), down = mixed.slice(3, 6), right = unit(cross(down, forward));
  lookFrom([...right, ...cross(forward, right), ...forward, ...mixed.slice(9)]);
}

// Mouse, touch, wheel, keys, buttons.
const fingers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = [event.clientX, event.clientY], dx = now[0] - before[0], dy = now[1] - before[1];
  const other = [...fingers].find(([id]) => id !== event.pointerId);
  if (other) {
    const length = (at) => Math.max(1, Math.hypot(at[0] - other[1][0], at[1] - other[1][1]));
    camera.away *= length(before) / length(now);
  }
  if (other || event.buttons & 6 || event.shiftKey) {
    const [right, down] = axes(), size = camera.away * camera.view / canvas.clientHeight * (other ? .5 : 1);
    camera.pivot = plus(plus(camera.pivot, right, -dx * size), down, -dy * size);
  } else turned(-dx * .006, dy * .006);
  fingers.set(event.pointerId, now);
  move();
});
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  camera.away *= Math.exp(Math.max(-1, Math.min(1, event.deltaY * (event.deltaMode ? .03 : .001))));
  move();
}, { passive: false });
canvas.addEventListener("dblclick", (event) => {
  const away = distanceAt(event.offsetX, event.offsetY);
  if (!(away > 0)) return;
  const [right, down, forward] = axes(), lens = lensOf(camera.view, canvas.clientWidth, canvas.clientHeight);
  const ray = plus(plus(forward, right, (event.offsetX - lens[2]) / lens[0]), down, (event.offsetY - lens[3]) / lens[1]);
  const from = eye(), point = plus(from, unit(ray), away), toward = unit(plus(point, from, -1));
  camera.azimuth = Math.atan2(-dot(toward, across), -dot(toward, level));
  turned(0, Math.asin(Math.max(-1, Math.min(1, -dot(toward, up)))) - camera.elevation);
  camera.away = away;
  camera.pivot = point;
  move();
});
const KEYS = ["w", "a", "s", "d", "q", "e", "arrowleft", "arrowright", "arrowup", "arrowdown"];
addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "INPUT") return;
  if (KEYS.includes(key)) {
    wanted.add(key);
    event.preventDefault();
    ask();
  } else if (key === "home") home();
  else if (key === "?") element("keys").hidden = !element("keys").hidden;
});
addEventListener("keyup", (event) => {
  wanted.delete(event.key.toLowerCase());
  redraw();
});
addEventListener("blur", () => wanted.clear());
addEventListener("resize", redraw);

let firstAway = 1, viewed = -1;
function home() {
  playing = null;
  lookFrom(head.track[0], firstAway);
  redraw();
}
element("home").onclick = home;
element("shown").onclick = () => {
  shown = (shown + 1) % SHOWN.length;
  element("shown").textContent = SHOWN[shown];
  redraw();
};
element("view").onclick = () => {
  playing = null;
  viewed = (viewed + 1) % head.views.length;
  element("view").textContent = `view ${viewed + 1}`;
  lookFrom(head.views[viewed], firstAway);
  redraw();
};
element("play").onclick = () => {
  playing = playing === null ? performance.now() : null;
  redraw();
};
element("crop").onclick = () => element("cuts").hidden = !element("cuts").hidden;
element("help").onclick = () => element("keys").hidden = !element("keys").hidden;
element("save").onclick = () => canvas.toBlob((blob) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "scene.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
// How long frames take here, and how often the density is evaluated for a pixel: for the address that ends in #benchmark.
function benchmark(size = 400) {
  const times = [];
  let evaluations = 0;
  for (let k = 0; k < head.track.length; k += 10) {
    const numbers = head.track[k], lens = lensOf(numbers[12], size, size), start = performance.now();
    picture(numbers, lens, size, size);
    times.push(performance.now() - start);
    const counts = new DataView(picture(numbers, lens, size, size, EVALUATIONS).buffer);
    for (let i = 0; i < size * size; ++i) evaluations += counts.getUint32(4 * i, true) / (size * size);
  }
  const median = times.sort((a, b) => a - b)[times.length >> 1];
  say(`${size} x ${size}: ${median.toFixed(1)} ms a frame in the median of ${times.length}; ` +
    `the density is evaluated ${(evaluations / times.length).toFixed(3)} times for a pixel`);
}

// Milliseconds that a pixel takes.
function probe() {
  const size = 64, start = performance.now();
  picture(head.track[0], lensOf(head.track[0][12], size, size), size, size);
  return (performance.now() - start) / size ** 2;
}

function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}

// Shows a scene. source: head() and stream(), promises of the facts and of the field's bytes.
async function begin(source) {
  gl = canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
  const lacks = !gl ? "WebGL2" : typeof DecompressionStream === "undefined" ? "DecompressionStream" : "";
  if (lacks) gl = null;
  if (lacks && !source.elsewhere) {
    canvas.hidden = element("bar").hidden = true;
    say(`Here is a picture of the scene. To walk round it, open the page in a browser that has ${lacks}.`);
    return;
  }
  know(await source.head());
  if (gl) {
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      drawing = null;
      say("The graphics card was lost; waiting for it.");
    });
    canvas.addEventListener("webglcontextrestored", () => {
      setUp();
      say("");
      redraw();
    });
    field = parted(await source.stream());
    try {
      setUp();
    } catch (error) {
      if (!source.elsewhere) throw error;
      gl = null;
    }
  }
  if (gl) {
    lookFrom(head.track[0], 1);
    sized(64, 64);
    probe();  // the first frame is slower than others
    cost = probe();
    if (cost * 200 * 200 > SLOWEST && source.elsewhere) elsewhere = source.elsewhere;
    scale = Math.max(1 / 6, Math.min(1, Math.sqrt(SLOW / (cost * canvas.clientWidth * canvas.clientHeight))));
    sized(64, 64);
    firstAway = distanceAt(canvas.clientWidth / 2, canvas.clientHeight / 2) || head.range[1];
  } else {
    elsewhere = source.elsewhere;
    firstAway = Math.sqrt(head.range[0] * head.range[1]);
  }
  say("");
  element("poster").hidden = true;
  home();
  if (location.hash === "#benchmark") benchmark();
}
const failed = (error) => {
  gl = null;
  say(`The scene cannot be shown: ${error.message || error}`);
};
