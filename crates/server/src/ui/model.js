// What the models are, and a look inside: who attends to whom.
import { element, svg } from "/ui/elements.js";

const at = (id) => document.getElementById(id);

function flat(value, name = "") {
  if (value === null || typeof value !== "object") return [[name, String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name} · ${key}` : key));
}

function card(title, rows) {
  const facts = rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("section", { class: "card" }, element("h2", {}, title), element("dl", {}, ...facts));
}

export function showModels(models) {
  const facts = (model) => [
    ["parameters", model.n_params.toLocaleString("en")],
    ["context", `${model.context_len.toLocaleString("en")} tokens`],
    ["conversations", model.can_chat ? "yes" : "no"],
    ...model.about,
  ];
  const cards = models.flatMap((model) => [card(model.id, facts(model)), card("Architecture", flat(model.config))]);
  at("facts").replaceChildren(...cards);
}

let modelNow;
let picture = null;
let [head, token] = [0, 0];
// How often was asked: an answer that comes after another was asked for is not shown.
let nAsked = 0;

export function startAttention(current) {
  modelNow = current;
  at("look").addEventListener("submit", (event) => {
    event.preventDefault();
    at("look-layer").value = 0;
    [head, token] = [0, Number.MAX_SAFE_INTEGER];
    look();
  });
  at("look-layer").addEventListener("change", look);
  addEventListener("model", () => {
    nAsked += 1;
    at("look-result").hidden = true;
    showTakes();
  });
  showTakes();
}

// Rows of a table have no sentence to look at.
function showTakes() {
  at("look").hidden = !modelNow().input.properties?.prompt;
}

async function attention(body) {
  try {
    const response = await fetch("/v1/genera/attention", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    return await response.json();
  } catch (error) {
    return { error };
  }
}

async function look() {
  const turn = (nAsked += 1);
  const answer = await attention({ model: modelNow().id, text: at("look-text").value, layer: Number(at("look-layer").value) });
  if (turn !== nAsked) return;
  at("look-note").textContent = answer.error?.message ?? "";
  at("look-note").classList.toggle("problem", Boolean(answer.error));
  at("look-result").hidden = Boolean(answer.error);
  if (answer.error) return;
  picture = answer;
  token = Math.min(token, picture.tokens.length - 1);
  head = Math.min(head, picture.heads.length - 1);
  at("look-layer").max = picture.n_layers - 1;
  showPicture();
}

function showPicture() {
  const focused = document.activeElement?.dataset?.focus;
  at("look-layer-name").textContent = `layer ${Number(at("look-layer").value) + 1} of ${picture.n_layers}`;
  at("look-heads").replaceChildren(...picture.heads.map(headButton));
  at("look-tokens").replaceChildren(...picture.tokens.map(tokenButton));
  if (focused) document.querySelector(`[data-focus="${focused}"]`)?.focus();
}

// One of several buttons of which one is chosen; the arrow keys go from one to the next.
function radio(name, i, n, isChosen, choose, ...children) {
  const button = element("button", {
    type: "button", role: "radio", "aria-checked": String(isChosen), tabindex: isChosen ? 0 : -1, "data-focus": `${name}-${i}`,
    onclick: () => choose(i),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: n - 1, ArrowUp: n - 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      choose((i + by) % n);
      document.querySelector(`[data-focus="${name}-${(i + by) % n}"]`)?.focus();
    },
  }, ...children);
  return button;
}

function headButton(weights, i) {
  const size = weights.length;
  const cells = weights.flatMap((row, y) => row.flatMap((weight, x) =>
    weight < 0.02 ? [] : [svg("rect", { x, y, width: 1, height: 1, "fill-opacity": weight, class: "cell" })]));
  const map = svg("svg", { viewBox: `0 0 ${size} ${size}`, "shape-rendering": "crispEdges" }, ...cells);
  const choose = (chosen) => ((head = chosen), showPicture());
  const button = radio("head", i, picture.heads.length, i === head, choose, map, element("small", {}, `head ${i + 1}`));
  button.setAttribute("aria-label", `head ${i + 1}`);
  return button;
}

function tokenButton(text, i) {
  const weight = picture.heads[head][token]?.[i] ?? 0;
  const choose = (chosen) => ((token = chosen), showPicture());
  const shown = text.replaceAll(" ", "␣").replaceAll("\n", "⏎");
  const button = radio("token", i, picture.tokens.length, i === token, choose, element("span", {}, shown || "∅"),
    element("small", {}, weight < 0.005 ? "" : `${Math.round(weight * 100)} %`));
  button.style.setProperty("--weight", `${Math.round(weight * 85)}%`);
  return button;
}
