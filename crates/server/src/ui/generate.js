// Lets a model make things: a form from its schema, and a gallery of what came of it.
import { download, element } from "/ui/elements.js";
import { events } from "/ui/events.js";
import { formOf } from "/ui/form.js";

const at = (id) => document.getElementById(id);
const MAKES = { table: "Make rows", translation: "Translate", molecule: "Make molecules", text: "Write something" };

let form = null;
let running = null;
let modelNow;

export function startGenerate(current) {
  modelNow = current;
  addEventListener("model", showForm);
  at("wish").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) make(modelNow());
  });
  at("unmake").addEventListener("click", () => running?.abort());
  addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
  showForm();
}

// Whether items end by their form, so that no longest length is asked for.
const endsByForm = (model) => model.ends_by_form;

function showForm() {
  const model = modelNow();
  form = formOf(model.input);
  at("wish-title").textContent = MAKES[model.kind] ?? "Make something";
  at("fields").replaceChildren(...form.nodes);
  at("wish-length").hidden = endsByForm(model);
  at("wish-n").value = endsByForm(model) ? 10 : 4;
}

function asked(model) {
  const number = (name) => (at(`wish-${name}`).value === "" ? undefined : Number(at(`wish-${name}`).value));
  return {
    model: model.id, input: form.read(), n: number("n"), seed: number("seed"), temperature: number("temperature"),
    top_p: number("top_p"), max_tokens: endsByForm(model) ? undefined : number("max_tokens"), stream: true,
  };
}

async function make(model) {
  const body = asked(model);
  running = new AbortController();
  show(true);
  const shown = batch(model, body);
  at("gallery").prepend(shown.node);
  const start = performance.now();
  let note = "";
  try {
    for await (const event of events("/v1/generate", body, running.signal)) {
      if (event.object === "generation.delta") shown.grow(event.index, event.text);
      else if (event.object === "generation.item") shown.add(event.item, event.seed);
      else note = `${shown.count()} made in ${((performance.now() - start) / 1000).toFixed(1)} s, ${event.usage.completion_tokens} tokens`;
    }
  } catch (error) {
    note = error.name === "AbortError" ? "stopped" : error.message;
    if (shown.isEmpty()) shown.node.remove();
  }
  shown.end();
  at("wish-note").textContent = note;
  at("wish-note").classList.toggle("problem", !/^\d+ made|^stopped/.test(note));
  running = null;
  show(false);
}

function show(isRunning) {
  at("make").hidden = isRunning;
  at("unmake").hidden = !isRunning;
  if (isRunning) at("wish-note").textContent = "making …";
}

// What one wish brings: rows as a table, everything else as cards.
function batch(model, body) {
  const items = [];
  const cards = new Map();
  const seed = element("button", { type: "button", title: "Use this seed again", class: "plain" }, "seed …");
  seed.addEventListener("click", () => (at("wish-seed").value = seed.dataset.seed ?? ""));
  const save = element("span", { class: "acts" });
  const content = element("div", { class: "made" });
  const node = element("section", { class: "card batch" },
    element("div", { class: "acts head" }, element("strong", {}, describe(model, body)), seed, save), content);
  const showSave = () => save.replaceChildren(...files(model, items).map(([label, name, type, text]) =>
    element("button", { type: "button", class: "plain", onclick: () => download(name, type, text()) }, label)));
  const card = (index) => {
    if (!cards.has(index)) {
      const text = element("div", { class: "item writing" });
      cards.set(index, text);
      content.append(text);
    }
    return cards.get(index);
  };
  return {
    node,
    count: () => items.length,
    isEmpty: () => items.length === 0 && cards.size === 0,
    // What was broken off is written no more.
    end: () => cards.forEach((card) => card.classList.remove("writing")),
    grow: (index, text) => (card(index).textContent += text),
    add(item, drawn) {
      items.push(item);
      seed.textContent = `seed ${drawn}`;
      seed.dataset.seed = drawn;
      if (item.value && item.preview.type !== "svg") addRow(content, item.value);
      else fill(card(item.index), item);
      showSave();
    },
  };
}

function describe(model, body) {
  const { prompt, where, conditions } = body.input;
  const asked = prompt ?? [where && JSON.stringify(where), conditions].filter(Boolean).join(", ");
  return asked ? `${model.id}: ${asked}`.slice(0, 160) : model.id;
}

function fill(card, item) {
  card.classList.remove("writing");
  if (item.preview.type === "svg") {
    const source = `data:image/svg+xml,${encodeURIComponent(item.preview.text)}`;
    const facts = Object.entries(item.value ?? {}).filter(([, value]) => typeof value === "number");
    const rounded = facts.map(([name, value]) => `${name} ${value.toLocaleString("en", { maximumFractionDigits: 2 })}`);
    card.replaceChildren(element("img", { src: source, alt: item.text }), element("code", {}, item.text),
      element("div", { class: "note" }, rounded.join(" · ")));
  } else {
    card.textContent = item.preview.text;
  }
}

function addRow(content, row) {
  let table = content.querySelector("table");
  if (!table) {
    const head = Object.keys(row).map((name) => element("th", { scope: "col" }, name));
    table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody"));
    content.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Rows" }, table));
  }
  const cell = (value) => element("td", { class: typeof value === "number" ? "number" : value === null ? "gap" : undefined },
    value === null ? "–" : typeof value === "number" ? value.toLocaleString("en", { useGrouping: false, maximumFractionDigits: 12 }) : value);
  table.tBodies[0].append(element("tr", {}, ...Object.values(row).map(cell)));
}

// The forms in which what was made can be kept: label, name, media type, text.
function files(model, items) {
  const sorted = () => items.toSorted((a, b) => a.index - b.index);
  const json = ["JSON", `${model.kind}.json`, "application/json",
    () => JSON.stringify(sorted().map((item) => item.value ?? item.text), null, 2)];
  if (items[0]?.value) return [["CSV", `${model.kind}.csv`, "text/csv", () => csv(sorted().map((item) => item.value))], json];
  return [["Text", `${model.kind}.txt`, "text/plain", () => sorted().map((item) => item.text).join("\n\n")], json];
}

function csv(rows) {
  const quoted = (value) => {
    const text = value === null ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [Object.keys(rows[0]), ...rows.map(Object.values)].map((cells) => cells.map(quoted).join(",")).join("\n") + "\n";
}
