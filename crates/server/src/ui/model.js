// What the models are.

function row(name, value) {
  const [term, text] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  text.textContent = value;
  return [term, text];
}

function flat(value, name = "") {
  if (value === null || typeof value !== "object") return [[name, String(value)]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name} · ${key}` : key));
}

function card(title, rows) {
  const [section, heading, list] = ["section", "h2", "dl"].map((name) => document.createElement(name));
  section.className = "card";
  heading.textContent = title;
  list.append(...rows.flatMap(([name, value]) => row(name, value)));
  section.append(heading, list);
  return section;
}

export function showModels(models) {
  const facts = (model) => [
    ["parameters", model.n_params.toLocaleString("en")],
    ["context", `${model.context_len.toLocaleString("en")} tokens`],
    ["conversations", model.can_chat ? "yes" : "no, it goes on with texts"],
    ...model.about,
  ];
  const cards = models.flatMap((model) => [card(model.id, facts(model)), card("Architecture", flat(model.config))]);
  document.getElementById("facts").replaceChildren(...cards);
}
