// The conversation: asks, shows answers as they come, keeps everything in this browser.
import { Tree } from "/ui/tree.js";
import { events } from "/ui/events.js";
import { render } from "/ui/markdown.js";

const at = (id) => document.getElementById(id);
const SETTINGS = ["system", "temperature", "top_p", "max_tokens", "seed"];

let chats = JSON.parse(localStorage.chats ?? "[]");
let current = 0;
let tree = new Tree(chats[0]);
let running = null;
let modelOf;

export function startChat(lookUp) {
  modelOf = lookUp;
  for (const name of SETTINGS) {
    at(name).value = localStorage[`set-${name}`] ?? at(name).value;
    at(name).addEventListener("change", () => (localStorage[`set-${name}`] = at(name).value));
  }
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("text").value.trim();
    if (text && !running) ask(text);
  });
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      at("ask").requestSubmit();
    }
  });
  at("text").addEventListener("input", fitText);
  at("stop").addEventListener("click", () => running?.abort());
  addEventListener("keydown", (event) => event.key === "Escape" && running?.abort());
  at("new").addEventListener("click", () => open(chats.length));
  addEventListener("model", show);
  show();
}

function fitText() {
  at("text").style.height = "auto";
  at("text").style.height = `${at("text").scrollHeight + 2}px`;
}

function open(i) {
  running?.abort();
  current = i;
  tree = new Tree(chats[i]);
  show();
  at("text").focus();
}

function save() {
  chats[current] = { nodes: tree.nodes };
  try {
    localStorage.chats = JSON.stringify(chats);
  } catch {
    // The browser's place is full: the oldest chats make room.
    chats.shift();
    current = Math.max(0, current - 1);
  }
}

function ask(text) {
  at("text").value = "";
  fitText();
  const last = tree.path().at(-1) ?? 0;
  answer(tree.add(last, "user", text));
}

function body(question) {
  const number = (id) => (at(id).value === "" ? undefined : Number(at(id).value));
  const system = at("system").value.trim();
  const messages = tree.messages(question);
  return {
    model: at("model").value,
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    temperature: number("temperature"), top_p: number("top_p"), max_tokens: number("max_tokens"), seed: number("seed"),
    stream: true, stream_options: { include_usage: true },
  };
}

async function answer(question) {
  const mine = tree;
  const id = mine.add(question, "assistant", "");
  const node = mine.nodes[id];
  node.writing = true;
  running = new AbortController();
  show();
  const start = performance.now();
  try {
    for await (const event of events("/v1/chat/completions", body(question), running.signal)) {
      const choice = event.choices[0];
      if (choice?.delta.content) {
        node.first ??= performance.now() - start;
        node.content += choice.delta.content;
        update(id, node);
      }
      if (choice?.finish_reason === "length") node.note = "cut off at the longest answer";
      if (event.usage) {
        const seconds = (performance.now() - start - (node.first ?? 0)) / 1000;
        node.rate = (event.usage.completion_tokens - 1) / Math.max(seconds, 1e-3);
        node.tokens = event.usage.completion_tokens;
      }
    }
  } catch (error) {
    node.note = error.name === "AbortError" ? "stopped" : error.message;
    node.failed = error.name !== "AbortError";
  }
  delete node.writing;
  running = null;
  if (mine === tree) {
    save();
    show();
  }
}

let isSaving = false;

function update(id, node) {
  const shown = document.querySelector(`[data-id="${id}"] .body`);
  if (!shown) return;
  const log = at("messages");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  shown.replaceChildren(...render(node.content));
  if (isAtEnd) log.scrollTop = log.scrollHeight;
  if (!isSaving) {
    isSaving = true;
    setTimeout(() => ((isSaving = false), save()), 300);
  }
}

function button(label, title, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.title = title;
  made.setAttribute("aria-label", title);
  made.addEventListener("click", act);
  return made;
}

function foot(id, node) {
  const foot = document.createElement("div");
  foot.className = "foot";
  if (node.writing) return foot;
  const siblings = tree.siblings(id);
  const turn = (by) => () => (tree.turn(id, by), save(), show());
  if (siblings.length > 1) {
    foot.append(button("‹", "The branch before", turn(-1)), `${siblings.indexOf(id) + 1} / ${siblings.length}`,
      button("›", "The next branch", turn(1)));
  }
  if (node.role === "user") foot.append(button("Edit", "Edit and ask again", () => edit(id, node)));
  else foot.append(button("Again", "Answer again", () => !running && answer(node.parent)));
  foot.append(button("Copy", "Copy this text", () => navigator.clipboard?.writeText(node.content)));
  if (node.tokens) foot.append(` ${node.tokens} tokens, ${node.rate.toFixed(1)}/s, first after ${Math.round(node.first ?? 0)} ms`);
  if (node.note) {
    const note = document.createElement("span");
    note.textContent = ` ${node.note}`;
    if (node.failed) note.className = "problem";
    foot.append(note);
  }
  return foot;
}

function edit(id, node) {
  if (running) return;
  const form = document.createElement("form");
  const text = document.createElement("textarea");
  text.value = node.content;
  text.rows = Math.min(8, node.content.split("\n").length + 1);
  text.setAttribute("aria-label", "Edit the message");
  const ok = button("Ask", "Ask this instead", () => {});
  ok.type = "submit";
  form.append(text, ok, button("Cancel", "Leave it as it is", show));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(tree.add(node.parent, "user", text.value.trim()));
  });
  document.querySelector(`[data-id="${id}"] .body`).replaceChildren(form);
  text.focus();
}

function message(id) {
  const node = tree.nodes[id];
  const shown = document.createElement("article");
  shown.className = `message ${node.role}`;
  shown.dataset.id = id;
  const text = document.createElement("div");
  text.className = node.writing ? "body writing" : "body";
  if (node.role === "user") text.textContent = node.content;
  else text.replaceChildren(...render(node.content));
  shown.append(text, foot(id, node));
  return shown;
}

function nothingYet() {
  const empty = document.createElement("p");
  empty.className = "empty";
  const strong = document.createElement("strong");
  strong.textContent = "What would you like to know?";
  const canChat = modelOf(at("model").value)?.can_chat;
  empty.append(strong, canChat ? "Enter sends, Shift+Enter makes a new line, Escape stops an answer."
    : "This model was not trained on conversations; choose another, or see what it can make under Generate.");
  return empty;
}

function chatItem(chat, i) {
  const item = document.createElement("li");
  if (i === current) item.setAttribute("aria-current", "true");
  const drop = button("×", "Delete this chat", () => {
    chats.splice(i, 1);
    localStorage.chats = JSON.stringify(chats);
    open(Math.max(0, i - 1));
  });
  drop.className = "drop";
  item.append(button(new Tree(structuredClone(chat)).title(), "Open this chat", () => open(i)), drop);
  return item;
}

function show() {
  const path = tree.path();
  at("messages").replaceChildren(...(path.length ? path.map(message) : [nothingYet()]));
  at("messages").scrollTop = at("messages").scrollHeight;
  at("chats").replaceChildren(...chats.map(chatItem).reverse());
  at("send").hidden = running !== null;
  at("stop").hidden = running === null;
}
