// The part of Markdown that models write, as elements: text never becomes HTML.

const INLINE = /(`[^`\n]+`)|\*\*([^*\n]+)\*\*|\*([^*\n]+)\*/g;

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function inline(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(at, match.index));
    const [whole, code, strong, emphasis] = match;
    if (code) parts.push(element("code", code.slice(1, -1)));
    else parts.push(element(strong ? "strong" : "em", strong ?? emphasis));
    at = match.index + whole.length;
  }
  return [...parts, text.slice(at)];
}

function list(lines, ordered) {
  const items = lines.map((line) => element("li", ...inline(line.replace(/^\s*([-*+]|\d+[.)])\s+/, ""))));
  return element(ordered ? "ol" : "ul", ...items);
}

function paragraph(lines) {
  const parts = lines.flatMap((line, i) => (i ? [document.createElement("br"), ...inline(line)] : inline(line)));
  return element("p", ...parts);
}

function kindOf(line) {
  if (/^\s*[-*+]\s+/.test(line)) return "ul";
  if (/^\s*\d+[.)]\s+/.test(line)) return "ol";
  if (/^#{1,6}\s/.test(line)) return "heading";
  return line.trim() ? "text" : "gap";
}

function prose(text) {
  const groups = [];
  for (const line of text.split("\n")) {
    const kind = kindOf(line);
    const last = groups.at(-1);
    if (last?.kind === kind && kind !== "heading") last.lines.push(line);
    else groups.push({ kind, lines: [line] });
  }
  return groups.flatMap(({ kind, lines }) => {
    if (kind === "gap") return [];
    if (kind === "heading") return [element(`h${Math.min(lines[0].indexOf(" ") + 1, 4)}`, ...inline(lines[0].replace(/^#+\s/, "")))];
    return [kind === "text" ? paragraph(lines) : list(lines, kind === "ol")];
  });
}

export function render(text) {
  // Every second part stands between fences; one that is still open is code already.
  return text.split(/^```/m).flatMap((part, i) => {
    if (i % 2 === 0) return prose(part);
    return [element("pre", element("code", part.slice(part.indexOf("\n") + 1)))];
  });
}
