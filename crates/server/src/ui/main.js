// Which page is shown, and which model answers.
import { startChat } from "/ui/chat.js";
import { showModels } from "/ui/model.js";

const PAGES = { chat: document.getElementById("chat"), model: document.getElementById("page-model") };

function showPage() {
  const name = location.hash.slice(1) in PAGES ? location.hash.slice(1) : "chat";
  for (const [other, page] of Object.entries(PAGES)) page.hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const response = await fetch("/v1/genera/models");
const { models } = await response.json();
const select = document.getElementById("model");
select.replaceChildren(...models.map((model) => new Option(model.id, model.id)));
select.value = models.find((model) => model.id === localStorage.model)?.id ?? models[0].id;
select.addEventListener("change", () => (localStorage.model = select.value));
showModels(models);
startChat((id) => models.find((model) => model.id === id));
addEventListener("hashchange", showPage);
showPage();
