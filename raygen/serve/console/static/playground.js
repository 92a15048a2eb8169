import { events, get } from "/console/static/api.js";
import { h, problem } from "/console/static/dom.js";

export async function playground(page) {
  const names = (await get("/v1/models")).data.filter((each) => (each.verbs ?? ["generate"]).includes("generate")).map((each) => each.id);
  const field = (id, label, made) => h("div", {}, h("label", { for: id }, label), Object.assign(made, { id }));
  const model = field("model", "Model", h("select", {}, names.map((name) => h("option", { value: name }, name))));
  const system = field("system", "System", h("input", { placeholder: "You are a helpful assistant." }));
  const prompt = field("prompt", "Message", h("textarea", { placeholder: "Ask something." }));
  const most = field("most", "Tokens at most", h("input", { type: "number", min: 1, max: 8192, value: 256 }));
  const warm = field("warm", "Temperature", h("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0.7 }));
  const seed = field("seed", "Seed", h("input", { type: "number", placeholder: "any" }));
  const answer = h("div", { class: "answer", "aria-live": "off", tabindex: "0", role: "region", "aria-label": "Answer" });
  const figures = h("div", { class: "figures", role: "status" }, "Nothing asked yet.");
  const send = h("button", { class: "main", type: "submit" }, "Send");
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  let leaving = null;
  stop.addEventListener("click", () => leaving?.abort());
  page.leave(() => leaving?.abort());
  const value = (part) => part.querySelector("input, select, textarea").value;

  async function run(event) {
    event.preventDefault();
    if (leaving || !value(prompt).trim()) return;
    leaving = new AbortController();
    send.disabled = true; stop.disabled = false;
    answer.replaceChildren();
    figures.textContent = "Asked…";
    const messages = [value(system) && { role: "system", content: value(system) }, { role: "user", content: value(prompt) }].filter(Boolean);
    const program = value(model).startsWith("program:");
    const body = { model: value(model), messages, stream: true, stream_options: { include_usage: true }, seed: value(seed) ? Number(value(seed)) : undefined,
      ...(program ? {} : { max_tokens: Number(value(most)), temperature: Number(value(warm)) }) };
    const began = performance.now();
    let first = null, usage = null, reasoning = null, said = null;
    const write = (text, thought) => {
      first ??= performance.now();
      if (thought) { reasoning ??= answer.insertBefore(h("div", { class: "reasoning" }), said); reasoning.append(text); }
      else { said ??= answer.appendChild(h("div", {})); said.append(text); }
    };
    const told = (word) => {
      const s = (performance.now() - began) / 1000, tokens = usage?.completion_tokens;
      const parts = [word, first && `first piece after ${((first - began) / 1000).toFixed(2)} s`, `${s.toFixed(1)} s in all`, tokens && `${tokens} tokens`, tokens && first && `${(tokens / Math.max(0.001, (performance.now() - first) / 1000)).toFixed(1)} tokens/s`];
      figures.textContent = parts.filter(Boolean).join(" · ");
    };
    try {
      for await (const piece of events("/v1/chat/completions", body, leaving.signal)) {
        usage = piece.usage ?? usage;
        const delta = piece.choices?.[0]?.delta ?? {};
        if (delta.reasoning_content) write(delta.reasoning_content, true);
        if (delta.content) write(delta.content, false);
      }
      told("Done");
    } catch (error) {
      if (error.name === "AbortError") told("Stopped");
      else { answer.append(problem(error)); told("Failed"); }
    } finally { leaving = null; send.disabled = false; stop.disabled = true; }
  }

  prompt.querySelector("textarea").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event); });
  page.show(h("h1", {}, "Playground"), h("p", { class: "lead" }, "Try a model; answers come as they are written. Ctrl+Enter sends."),
    h("div", { class: "split" },
      h("form", { class: "card form", onsubmit: run }, model, system, prompt, h("div", { class: "row" }, most, warm, seed), h("div", { class: "actions" }, send, stop)),
      h("div", { class: "card" }, answer, figures)));
}
