// What is drawn over the scene: points and cameras.
const over = document.createElement("canvas");
over.id = "over";

function cleared() {
  over.width = canvas.clientWidth;
  over.height = canvas.clientHeight;
  return over.getContext("2d");
}

function projected(lens, point) {
  const [right, down, forward] = axes(), off = plus(point, eye(), -1), deep = dot(off, forward);
  return deep > 1e-6 ? [lens[2] + lens[0] * dot(off, right) / deep, lens[3] + lens[1] * dot(off, down) / deep] : null;
}

function spot(context, lens, point, color, size) {
  const at = projected(lens, point);
  if (!at) return;
  context.fillStyle = color;
  context.fillRect(at[0], at[1], size, size);
}

// A camera of 13 numbers, as a pyramid so many scene units high; returns where its eye is drawn.
function frustum(context, lens, numbers, color, size) {
  const place = numbers.slice(9, 12), high = numbers[12] / 2 * size, wide = high * 4 / 3;
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) =>
    projected(lens, plus(plus(plus(place, numbers.slice(0, 3), x * wide), numbers.slice(3, 6), y * high), numbers.slice(6, 9), size)));
  const at = projected(lens, place);
  if (!at || corners.includes(null)) return null;
  context.strokeStyle = color;
  context.beginPath();
  corners.forEach((corner, k) => {
    context.moveTo(...at);
    context.lineTo(...corner);
    context.lineTo(...corners[(k + 1) % 4]);
  });
  context.stroke();
  return at;
}
