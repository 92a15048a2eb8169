import { ask, get } from "/console/static/api.js";
import { count, facts, h, problem, save, say, state, table, took, when } from "/console/static/dom.js";

const OVER = ["completed", "failed", "expired", "cancelled"];
const link = (id) => h("a", { class: "id", href: `#/batches/${encodeURIComponent(id)}` }, id);
const done = (batch) => batch.request_counts ? `${count(batch.request_counts.completed)} / ${count(batch.request_counts.total)}` : "–";

export async function batches(page) {
  const found = await get("/v1/batches?limit=50");
  const rows = found.data.map((each) => [link(each.id), state(each.status), each.endpoint, done(each), count(each.request_counts?.failed), when(each.created_at)]);
  const columns = [["Batch"], ["Status"], ["Endpoint"], ["Completed", "number"], ["Failed", "number"], ["Created"]];
  page.show(
    h("h1", {}, "Batches"),
    h("p", { class: "lead" }, "Each is a run: it survives any process, and every line has exactly one outcome."),
    table(columns, rows, ["No batch yet. ", h("a", { href: "#/files" }, "Upload a file"), " of requests, and start one from it."]),
  );
  page.again(found.data.some((each) => !OVER.includes(each.status)) ? 2000 : 10000);
}

export async function batch(page, id) {
  const path = `/v1/batches/${encodeURIComponent(id)}`;
  const found = await get(path);
  const counts = found.request_counts ?? { total: 0, completed: 0, failed: 0 };
  const over = OVER.includes(found.status);
  const act = (name, word) => async (event) => {
    event.target.disabled = true;
    try { await ask(`${path}/${name}`, { method: "POST" }); say(word); } catch (error) { say(error.message); }
    page.again(200);
  };
  const file = (name, label) => found[name] && h("button", { onclick: async () => save(await (await ask(`/v1/files/${found[name]}/content`)).blob(), `${id}_${label}.jsonl`) }, `Download ${label}`);
  const report = async () => {
    try { save(await (await ask(`/console/api/report/${encodeURIComponent(id)}`)).blob(), `${id}_report.html`); } catch (error) { say(error.message); }
  };
  page.show(
    h("div", { class: "bar" }, h("div", {}, h("h1", {}, id), state(found.status)),
      h("div", { class: "actions" },
        !over && found.status !== "finalizing" && h("button", { class: "danger", onclick: act("cancel", "The batch is being cancelled: what is done stays.") }, "Cancel"),
        found.status === "completed" && counts.failed > 0 && h("button", { onclick: act("retry", "Failed rows are asked again.") }, "Retry failed"),
        file("output_file_id", "output"), file("error_file_id", "errors"),
        over && found.status !== "failed" && h("button", { onclick: report }, "Report"))),
    h("progress", { max: Math.max(1, counts.total), value: counts.completed + counts.failed, "aria-label": "Lines that have an outcome" }),
    h("p", { class: "lead" }, `${count(counts.completed + counts.failed)} of ${count(counts.total)} lines have an outcome; ${count(counts.failed)} failed.`),
    facts([["Model", found.model ?? "–"], ["Endpoint", found.endpoint.replace("/v1/", "")], ["Created", when(found.created_at)],
      ["Time", took(found.in_progress_at, found.completed_at ?? found.cancelled_at ?? found.expired_at)],
      ["Prompt tokens", count(found.usage?.input_tokens)], ["Output tokens", count(found.usage?.output_tokens)], ["Expires", when(found.expires_at)]]),
    found.metadata && Object.keys(found.metadata).length ? [h("h2", {}, "Metadata"), facts(Object.entries(found.metadata))] : null,
    found.errors?.data?.length ? [h("h2", {}, "What is wrong with the file"), table([["Line", "number"], ["Code"], ["Message", "wide"]], found.errors.data.map((each) => [each.line ?? "–", each.code, each.message]), "")] : null,
    await rows(page, id),
  );
  if (!over) page.again(1500);
}

async function rows(page, id) {
  if (page.chunk === undefined) page.chunk = 0;
  let found;
  try { found = await get(`/console/api/rows/${encodeURIComponent(id)}/${page.chunk}`); } catch (error) { return error.status === 404 ? null : problem(error); }
  if (!found.chunks.length) return null;
  const at = Math.max(0, found.chunks.indexOf(found.chunk));
  const turn = (by) => () => { page.chunk = found.chunks[at + by]; page.again(0); };
  return [
    h("div", { class: "bar" }, h("h2", {}, "Rows"),
      h("div", { class: "actions" }, h("button", { disabled: at === 0, onclick: turn(-1) }, "Earlier"), h("span", {}, `part ${at + 1} of ${found.chunks.length}`),
        h("button", { disabled: at + 1 >= found.chunks.length, onclick: turn(1) }, "Later"))),
    table([["Line"], ["Outcome"], ["What was answered", "wide"]], found.rows.map((row) => [h("span", { class: "id" }, row.row_id), state(row.status), row.error ? `${row.error.code}: ${row.error.message}` : row.text]), ""),
  ];
}
