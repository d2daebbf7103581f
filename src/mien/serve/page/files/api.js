// The gateway as this page sees it: JSON, streams, and what went wrong in words for people.

const KEY = "mien-key";
const READER = "mien-reader";
const BLANK = /\r?\n\r?\n/;
const BROKEN = "The connection broke off.";

/** Why there is no answer. `code` is the server's, or `away` where there was no server to say anything. */
export class Trouble extends Error {
  constructor(message, { status = 0, code = "away", wait = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

/** The API key, for as long as this tab is open. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value.trim()),
};

/** Who reads this page, in this browser: nobody in particular, but always the same. Experiments need it. */
export function reader() {
  const known = localStorage.getItem(READER);
  if (known) return known;
  const made = Array.from(crypto.getRandomValues(new Uint32Array(4)), (each) => each.toString(36)).join("");
  localStorage.setItem(READER, made);
  return made;
}

/** The address of a path of this server, which may lie below a path of another one. */
export const address = (path) => new URL(path, document.baseURI).href;

/** What a GET answers, as JSON. */
export async function read(path, signal) {
  return (await call(path, { signal })).json();
}

/** Send JSON; the response as it is. */
export function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** The chunks of a reply as they come. One that breaks off before its end is trouble. */
export async function* stream(body, signal) {
  const response = await send("v1/chat/completions", body, signal);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Trouble(chunk.error.message, chunk.error);
    yield chunk;
  }
  throw new Trouble(BROKEN);
}

/** The data of server-sent events. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ; ) {
    const { done, value } = await unbroken(reader.read());
    if (done) return;
    const whole = (held + value).split(BLANK);
    held = whole.pop();
    for (const event of whole) yield event.replace(/^data: ?/gm, "");
  }
}

function unbroken(reading) {
  return reading.catch((error) => {
    throw error.name === "AbortError" ? error : new Trouble(BROKEN);
  });
}

async function call(path, options) {
  const headers = { ...options.headers, ...(key.get() && { Authorization: `Bearer ${key.get()}` }) };
  const response = await reached(address(path), { ...options, headers });
  if (!response.ok) throw await refused(response);
  return response;
}

async function reached(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer.");
  }
}

async function refused(response) {
  const body = await response.json().catch(() => ({}));
  const { message = `The server says ${response.status}.`, code = "unknown" } = body.error ?? {};
  return new Trouble(message, { status: response.status, code, wait: waiting(response) });
}

/** Seconds after which it is worth asking again; 0 where the server does not say. */
const waiting = (response) => Number(response.headers.get("Retry-After")) || 0;
