// A form made from the JSON Schema of what may be asked for.
import { element } from "/ui/elements.js";

// Categories that are shown as buttons; more become a list.
const MOST_CHIPS = 12;

// The fields of a schema: `nodes` to show, and `read` for what stands in them.
export function formOf(schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, field(name, inner)]);
  const read = () => {
    const entries = fields.map(([name, made]) => [name, made.read()]).filter(([, value]) => value !== undefined);
    return Object.fromEntries(entries);
  };
  return { nodes: fields.flatMap(([, made]) => made.nodes), read };
}

function field(name, schema) {
  if (schema.type === "object") return group(name, schema);
  if (schema.anyOf) return choice(name, schema);
  return text(name, schema);
}

function group(name, schema) {
  const inner = formOf(schema);
  const box = element("fieldset", {}, element("legend", {}, schema.title ?? name),
    element("div", { class: "columns" }, ...inner.nodes));
  const read = () => {
    const value = inner.read();
    return Object.keys(value).length ? value : undefined;
  };
  return { nodes: [box], read };
}

function text(name, schema) {
  const attributes = { placeholder: schema.description ?? "", "data-field": name };
  const input = schema["x-multiline"] ? element("textarea", { rows: 3, ...attributes }) : element("input", attributes);
  const read = () => {
    const value = input.value.trim() ? input.value : undefined;
    return value !== undefined && ["number", "integer"].includes(schema.type) ? Number(value) : value;
  };
  return { nodes: [element("label", { class: "line" }, schema.title ?? name, input)], read };
}

// A value among several forms: categories, or limits of a number or date; and perhaps a gap.
function choice(name, schema) {
  const listed = schema.anyOf.find((form) => form.enum)?.enum;
  const limits = schema.anyOf.find((form) => form.properties)?.properties;
  const hasGap = schema.anyOf.some((form) => form.type === "null");
  if (listed) return categories(name, schema, listed, hasGap);
  if (limits) return between(name, schema, limits);
  return text(name, { title: schema.title, description: schema.description });
}

function categories(name, schema, listed, hasGap) {
  const values = hasGap ? [...listed, null] : listed;
  if (values.length > MOST_CHIPS) {
    const options = values.map((value, i) => new Option(value ?? "nothing", i));
    const select = element("select", { "data-field": name }, new Option("anything", ""), ...options);
    const read = () => (select.value === "" ? undefined : values[select.value]);
    return { nodes: [element("label", { class: "line" }, schema.title ?? name, select)], read };
  }
  const boxes = values.map((value) => [value, element("input", { type: "checkbox", "data-field": name, value: value ?? "" })]);
  const chips = boxes.map(([value, box]) => element("label", { class: "chip" }, box, element("span", {}, value ?? "nothing")));
  const read = () => {
    const chosen = boxes.filter(([, box]) => box.checked).map(([value]) => value);
    if (chosen.length === 0 || chosen.length === values.length) return undefined;
    return chosen.length === 1 ? chosen[0] : chosen;
  };
  if (hasGap) setApart(boxes.at(-1)[1], boxes.slice(0, -1).map(([, box]) => box));
  const box = element("div", { class: "line", role: "group", "aria-label": schema.title ?? name },
    element("span", { title: schema.description }, schema.title ?? name), element("div", { class: "chips" }, ...chips));
  return { nodes: [box], read };
}

// A list holds categories only, so that a gap is asked for alone: whoever chooses it unchooses the others, and they it.
function setApart(gap, others) {
  gap.addEventListener("change", () => {
    if (gap.checked) for (const box of others) box.checked = false;
  });
  for (const box of others) box.addEventListener("change", () => (gap.checked &&= !box.checked));
}

function between(name, schema, { min }) {
  const isNumber = min.type !== "string";
  const [low, high] = isNumber ? [min.minimum, min.maximum] : min.examples ?? ["", ""];
  const input = (label, limit, shown) => element("input", {
    type: isNumber ? "number" : "text", step: "any", placeholder: shown, "aria-label": `${schema.title ?? name}, ${label}`,
    "data-field": `${name}-${limit}`,
  });
  const [from, to] = [input("from", "min", low), input("to", "max", high)];
  const value = (input) => (input.value === "" ? undefined : isNumber ? Number(input.value) : input.value);
  const read = () => {
    const limits = { min: value(from), max: value(to) };
    return limits.min === undefined && limits.max === undefined ? undefined : JSON.parse(JSON.stringify(limits));
  };
  const box = element("div", { class: "line" }, element("span", { title: schema.description }, schema.title ?? name),
    element("div", { class: "between" }, from, "to", to));
  return { nodes: [box], read };
}
