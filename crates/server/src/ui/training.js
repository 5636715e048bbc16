// The runs of this machine: live curves, samples over time, several runs beside each other.
import { chart } from "/ui/chart.js";
import { element } from "/ui/elements.js";

const at = (id) => document.getElementById(id);
const COLOURS = ["--curve-1", "--curve-2", "--curve-3", "--curve-4", "--curve-5", "--curve-6"];
// How often a run in progress is looked at, and the list of runs, in milliseconds.
const [LIVE, LIST] = [1500, 6000];
// The server gives a log in parts of a megabyte; one of fewer bytes than this is the last.
const LAST_PART = 1 << 16;

const runs = new Map();
let order = [];
let chosen = new Set();
let isShown = false;
let timer = null;
let listed = 0;
let isBroken = false;
// Where along the curves somebody reads.
let readAt;

export function startTraining() {
  addEventListener("page", ({ detail }) => {
    isShown = detail === "training";
    clearTimeout(timer);
    if (isShown) look();
  });
  at("along").addEventListener("change", () => (readAt = undefined));
  for (const id of ["curve", "along", "log-scale", "smooth"]) at(id).addEventListener("change", draw);
  at("sample-at").addEventListener("input", () => {
    at("sample-at").dataset.used = "yes";
    showSamples();
  });
}

// Looks at what is new, and again in a moment as long as the page is shown.
async function look() {
  try {
    if (performance.now() - listed > LIST || listed === 0) await list();
    const open = [...chosen].map((name) => runs.get(name)).filter((run) => run && (run.is_running || !run.isRead));
    const news = await Promise.all(open.map(read));
    if (isBroken || news.some(Boolean)) draw();
    isBroken = false;
  } catch (error) {
    isBroken = true;
    at("chart").replaceChildren(element("p", { class: "problem" }, error.message));
  }
  clearTimeout(timer);
  if (isShown) timer = setTimeout(look, LIVE);
}

async function asked(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

async function list() {
  const { directory, runs: found } = await asked("/v1/genera/runs");
  listed = performance.now();
  order = found.map(({ name }) => name);
  for (const run of found) {
    const known = runs.get(run.name) ?? { rows: [], next: 0, samples: [], isRead: false };
    // One look more after the end, for the last rows.
    const isRead = known.isRead && !known.is_running && !run.is_running;
    // The same object goes on: its log may be being read.
    runs.set(run.name, Object.assign(known, run, { isRead }));
  }
  if (chosen.size === 0 && order.length) chosen.add((found.find((run) => run.is_running) ?? found[0]).name);
  chosen = new Set([...chosen].filter((name) => order.includes(name)));
  showList(directory);
}

// Reads on in the log of a run, to its end; whether anything came. Who asks meanwhile waits for the same reading: two would
// begin at the same place and bring the same rows.
function read(run) {
  run.reading ??= readOn(run).finally(() => (run.reading = undefined));
  return run.reading;
}

async function readOn(run) {
  let isNew = !run.isRead;
  for (;;) {
    const part = await asked(`/v1/genera/runs/${encodeURIComponent(run.name)}?after=${run.next}`);
    const isAnew = part.next < run.next;
    if (isAnew) run.rows = [];
    run.rows.push(...part.rows);
    isNew ||= isAnew || part.rows.length > 0;
    // A run that logs many steps a second would never be caught up with: its next rows are for the next look.
    const isEnd = part.next - (isAnew ? 0 : run.next) < LAST_PART;
    Object.assign(run, { next: part.next, samples: part.samples, is_running: part.is_running, last: part.last, recipe: part.recipe });
    if (isEnd) break;
  }
  run.isRead = true;
  return isNew;
}

function showList(directory) {
  if (order.length === 0) {
    at("runs").replaceChildren(element("li", { class: "empty" },
      `There are no runs in ${directory ?? "the directory of runs"} yet; genera train makes one.`));
    draw();
    return;
  }
  const focused = at("runs").contains(document.activeElement) ? document.activeElement.value : undefined;
  at("runs").replaceChildren(...order.map((name) => {
    const { is_running, last, about } = runs.get(name);
    const box = element("input", { type: "checkbox", value: name, checked: chosen.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      draw();
      look();
    });
    const facts = [about?.preset, last && `step ${last.step}${about ? ` of ${about.n_steps}` : ""}`, last && `loss ${number(last.loss)}`];
    return element("li", {}, element("label", {}, box, element("span", { class: "name" }, name),
      is_running ? element("span", { class: "live" }, "live") : "",
      element("small", {}, facts.filter(Boolean).join(", "))));
  }));
  if (focused) [...at("runs").querySelectorAll("input")].find((box) => box.value === focused)?.focus();
}

function colourOf(name) {
  const place = [...chosen].indexOf(name);
  return getComputedStyle(document.documentElement).getPropertyValue(COLOURS[place % COLOURS.length]);
}

function draw() {
  const [what, along] = [at("curve").value, at("along").value];
  const shown = [...chosen].map((name) => runs.get(name)).filter(Boolean);
  const curves = shown.map((run) => {
    const steps = run.rows.filter((row) => row[what] !== undefined && row.validation_loss === undefined);
    const points = steps.map((row) => [row[along], row[what]]);
    // Validations are logged by step and time; tokens are those of the step before.
    const x = (row) => row[along] ?? steps.findLast((step) => step.step <= row.step)?.[along] ?? 0;
    const checks = what === "loss" ? run.rows.filter((row) => row.validation_loss !== undefined) : [];
    const dots = checks.map((row) => [x(row), row.validation_loss]);
    return { name: run.name, colour: colourOf(run.name), points: at("smooth").checked ? smoothed(points) : points, dots };
  });
  const options = {
    isLog: at("log-scale").checked, xName: at("along").selectedOptions[0].text, formatX: along === "seconds" ? duration : count, formatY: number,
    readAt, onRead: (x) => (readAt = x),
  };
  const isFocused = at("chart").contains(document.activeElement);
  at("chart").replaceChildren(chart(curves, options));
  if (isFocused) at("chart").querySelector("svg")?.focus({ preventScroll: true });
  at("legend").replaceChildren(...shown.map((run) => legend(run)));
  showSamples();
}

function legend(run) {
  const swatch = element("span", { class: "swatch" });
  swatch.style.background = colourOf(run.name);
  const check = run.rows.findLast((row) => row.validation_loss !== undefined);
  const facts = [
    run.last && `step ${run.last.step}`, run.last && `loss ${number(run.last.loss)}`, check && `validation ${number(check.validation_loss)} (dots)`,
    check?.bits_per_byte && `${number(check.bits_per_byte)} bits per byte`, run.last && `${count(run.last.tokens_per_s)} tokens/s`, run.last && duration(run.last.seconds),
  ];
  return element("p", {}, swatch, element("strong", {}, run.name), ` ${facts.filter(Boolean).join(" · ")}`);
}

// Averages over about a fiftieth of the points, so that the course shows through the noise.
function smoothed(points) {
  const weight = 1 - Math.min(1, 50 / Math.max(points.length, 1));
  let mean;
  return points.map(([x, y]) => {
    if (Number.isFinite(y)) mean = mean === undefined ? y : weight * mean + (1 - weight) * y;
    return [x, mean];
  });
}

function showSamples() {
  const shown = [...chosen].map((name) => runs.get(name)).filter((run) => run?.samples.length);
  at("samples").hidden = shown.length === 0;
  if (shown.length === 0) return;
  const steps = [...new Set(shown.flatMap((run) => run.samples.map(({ step }) => step)))].sort((a, b) => a - b);
  const slider = at("sample-at");
  // Who looks at the newest sample goes on to see the newest.
  const isAtEnd = !slider.dataset.used || slider.value === slider.max;
  slider.max = steps.length - 1;
  if (isAtEnd && document.activeElement !== slider) slider.value = slider.max;
  const step = steps[Math.min(slider.value, steps.length - 1)];
  at("sample-step").textContent = `step ${step}`;
  slider.setAttribute("aria-valuetext", `step ${step}`);
  const made = shown.map((run) => {
    const sample = run.samples.findLast((sample) => sample.step <= step) ?? run.samples[0];
    const title = shown.length > 1 ? [element("h3", {}, `${run.name}, step ${sample.step}`)] : [];
    return element("div", {}, ...title, element("pre", {}, sample.text));
  });
  const { children } = at("sample-texts");
  // Whoever reads on in a long sample keeps the place as long as it is the same.
  const isSame = made.length === children.length && made.every((node, i) => node.isEqualNode(children[i]));
  if (!isSame) at("sample-texts").replaceChildren(...made);
}

// A loss that is no number any more is null in the log.
function number(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  return Math.abs(value) >= 1000 ? count(value) : Math.abs(value) < 0.01 ? value.toExponential(1) : String(+value.toPrecision(4));
}

function count(value) {
  const [unit, by] = value >= 1e9 ? ["G", 1e9] : value >= 1e6 ? ["M", 1e6] : value >= 1e4 ? ["k", 1e3] : ["", 1];
  return `${+(value / by).toFixed(by === 1 ? 0 : 1)}${unit}`;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
