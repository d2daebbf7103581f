// The page: who answers, the question, and the talk that grows below.

import { key } from "./api.js";
import { Choice } from "./choice.js";
import { made, show } from "./dom.js";
import { counted, replaced } from "./feedback.js";
import { Notice } from "./notice.js";
import { personaCard } from "./persona.js";
import { ReplyCard } from "./reply.js";
import { Talk } from "./talk.js";
import { MOST, called, everybody, title, usual } from "./voices.js";

const at = (id) => document.getElementById(id);
const question = at("question");
const fields = [...at("panel").querySelectorAll("input")];

const LOOKS = "This page looks again every few seconds.";

let voices = [];
let cast = [];
let talk = new Talk();
let cards = new Map();

const notice = new Notice(at("notice"), () => voices.length || begin());
const choice = new Choice(at("choice"), seat);

/** Read who is there, and seat those of the address, or else the usual ones. */
async function begin() {
  try {
    const { voices: found, defaults } = await everybody();
    voices = found;
    for (const field of fields) field.placeholder = defaults[field.name] ?? field.placeholder;
    seat(await remembered());
    open();
  } catch (error) {
    closed(error);
  }
}

function open() {
  show(at("door"), false);
  show(at("loading"), false);
  for (const id of ["cast", "composer"]) show(at(id), true);
  show(at("examples"), !talk.rounds.length);
  show(at("untrained"), !voices.some((each) => each.road === "adapter"));
  if (matchMedia("(hover: hover)").matches) question.focus();
}

function closed(error) {
  if (error.status === 401) return knock();
  const waits = notice.tell(error);
  at("loading").textContent = waits ? `${error.message} ${LOOKS}` : error.message;
}

/** Ask for a key; one that was there already has been refused. */
function knock() {
  at("refused").textContent = key.get() ? "That key is not known here." : "";
  show(at("loading"), false);
  show(at("door"), true);
  at("key").focus();
}

async function remembered() {
  const names = new URLSearchParams(location.hash.slice(1)).get("voices")?.split(",") ?? [];
  const found = await Promise.all(names.slice(0, MOST).map((name) => known(name).catch(() => null)));
  const seated = found.filter(Boolean);
  return seated.length ? seated : usual(voices);
}

const known = async (name) => voices.find((each) => each.id === name) ?? called(name, voices);

function seat(chosen) {
  cast = chosen;
  at("personas").replaceChildren(...cast.map(personaCard));
  at("personas").dataset.count = cast.length;
  question.placeholder = ["Ask", "Ask them both", "Ask all three", "Ask all four"][cast.length - 1];
  history.replaceState(null, "", `#${new URLSearchParams({ voices: cast.map((each) => each.id) })}`);
}

async function choose() {
  const { voices: found } = await everybody().catch(() => ({ voices }));
  voices = found;
  choice.open(voices, cast);
}

/** What was set and is valid, by the names of the API. */
function settings() {
  const given = fields.filter((field) => field.value !== "" && field.checkValidity());
  return Object.fromEntries(given.map((field) => [field.name, field.valueAsNumber]));
}

function ask(text) {
  if (!text.trim() || talk.running.length) return;
  if (!fields.every((field) => field.checkValidity())) return openSettings(true);
  const replies = talk.ask(text.trim(), cast, changed);
  drawRound(text.trim(), replies);
  for (const reply of replies) reply.run(settings());
  question.value = "";
  fit();
}

function drawRound(text, replies) {
  const round = made("round");
  round.question.textContent = text;
  round.replies.dataset.count = replies.length;
  for (const reply of replies) {
    const card = new ReplyCard(reply, again);
    cards.set(reply, card);
    round.replies.append(card.root);
  }
  at("talk").append(round.root);
  show(at("examples"), false);
  show(at("anew"), true);
  round.root.scrollIntoView({ block: "start" });
}

async function again(reply) {
  const before = reply.id;
  await reply.again(settings());
  if (counted(reply.voice)) replaced(before, reply);
}

/** A reply has gone on. */
function changed(reply) {
  cards.get(reply)?.update();
  const running = talk.running.length > 0;
  at("send").textContent = running ? "Stop" : "Ask";
  at("composer").dataset.running = running;
  if (!reply.running) over(reply);
}

function over(reply) {
  const how = { done: "has answered", stopped: "was stopped", failed: "could not answer" };
  at("said").textContent = `${title(reply.voice)} ${how[reply.state]}.`;
  if (!reply.trouble) return;
  if (reply.trouble.status === 401) knock();
  else notice.tell(reply.trouble);
}

function anew() {
  talk.stop();
  talk = new Talk();
  cards = new Map();
  at("talk").replaceChildren();
  show(at("anew"), false);
  show(at("examples"), true);
  scrollTo({ top: 0 });
  question.focus();
}

/** As tall as its text, up to what the style sheet allows. */
function fit() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

function openSettings(opened) {
  show(at("panel"), opened);
  at("settings").setAttribute("aria-expanded", opened);
  fields.find((field) => !field.checkValidity())?.reportValidity();
}

at("send").onclick = () => (talk.running.length ? talk.stop() : ask(question.value));
at("composer").onsubmit = (event) => event.preventDefault();
at("settings").onclick = () => openSettings(at("panel").hidden);
at("anew").onclick = anew;
at("door").onsubmit = (event) => {
  event.preventDefault();
  key.set(at("key").value);
  begin();
};
question.oninput = fit;
question.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask(question.value);
};
document.onkeydown = (event) => {
  if (event.key === "Escape" && !at("choice").open) talk.stop();
};
for (const button of document.querySelectorAll("[data-choose]")) button.onclick = choose;
for (const button of at("examples").querySelectorAll("button")) {
  button.onclick = () => ask(button.textContent);
}

begin();
