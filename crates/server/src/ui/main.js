// Which page is shown, and which model answers.
import { startChat } from "/ui/chat.js";
import { store, stored } from "/ui/elements.js";
import { startGenerate } from "/ui/generate.js";
import { startAttention, showModels } from "/ui/model.js";
import { startTraining } from "/ui/training.js";

const PAGES = ["chat", "generate", "training", "model"];
const pageOf = (name) => document.getElementById(name === "chat" ? "chat" : `page-${name}`);

const { models } = await (await fetch("/v1/genera/models")).json();
const select = document.getElementById("model");
select.replaceChildren(...models.map((model) => new Option(model.id, model.id)));
select.value = models.find((model) => model.id === stored("model"))?.id ?? models[0].id;
const modelOf = (id) => models.find((model) => model.id === id);
const current = () => modelOf(select.value);

// What cannot be talked to is shown making things first.
const home = () => (current().can_chat ? "chat" : "generate");

function showPage() {
  const asked = location.hash.slice(1);
  const name = PAGES.includes(asked) ? asked : home();
  for (const other of PAGES) pageOf(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  dispatchEvent(new CustomEvent("page", { detail: name }));
}

select.addEventListener("change", () => {
  store("model", select.value);
  dispatchEvent(new Event("model"));
});
showModels(models);
startChat(modelOf);
startGenerate(current);
startAttention(current);
startTraining();
addEventListener("hashchange", showPage);
showPage();
