// The card of a voice: who it is, where its manner comes from, and what it is held to.

import { element, made, show } from "./dom.js";
import { line, origin, road, title } from "./voices.js";

const SIGNED = new Intl.NumberFormat("en", { signDisplay: "exceptZero" });
const PLAIN = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

/** Mark a node with the colour and the road of a voice. */
export function paint(node, voice) {
  node.dataset.colour = voice.colour;
  node.dataset.road = voice.road;
}

/** A card as it stands above the talk. */
export function personaCard(voice) {
  const card = made("persona-card");
  paint(card.root, voice);
  card.title.textContent = title(voice);
  card.road.textContent = road(voice);
  card.line.textContent = line(voice);
  card.origin.textContent = origin(voice);
  show(card.more, voice.about);
  if (voice.about) fill(card, voice);
  return card.root;
}

function fill(card, voice) {
  const { description, traits, targets, boundaries } = voice.about;
  card.description.textContent = description.slice(line(voice).length).trim(); // the rest of it
  card.traits.replaceChildren(...Object.entries(traits).flatMap(trait));
  card.targets.replaceChildren(...targets.flatMap(target));
  card.boundaries.replaceChildren(...boundaries.map((each) => element("li", each)));
  card.model.textContent = voice.id;
  for (const part of ["traits", "targets", "boundaries"]) {
    show(card[part].parentElement, card[part].children.length);
  }
}

/** A trait from -1 to 1, as a dot on a scale and as a number. */
function trait([name, pole]) {
  const value = element("dd", SIGNED.format(pole));
  const scale = element("span", "", "scale");
  scale.style.setProperty("--pole", pole);
  value.prepend(scale);
  return [element("dt", name), value];
}

function target({ about, low, high }) {
  const ends = low === high ? PLAIN.format(low) : `${PLAIN.format(low)} to ${PLAIN.format(high)}`;
  return [element("dt", about), element("dd", ends)];
}
