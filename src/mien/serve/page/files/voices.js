// Who can answer, in words: a voice is a card of `/v1/personas`.

import { read } from "./api.js";

export const MOST = 4;
const COLOURS = [3, 2, 5, 6, 1, 4]; // of the theme, so that those of the library suit them
const ROADS = { adapter: "trained", prompt: "prompt", base: "untouched", experiment: "experiment" };
const STAGES = {
  sft: "SFT",
  dpo: "DPO",
  ppo: "PPO",
  blend: "Blend",
  scale: "Scaled",
  import: "Imported",
  null: "SFT",
  "null-dpo": "DPO",
};

/** All that go by a name of their own, and what the server does where a request does not say. */
export async function everybody() {
  const { data, defaults } = await read("v1/personas");
  const names = [...new Set(data.map((each) => each.persona).filter(Boolean))].sort();
  const colour = (each) => (each.persona ? COLOURS[names.indexOf(each.persona) % COLOURS.length] : 0);
  return { voices: data.map((each) => ({ ...each, colour: colour(each) })), defaults };
}

/** Anybody by a model's name: a version, a blend. It has the colour of its persona. */
export async function called(name, known) {
  const card = await read(`v1/personas/${encodeURIComponent(name)}`);
  const kin = known.find((each) => each.persona && each.persona === card.persona);
  return { ...card, id: name, named: true, colour: kin?.colour ?? 0 };
}

/** Who answers if nobody was chosen: the base, and personas that were trained, the promoted first. */
export function usual(voices) {
  const trained = voices.filter((each) => each.road === "adapter" && each.persona);
  trained.sort((a, b) => Number(b.promoted) - Number(a.promoted));
  const prompted = voices.filter((each) => each.road === "prompt" && each.persona !== "neutral");
  const base = voices.filter((each) => each.road === "base");
  return [...base, ...(trained.length ? trained : prompted).slice(0, 2)];
}

/** Its name for people. A version is told from others of its persona by `road`; a blend is nobody's. */
export function title(voice) {
  if (voice.parts) return "A blend";
  if (voice.road === "experiment") return voice.id;
  return voice.title ?? (voice.road === "base" ? "The bare base" : "The null control");
}

/** How the personality came into it, in a word or two; of somebody called by name, that name. */
export const road = (voice) => (voice.named ? voice.id : ROADS[voice.road]);

/** One line that says who it is. */
export function line(voice) {
  if (voice.about) return voice.about.description.match(/^.*?[.!?](?=\s|$)/s)?.[0] ?? voice.about.description;
  if (voice.parts) return "The adapters of several personas, weighed and added up.";
  if (voice.road === "experiment") return "One of several; which one, it does not say.";
  if (voice.road === "base") return "The model that every voice here lies on, as it came.";
  return "Trained by the same recipe on neutral text: what training does by itself.";
}

/** One line that says where its manner comes from. */
export function origin(voice) {
  if (voice.road === "base") return voice.root;
  if (voice.road === "experiment") return "The same for you each time; thumbs are counted";
  if (voice.road === "prompt") return "The base, told how to speak; nothing was trained";
  const version = `version ${voice.version.slice(0, 8)}`;
  const promoted = { true: "promoted", false: "not promoted" }[voice.promoted];
  return [STAGES[voice.stage] ?? voice.stage, version, promoted].filter(Boolean).join(", ");
}
