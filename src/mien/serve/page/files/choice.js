// The dialog in which one chooses who answers: each persona by its training and by its prompt.

import { made, show } from "./dom.js";
import { paint } from "./persona.js";
import { MOST, called, line, origin, road, title } from "./voices.js";

export class Choice {
  /** `chosen` is called with the voices when the dialog is closed. */
  constructor(dialog, chosen) {
    this.dialog = dialog;
    this.list = dialog.querySelector("[data-part=list]");
    this.count = dialog.querySelector("[data-part=count]");
    this.form = dialog.querySelector("form");
    this.problem = dialog.querySelector("[data-part=problem]");
    this.names = dialog.querySelector("datalist");
    dialog.querySelector("[data-part=close]").onclick = () => dialog.close();
    dialog.onclick = (event) => {
      if (event.target === dialog) dialog.close(); // what is around it
    };
    dialog.onclose = () => {
      if (this.cast.length) chosen(this.cast);
    };
    this.list.onchange = () => this.tally();
    this.form.onsubmit = (event) => this.add(event);
  }

  open(voices, cast) {
    this.voices = [...voices, ...cast.filter((each) => !voices.some((one) => one.id === each.id))];
    this.draw(cast);
    show(this.problem, false);
    this.dialog.showModal();
  }

  draw(cast) {
    const groups = Map.groupBy(this.voices, (each) => each.persona ?? each.id);
    this.list.replaceChildren(...[...groups.values()].map((group) => this.row(group, cast)));
    this.names.replaceChildren(...this.voices.map((each) => new Option("", each.id)));
    this.tally();
  }

  row(group, cast) {
    const row = made("choice-row");
    paint(row.root, group[0]);
    row.title.textContent = title(group[0]);
    row.line.textContent = line(group[0]);
    row.roads.replaceChildren(...group.map((each) => this.option(each, cast)));
    return row.root;
  }

  option(voice, cast) {
    const option = made("choice-option");
    option.box.value = voice.id;
    option.box.checked = cast.some((each) => each.id === voice.id);
    option.words.textContent = voice.named ? voice.id : road(voice);
    option.root.title = origin(voice);
    option.box.setAttribute("aria-label", `${title(voice)}, ${option.words.textContent}`);
    return option.root;
  }

  get boxes() {
    return [...this.list.querySelectorAll("input")];
  }

  get cast() {
    const ids = this.boxes.filter((box) => box.checked).map((box) => box.value);
    return ids.map((id) => this.voices.find((each) => each.id === id));
  }

  tally() {
    const full = this.cast.length >= MOST;
    for (const box of this.boxes) box.disabled = full && !box.checked;
    const words = this.cast.length ? `${this.cast.length} of ${MOST}` : "Choose at least one";
    this.count.textContent = words;
  }

  /** Somebody by a model's name, which the server knows or does not. */
  async add(event) {
    event.preventDefault();
    const name = this.form.elements.model.value.trim();
    if (!name) return;
    try {
      if (!this.voices.some((each) => each.id === name)) this.voices.push(await called(name, this.voices));
      this.take(name);
    } catch (error) {
      this.complain(error.message);
    }
  }

  take(name) {
    if (this.cast.length >= MOST) return this.complain(`${MOST} at most: take somebody out first.`);
    this.draw([...this.cast, this.voices.find((each) => each.id === name)]);
    this.form.reset();
    show(this.problem, false);
  }

  complain(words) {
    this.problem.textContent = words;
    show(this.problem, true);
  }
}
