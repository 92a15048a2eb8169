// The console: views by the part of the address behind #, each drawn from the API again and again while it is looked at.

import { setKey } from "/console/static/api.js";
import { batch, batches } from "/console/static/batches.js";
import { h, problem, say } from "/console/static/dom.js";
import { files } from "/console/static/files.js";
import { models, usage } from "/console/static/models.js";
import { playground } from "/console/static/playground.js";

const main = document.getElementById("main");
const views = { batches, files, models, usage, playground };

const FOCUSED = "button, a, input, select, textarea, [tabindex]";
const rowOf = (element) => element.closest("tr")?.querySelector(".id")?.textContent;
const same = (one, other) => one.tagName === other.tagName && one.id === other.id && one.getAttribute("href") === other.getAttribute("href")
  && (one.matches("[role=region]") || one.textContent === other.textContent) && rowOf(one) === rowOf(other);

class Page {
  constructor(view, argument) { this.view = view; this.argument = argument; this.live = true; }
  show(...children) {
    if (!this.live) return;
    // What has the focus keeps it when the page is drawn anew, also where rows came or went before it.
    const at = document.activeElement, inside = at && main.contains(at), before = inside ? main.querySelectorAll(FOCUSED) : [];
    const place = inside ? [...before].filter((each) => same(each, at)).indexOf(at) : -1;
    main.replaceChildren(...children.flat(3).filter((child) => child instanceof Node));
    if (!inside || at === main) return;
    const alike = [...main.querySelectorAll(FOCUSED)].filter((each) => same(each, at));
    (alike[Math.min(place, alike.length - 1)] ?? main).focus({ preventScroll: true });
  }
  again(after) {
    clearTimeout(this.timer);
    if (this.live) this.timer = setTimeout(() => this.draw(), after);
  }
  leave(then) { this.left = then; }
  end() { this.live = false; clearTimeout(this.timer); this.left?.(); }
  async draw() {
    try { await this.view(this, this.argument); } catch (error) {
      if (!this.live) return;
      if (error.status === 401) this.show(...signIn(() => this.draw()));
      else { this.show(problem(error)); this.again(5000); }
    }
  }
}

function signIn(then) {
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const enter = (event) => { event.preventDefault(); setKey(field.value.trim()); field.value = ""; say("The key is kept in memory, until this page is closed."); then(); };
  return [h("h1", {}, "Key"), h("p", { class: "lead" }, "This service asks for a key. It is kept in this page's memory alone."),
    h("form", { class: "card form", onsubmit: enter }, h("div", {}, h("label", { for: "key" }, "Key (rg-…)"), field), h("div", { class: "actions" }, h("button", { class: "main" }, "Enter")))];
}

let page = null;
function go() {
  const [name, id] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const view = views[name] ? name : "batches";
  page?.end();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${view}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  page = new Page(view === "batches" && id ? batch : views[view], id);
  main.replaceChildren(h("p", { class: "lead" }, "…"));
  page.draw();
}

document.getElementById("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", () => { go(); main.focus(); });
go();
