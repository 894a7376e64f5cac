// A curve over the words of a text, as SVG with axes.

const LEFT = 48, RIGHT = 12, TOP = 12, HEIGHT = 150, BELOW = 44;

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/**
 * Draw probabilities: the first before anything is read, then one after each word. The picture has as many units as the
 * place has pixels, so its letters have the same size on a phone.
 */
export function draw(place, values, words, label, unit) {
  const width = Math.max(place.clientWidth, 240), last = values.length - 1;
  const x = (index) => LEFT + ((width - LEFT - RIGHT) * index) / Math.max(last, 1);
  const y = (value) => TOP + HEIGHT * (1 - value);
  const summary = `Probability of ${label}: ${Math.round(100 * values[0])} percent before the first word, ` +
    `${Math.round(100 * values[last])} percent after the last`;
  const svg = element("svg", {
    viewBox: `0 0 ${width} ${TOP + HEIGHT + BELOW}`, height: TOP + HEIGHT + BELOW, role: "img", "aria-label": summary,
  });
  for (const share of [0, 0.5, 1]) {
    svg.append(element("path", { d: `M${LEFT} ${y(share)}H${width - RIGHT}`, class: "grid" }));
    svg.append(element("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, `${100 * share} %`));
  }
  const below = TOP + HEIGHT + 18;
  svg.append(element("text", { x: LEFT, y: below, "text-anchor": "middle" }, "0"));
  if (last > 0) svg.append(element("text", { x: x(last), y: below, "text-anchor": "end" }, last));
  svg.append(element("text", { x: (LEFT + width - RIGHT) / 2, y: below + 20, "text-anchor": "middle" },
    `${unit} read · probability of ${label.length > 24 ? `${label.slice(0, 23)}…` : label}`));
  svg.append(element("polyline", { class: "line", points: values.map((value, index) => `${x(index)},${y(value)}`).join(" ") }));
  values.forEach((value, index) => {
    const point = element("circle", { cx: x(index), cy: y(value), r: last > 60 ? 2 : 3.5 });
    const after = index ? `after “${words[index - 1]}”` : "before the first word";
    point.append(element("title", {}, `${(100 * value).toFixed(1)} % ${after}`));
    svg.append(point);
  });
  place.replaceChildren(svg);
}
