// A talk with several at once: each keeps its own side of it. Nothing here touches the page.

import { reader, stream } from "./api.js";

/** One voice's reply to one question. */
export class Reply {
  constructor(voice, messages, changed) {
    Object.assign(this, { voice, messages, changed, takes: 0 });
    this.clear();
  }

  clear() {
    Object.assign(this, { state: "waiting", text: "", pieces: 0, tokens: null, reason: null });
    Object.assign(this, { id: null, trouble: null, first: null, last: null, asked: performance.now() });
    this.stopper = new AbortController();
  }

  get running() {
    return this.state === "waiting" || this.state === "answering";
  }

  /** The request as it is sent; asked again with a seed of one's own, the next seed is taken. */
  body(settings) {
    const seed = settings.seed === undefined ? {} : { seed: settings.seed + this.takes };
    const user = this.voice.road === "experiment" ? { user: reader() } : {};
    return { model: this.voice.id, messages: this.messages, ...settings, ...seed, ...user };
  }

  async run(settings) {
    this.clear();
    this.sent = this.body(settings);
    this.changed(this);
    const streamed = { ...this.sent, stream: true, stream_options: { include_usage: true } };
    try {
      for await (const chunk of stream(streamed, this.stopper.signal)) this.take(chunk);
      this.state = "done";
    } catch (error) {
      this.state = this.stopper.signal.aborted ? "stopped" : "failed";
      this.trouble = this.state === "failed" ? error : null;
    }
    this.changed(this);
  }

  again(settings) {
    this.takes += 1;
    return this.run(settings);
  }

  stop() {
    this.stopper.abort();
  }

  take(chunk) {
    this.id = chunk.id;
    this.tokens = chunk.usage?.completion_tokens ?? this.tokens;
    const choice = chunk.choices[0];
    this.reason = choice?.finish_reason ?? this.reason;
    if (!choice?.delta.content) return;
    this.hear(choice.delta.content);
    this.changed(this);
  }

  hear(piece) {
    this.last = performance.now();
    this.first ??= this.last;
    this.pieces += 1;
    this.text += piece;
    this.state = "answering";
  }

  /** Seconds to the first token, tokens, and tokens a second after the first; null: not known yet.
   *  Until the server has counted, a piece of the stream counts as a token. */
  get figures() {
    if (this.first === null) return null;
    const tokens = this.tokens ?? this.pieces;
    const seconds = (this.last - this.first) / 1000;
    const rate = tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null;
    return { first: (this.first - this.asked) / 1000, tokens, rate };
  }

  /** Its part of the talk from now on: nothing, if it said nothing. */
  get turns() {
    const said = this.text.trim();
    return said ? [this.messages.at(-1), { role: "assistant", content: said }] : [];
  }
}

export class Talk {
  rounds = [];

  get running() {
    return this.rounds.flat().filter((reply) => reply.running);
  }

  /** Ask everybody, each with what it was asked and said before. */
  ask(question, voices, changed) {
    const message = { role: "user", content: question };
    const round = voices.map((each) => new Reply(each, [...this.before(each), message], changed));
    this.rounds.push(round);
    return round;
  }

  before(voice) {
    return this.rounds.flat().flatMap((reply) => (reply.voice.id === voice.id ? reply.turns : []));
  }

  stop() {
    this.running.forEach((reply) => reply.stop());
  }
}
