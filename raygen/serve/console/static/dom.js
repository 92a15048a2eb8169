// Elements from values. Text is always a text node: nothing that comes from a service is ever read as markup.

export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

export function table(columns, rows, empty) {
  if (!rows.length) return h("div", { class: "card empty" }, empty);
  const head = columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, n) => h("td", { class: columns[n][1] }, cell))));
  return h("div", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Table" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export function facts(pairs) {
  return h("dl", { class: "card facts" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const GOOD = ["completed", "ready", "accepted", "processed"];
const BAD = ["failed", "expired", "broken", "rejected", "error"];

export function state(word) {
  const kind = GOOD.includes(word) ? "good" : BAD.includes(word) ? "bad" : word === "cancelled" || word === "cold" ? "" : "wait";
  return h("span", { class: `state ${kind}` }, word.replace("_", " "));
}

export const count = (value) => Number(value ?? 0).toLocaleString("en", { maximumFractionDigits: 2 });

export function when(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }) : "–";
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let n = 0;
  while (bytes >= 1000 && n < 3) { bytes /= 1000; n += 1; }
  return `${count(n ? bytes.toFixed(1) : bytes)} ${units[n]}`;
}

export function took(from, to) {
  if (!from) return "–";
  const s = Math.max(0, Math.round((to ?? Date.now() / 1000) - from));
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

let clearing;
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(clearing);
  clearing = setTimeout(() => { place.textContent = ""; }, 6000);
}

export function problem(error) {
  return h("p", { class: "problem", role: "alert" }, error.message ?? String(error));
}

export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
