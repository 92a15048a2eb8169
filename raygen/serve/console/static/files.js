import { ask, get } from "/console/static/api.js";
import { h, save, say, size, state, table, when } from "/console/static/dom.js";

const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/classifications", "/v1/evaluations", "/v1/images/generations"];

export async function files(page) {
  const found = await get("/v1/files?limit=200");
  const start = (file) => async () => {
    try {
      const made = await (await ask("/v1/batches", { json: { input_file_id: file.id, endpoint: document.getElementById("endpoint").value, completion_window: "24h" } })).json();
      say("The batch is being validated.");
      location.hash = `#/batches/${made.id}`;
    } catch (error) { say(error.message); }
  };
  const remove = (file) => async () => {
    if (!confirm(`Delete ${file.filename}?`)) return;
    try { await ask(`/v1/files/${file.id}`, { method: "DELETE" }); } catch (error) { say(error.message); }
    page.again(0);
  };
  const download = (file) => async () => save(await (await ask(`/v1/files/${file.id}/content`)).blob(), file.filename);
  const upload = async (event) => {
    const chosen = event.target.files[0];
    if (!chosen) return;
    const form = new FormData();
    form.append("purpose", "batch");
    form.append("file", chosen);
    say("Uploading…");
    try { await ask("/v1/files", { method: "POST", body: form }); say("The file is there."); } catch (error) { say(error.message); }
    page.again(0);
  };
  const rows = found.data.map((file) => [
    [h("div", {}, file.filename), h("div", { class: "id" }, file.id)], file.purpose === "batch" ? "requests" : "results", size(file.bytes), when(file.created_at), state(file.status),
    h("div", { class: "actions" }, file.purpose === "batch" && h("button", { onclick: start(file) }, "Start batch"), h("button", { onclick: download(file) }, "Download"),
      file.purpose === "batch" && h("button", { class: "danger", onclick: remove(file) }, "Delete")),
  ]);
  page.show(
    h("h1", {}, "Files"),
    h("p", { class: "lead" }, "Requests to be answered in bulk, one JSON object a line; and what came of them."),
    h("div", { class: "card form" }, h("div", { class: "row" },
      h("div", {}, h("label", { for: "upload" }, "Upload a .jsonl file"), h("input", { id: "upload", type: "file", accept: ".jsonl", onchange: upload })),
      h("div", {}, h("label", { for: "endpoint" }, "Batches are for"), h("select", { id: "endpoint" }, ENDPOINTS.map((each) => h("option", { value: each }, each)))))),
    h("h2", {}, "All files"),
    table([["File"], ["Kind"], ["Size", "number"], ["Created"], ["Status"], [""]], rows, "No file yet."),
  );
}
