// Elements in few words: element("p", { class: "note" }, "text", other).
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Gives a file that was made here to the person.
export function download(name, mediaType, text) {
  const address = URL.createObjectURL(new Blob([text], { type: mediaType }));
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// What this browser keeps under a name.
export function stored(name) {
  try {
    return localStorage[name];
  } catch {
    return undefined;
  }
}

// Keeps a text in this browser; false where its place is full. A browser that keeps nothing at all has no place to make.
export function store(name, text) {
  try {
    localStorage[name] = text;
  } catch ({ name: reason }) {
    return reason !== "QuotaExceededError";
  }
  return true;
}
