// The layer of coverage: spots on what photographs tell little of, and the places of suggested ones with their numbers.
document.body.append(over);
const covered = document.createElement("button");
covered.id = "coverage";
covered.textContent = "coverage";
covered.title = "where photographs tell little, and which would tell most";
element("bar").append(covered);
let layer = false, asked = -1;

overlay = (lens) => {
  const context = cleared();
  if (!layer || !head) return;
  const { colors, points, suggested } = head.coverage;
  points.forEach((places, kind) => {
    for (let i = 0; i < places.length; i += 6) {
      const place = places.slice(i, i + 3);
      if (dot(places.slice(i + 3, i + 6), plus(eye(), place, -1)) > 0) spot(context, lens, place, colors[kind], 3);
    }
  });
  context.font = "bold 15px sans-serif";
  suggested.forEach((numbers, k) => {
    const at = frustum(context, lens, numbers, "#3e3", head.core[3] * .06);
    context.fillStyle = "#3e3";
    if (at) context.fillText(k + 1, at[0] + 6, at[1] - 6);
  });
};

// Each push shows the next suggestion as the finder would; the first shows the layer, the one after the last hides it.
covered.onclick = () => {
  if (!head) return;
  const { suggested, words, verdict } = head.coverage;
  if (!layer) layer = true;
  else if (++asked >= suggested.length) {
    layer = false;
    asked = -1;
  }
  if (layer && asked >= 0) {
    playing = null;
    lookFrom(suggested[asked], firstAway);
  }
  say(!layer ? "" : asked < 0 ? verdict : `${asked + 1}: ${words[asked]}`);
  redraw();
};
