// The line that says how the server is, where it is not well; and the wait until it is again.

import { address } from "./api.js";
import { countDown } from "./dom.js";

const SOON = 300;
const EVERY = 3000;
const LINES = {
  away: "The server does not answer. This page looks again every few seconds.",
  draining: "The server is stopping and takes no new questions. This page waits for it to come back.",
};

export class Notice {
  /** `back` is called when the server answers again. */
  constructor(node, back) {
    Object.assign(this, { node, back, looking: false, counting: false });
  }

  /** Say what a reply's trouble means for all of them; whether the server is being waited for. */
  tell({ code, status, wait }) {
    if (code in LINES) this.wait(LINES[code]);
    else if (code === "overloaded") this.busy("The server is busy", wait);
    else if (status === 429) this.busy("The limit of your key is reached", wait);
    return code in LINES;
  }

  busy(what, wait) {
    if (this.counting) return;
    countDown(wait, (left) => {
      this.counting = left > 0;
      this.say(left ? `${what}: ask again in ${left} s.` : "");
    });
  }

  async wait(line) {
    if (this.looking) return;
    this.looking = true;
    await pause(SOON);
    while (!(await healthy())) {
      this.say(line);
      await pause(EVERY);
    }
    this.looking = false;
    this.say("");
    this.back();
  }

  say(line) {
    if (this.node.textContent !== line) this.node.textContent = line;
  }
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function healthy() {
  const response = await fetch(address("health")).catch(() => null);
  return Boolean(response?.ok);
}
