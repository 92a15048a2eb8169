import { get } from "/console/static/api.js";
import { count, h, state, table } from "/console/static/dom.js";

export async function models(page) {
  const found = await get("/console/api/models");
  const rows = found.models.map((each) => [h("strong", {}, each.name), `${each.family} · ${each.engine}`, state(each.state), `${count(each.replicas)} / ${count(each.wanted)}`, count(each.running), count(each.waiting), count(each.batch_rows)]);
  const columns = [["Model"], ["Kind"], ["State"], ["Replicas", "number"], ["Running", "number"], ["Waiting", "number"], ["Batch rows", "number"]];
  page.show(h("h1", {}, "Models"), h("p", { class: "lead" }, "What answers now. People go before batches."), table(columns, rows, "No model."),
    found.others.length ? [h("h2", {}, "Adapters and programs"), table([["Name"], ["Of"]], found.others.map((each) => [each.name, each.of]), "")] : null);
  page.again(2000);
}

export async function usage(page) {
  const found = await get("/console/api/usage");
  const rows = Object.entries(found.models).map(([name, each]) => [h("strong", {}, name), count(each.requests), count(each.usage.prompt_tokens ?? each.usage.encoded_tokens), count(each.usage.output_tokens),
    Object.entries(each.usage).filter(([unit]) => !unit.endsWith("_tokens")).map(([unit, amount]) => `${count(amount)} ${unit.replace("_", " ")}`).join(", ") || "–",
    each.cost === undefined ? "–" : `${each.cost.toFixed(4)} ${each.currency}`]);
  page.show(h("h1", {}, "Usage"), h("p", { class: "lead" }, `Of ${found.tenant} in ${found.month}.`),
    table([["Model"], ["Requests", "number"], ["Tokens read", "number"], ["Tokens written", "number"], ["Other", "number"], ["Cost", "number"]], rows, "Nothing was used yet this month."));
  page.again(10000);
}
