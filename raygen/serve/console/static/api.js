// The service's API. The key lives in this module's memory and nowhere else: it is gone when the page is.

let key = null;

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the service answered ${status}`);
    this.status = status;
    this.code = body?.error?.code;
  }
}

export const setKey = (value) => { key = value; };

export async function ask(path, options = {}) {
  const headers = { ...(options.headers ?? {}) };
  if (key) headers.authorization = `Bearer ${key}`;
  if (options.json !== undefined) headers["content-type"] = "application/json";
  const body = options.json !== undefined ? JSON.stringify(options.json) : options.body;
  const answer = await fetch(path, { method: options.method ?? (body ? "POST" : "GET"), headers, body, signal: options.signal, redirect: "error" });
  if (!answer.ok) throw new ApiError(answer.status, await answer.json().catch(() => null));
  return answer;
}

export const get = async (path, options) => (await ask(path, options)).json();

export async function* events(path, json, signal) {
  const reader = (await ask(path, { json, signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ") || part === "data: [DONE]") continue;
      const event = JSON.parse(part.slice(6));
      if (event.error) throw new ApiError(200, event);
      yield event;
    }
  }
}
