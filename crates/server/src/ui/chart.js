// Curves as SVG: lines for what is logged often, dots for validations, and a reading under the pointer or the arrow keys.
import { element, svg } from "/ui/elements.js";

const [LEFT, RIGHT, TOP, BOTTOM] = [62, 14, 14, 34];
// Letters keep their size: a narrow page has a picture of fewer units.
let [width, height] = [760, 340];

// `curves`: name, colour, points [x, y], dots [x, y]. `format` writes a number of an axis. `onRead` is told which x is read;
// as `readAt` it is read on in the next picture.
export function chart(curves, { isLog, xName, formatX, formatY, readAt, onRead }) {
  [width, height] = innerWidth < 600 ? [360, 260] : [760, 340];
  const all = curves.flatMap(({ points, dots }) => [...points, ...dots]).filter(([, y]) => Number.isFinite(y) && (!isLog || y > 0));
  if (all.length === 0) return element("p", { class: "empty" }, "Nothing is logged yet.");
  const [x0, x1] = range(all.map(([x]) => x));
  const [low, high] = range(all.map(([, y]) => y));
  const flat = isLog ? Math.log : (y) => y;
  const [y0, y1] = padded(flat(low), flat(high));
  const toX = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (width - LEFT - RIGHT);
  const toY = (y) => TOP + (1 - (flat(y) - y0) / (y1 - y0)) * (height - TOP - BOTTOM);
  const inside = (points) => points.filter(([, y]) => Number.isFinite(y) && (!isLog || y > 0));
  const lines = curves.map(({ points, colour }) => svg("polyline", {
    points: thinned(inside(points)).map(([x, y]) => `${toX(x).toFixed(1)},${toY(y).toFixed(1)}`).join(" "),
    fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round",
  }));
  const dots = curves.flatMap(({ dots, colour }) => inside(dots).map(([x, y]) =>
    svg("circle", { cx: toX(x), cy: toY(y), r: 3.5, fill: colour, class: "dot" })));
  const ticksY = ticks(low, high, isLog).map((y) => axisY(toY(y), formatY(y)));
  const ticksX = ticks(x0, x1, false).map((x) => axisX(toX(x), formatX(x)));
  const mark = svg("line", { y1: TOP, y2: height - BOTTOM, class: "mark", visibility: "hidden" });
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
    "aria-label": `${curves.map(({ name }) => name).join(", ")} ${xName}; the arrow keys read values`,
  }, ...ticksY, ...ticksX, ...lines, ...dots, mark);
  const reading = element("p", { class: "reading", role: "status" }, " ");
  follow(picture, mark, reading, { curves, toX, x0, x1, xName, formatX, formatY, readAt, onRead });
  return element("div", {}, picture, reading);
}

function follow(picture, mark, reading, { curves, toX, x0, x1, xName, formatX, formatY, readAt, onRead }) {
  const xs = [...new Set(curves.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  // Validations alone are dots, and have no line to read along.
  if (xs.length === 0) return;
  const places = xs.map((x, i) => [x, i]);
  let at = xs.length - 1;
  const show = (i) => {
    at = i;
    const x = xs[i];
    mark.setAttribute("x1", toX(x));
    mark.setAttribute("x2", toX(x));
    mark.setAttribute("visibility", "visible");
    const said = curves.map(({ name, points }) => [name, within(points, x) && nearest(points, x)]).filter(([, point]) => point)
      .map(([name, [, y]]) => `${name} ${formatY(y)}`);
    reading.textContent = `${xName.replace("by ", "")} ${formatX(x)}: ${said.join(" · ")}`;
  };
  const read = (i) => (show(i), onRead(xs[i]));
  if (readAt >= xs[0] && readAt <= xs.at(-1)) show(nearest(places, readAt)[1]);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * width - LEFT) / (width - LEFT - RIGHT);
    if (share >= 0 && share <= 1) read(nearest(places, x0 + share * (x1 - x0))[1]);
  });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -xs.length, End: xs.length }[event.key];
    if (!step) return;
    event.preventDefault();
    read(Math.min(Math.max(at + step, 0), xs.length - 1));
  });
}

// Whether a curve goes so far.
function within(points, x) {
  return points.length > 0 && x >= points[0][0] && x <= points.at(-1)[0];
}

function nearest(points, x) {
  if (points.length === 0) return undefined;
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  const before = points[low - 1];
  return before && x - before[0] < points[low][0] - x ? before : points[low];
}

function range(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function padded(low, high) {
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

// A screen shows no more points than it has columns.
function thinned(points) {
  const step = Math.ceil(points.length / 1500);
  return step < 2 ? points : points.filter((_, i) => i % step === 0 || i === points.length - 1);
}

// Round numbers between two others; of a logarithmic axis 1, 2 and 5 times powers of ten.
function ticks(low, high, isLog) {
  if (isLog && high / low > 4) {
    const powers = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      powers.push(...[1, 2, 5].map((digit) => digit * 10 ** power));
    }
    const found = powers.filter((y) => y >= low && y <= high);
    return found.length > 8 ? found.filter((y) => Number.isInteger(Math.round(Math.log10(y) * 1e6) / 1e6)) : found;
  }
  const rough = (high - low) / 5 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((digit) => digit * unit >= rough) * unit;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high && found.length < 12; i += 1) found.push(i * step);
  return found;
}

function axisY(y, label) {
  return svg("g", { class: "axis" }, svg("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, label));
}

function axisX(x, label) {
  return svg("text", { class: "axis", x, y: height - 10, "text-anchor": "middle" }, label);
}
