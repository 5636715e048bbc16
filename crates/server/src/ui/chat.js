// The conversation: asks, shows answers as they come, keeps everything in this browser.
import { Tree } from "/ui/tree.js";
import { store, stored } from "/ui/elements.js";
import { events } from "/ui/events.js";
import { render } from "/ui/markdown.js";

const at = (id) => document.getElementById(id);
const SETTINGS = ["system", "temperature", "top_p", "max_tokens", "seed"];

const chats = keptChats();
// Which chat is shown; one beyond the last is one in which nothing was asked yet.
let current = keptPlace();
let tree = new Tree(chats[current]);
let running = null;
let modelOf;

export function startChat(lookUp) {
  modelOf = lookUp;
  for (const name of SETTINGS) {
    at(name).value = stored(`set-${name}`) ?? at(name).value;
    at(name).addEventListener("change", () => store(`set-${name}`, at(name).value));
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
  at("stop").addEventListener("click", stop);
  addEventListener("keydown", (event) => event.key === "Escape" && stop());
  at("new").addEventListener("click", () => open(chats.length));
  addEventListener("model", show);
  show();
}

function keptChats() {
  try {
    const kept = JSON.parse(stored("chats") ?? "[]");
    return kept.filter((chat) => Array.isArray(chat.nodes));
  } catch {
    return [];
  }
}

function keptPlace() {
  const place = Number(stored("chat") ?? chats.length - 1);
  return place >= 0 ? Math.min(place, chats.length) : 0;
}

function fitText() {
  at("text").style.height = "auto";
  at("text").style.height = `${at("text").scrollHeight + 2}px`;
}

function stop() {
  running?.abort();
  running = null;
  showButtons();
}

function open(i) {
  stop();
  current = i;
  tree = new Tree(chats[i]);
  store("chat", current);
  show();
  at("text").focus();
}

function save() {
  chats[current] ??= { nodes: tree.nodes };
  keep();
}

function keep() {
  const before = chats.length;
  // The browser's place is full: the oldest chats make room.
  while (!store("chats", JSON.stringify(chats)) && dropOldest());
  store("chat", current);
  if (chats.length < before) showChats();
}

// Drops the oldest chat but the one that is shown; whether there was one.
function dropOldest() {
  const oldest = current === 0 ? 1 : 0;
  if (oldest >= chats.length) return false;
  chats.splice(oldest, 1);
  if (oldest < current) current -= 1;
  return true;
}

function drop(i) {
  chats.splice(i, 1);
  if (i === current) open(Math.max(0, i - 1));
  else if (i < current) current -= 1;
  keep();
  showChats();
  at("text").focus();
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
  const abort = new AbortController();
  node.writing = true;
  running = abort;
  save();
  show();
  const start = performance.now();
  try {
    for await (const event of events("/v1/chat/completions", body(question), abort.signal)) {
      const choice = event.choices[0];
      if (choice?.delta.content) {
        node.first ??= performance.now() - start;
        node.content += choice.delta.content;
        if (mine === tree) update(id, node);
        keepSoon();
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
  // Another answer may have begun since this one was stopped.
  if (running === abort) running = null;
  keep();
  show();
}

let isSaving = false;

function keepSoon() {
  if (isSaving) return;
  isSaving = true;
  setTimeout(() => ((isSaving = false), keep()), 300);
}

function update(id, node) {
  const shown = document.querySelector(`[data-id="${id}"] .body`);
  if (!shown) return;
  const log = at("messages");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  shown.replaceChildren(...render(node.content));
  if (isAtEnd) log.scrollTop = log.scrollHeight;
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
    const said = text.value.trim();
    if (said && !running) answer(tree.add(node.parent, "user", said));
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
  const title = new Tree(structuredClone(chat)).title();
  // What is open already goes on being written.
  const opener = button(title, `Open the chat: ${title}`, () => (i === current ? at("text").focus() : open(i)));
  const dropper = button("×", "Delete this chat", () => drop(i));
  dropper.className = "drop";
  item.append(opener, dropper);
  return item;
}

function show() {
  const path = tree.path();
  at("messages").replaceChildren(...(path.length ? path.map(message) : [nothingYet()]));
  at("messages").scrollTop = at("messages").scrollHeight;
  showChats();
  showButtons();
}

function showChats() {
  at("chats").replaceChildren(...chats.map(chatItem).reverse());
}

function showButtons() {
  at("send").hidden = running !== null;
  at("stop").hidden = running === null;
}
