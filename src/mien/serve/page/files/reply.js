// The card of a reply: its text while it comes, how fast it came, and what can be done with it.

import { address, key } from "./api.js";
import { curl } from "./curl.js";
import { confirm, copy, countDown, element, made, say, show } from "./dom.js";
import { counted, judge } from "./feedback.js";
import { paint } from "./persona.js";
import { road, title } from "./voices.js";

const WORDS = { waiting: "Waiting for its turn", stopped: "Stopped." };

/** A card that follows one reply; `again` asks for another. */
export class ReplyCard {
  constructor(reply, again) {
    this.reply = reply;
    this.parts = made("reply-card");
    this.root = this.parts.root;
    paint(this.root, reply.voice);
    this.root.setAttribute("aria-label", `${title(reply.voice)}, ${road(reply.voice)}`);
    this.parts.title.textContent = title(reply.voice);
    this.parts.road.textContent = road(reply.voice);
    this.parts.stop.onclick = () => this.leave(() => reply.stop());
    this.parts.again.onclick = this.parts.retry.onclick = () => this.leave(() => again(reply));
    this.parts.copy.onclick = () => copied(this.parts.copy, reply.text);
    this.parts.curl.onclick = () => copied(this.parts.curl, this.command);
    this.thumbs = { up: this.parts.up, down: this.parts.down };
    for (const [way, button] of Object.entries(this.thumbs)) button.onclick = () => judge(this, way);
    show(this.parts.thumbs, counted(reply.voice));
  }

  /** Do what takes the pressed button away; the keyboard stays at this card. */
  leave(act) {
    this.root.focus({ preventScroll: true });
    act();
  }

  get command() {
    return curl(address("v1/chat/completions"), this.reply.sent, Boolean(key.get()));
  }

  /** Draw it as it is now, once for however many pieces came since the last picture. */
  update() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = undefined;
      this.draw();
    });
  }

  draw() {
    const { reply, parts } = this;
    this.root.dataset.state = reply.state;
    parts.text.setAttribute("aria-busy", reply.running);
    say(parts.text, reply.text);
    parts.note.textContent = note(reply);
    parts.figures.replaceChildren(...figures(reply));
    show(parts.stop, reply.running);
    show(parts.done, !reply.running && reply.text);
    show(parts.failed, reply.state === "failed");
    show(parts.again, reply.state !== "failed");
    if (reply.state === "failed") this.complain(reply.trouble);
    if (reply.running) this.judged(null);
  }

  complain({ message, wait }) {
    this.parts.trouble.textContent = message;
    const button = this.parts.retry;
    countDown(wait, (left) => {
      button.disabled = left > 0;
      button.textContent = left ? `Ask again in ${left} s` : "Ask again";
    });
  }

  /** Which thumb is down; null: neither. */
  judged(way) {
    for (const [name, button] of Object.entries(this.thumbs)) {
      button.setAttribute("aria-pressed", name === way);
    }
  }

  withoutThumbs() {
    show(this.parts.thumbs, false);
  }
}

function note(reply) {
  if (reply.state === "done" && !reply.text) return "It said nothing.";
  if (reply.state === "done" && reply.reason === "length") return "Cut off at the longest length.";
  return WORDS[reply.state] ?? "";
}

function figures({ figures }) {
  if (!figures) return [];
  const { first, tokens, rate } = figures;
  return [
    figure(`${first.toFixed(first < 10 ? 2 : 0)} s`, "to first token"),
    figure(rate === null ? "–" : rate.toFixed(rate < 100 ? 1 : 0), "tokens/s"),
    figure(tokens, tokens === 1 ? "token" : "tokens"),
  ];
}

function figure(value, unit) {
  const figure = element("span");
  figure.append(element("b", value), ` ${unit}`);
  return figure;
}

async function copied(button, text) {
  await copy(text);
  confirm(button, "Copied");
}
