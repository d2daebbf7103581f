// Small helpers for the page. Words, whoever they are from, only ever become text.

/** A copy of a template: its root, and its parts by their `data-part`. */
export function made(name) {
  const root = document.getElementById(name).content.firstElementChild.cloneNode(true);
  const parts = [...root.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]);
  return { root, ...Object.fromEntries(parts) };
}

export function element(name, text = "", className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

/** Make a node say a text, in paragraphs; those that are there already are left alone. */
export function say(node, text) {
  const parts = text ? text.split(/\n\s*\n/) : [];
  while (node.children.length > parts.length) node.lastChild.remove();
  for (const [index, part] of parts.entries()) {
    const paragraph = node.children[index] ?? node.appendChild(element("p"));
    if (paragraph.textContent !== part) paragraph.textContent = part;
  }
}

export function show(node, shown) {
  node.hidden = !shown;
}

/** Let a button say for a moment that it was done. */
export function confirm(button, said) {
  const before = button.textContent;
  button.textContent = said;
  setTimeout(() => (button.textContent = before), 1500);
}

/** Put a text on the clipboard. Where the browser has none for pages without TLS, by the old way. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = Object.assign(element("textarea", "", "unseen"), { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Call `tick` with the whole seconds that are left, each second, and with 0 at the end. */
export function countDown(seconds, tick) {
  const end = Date.now() + 1000 * seconds;
  const step = () => {
    const left = Math.max(0, Math.ceil((end - Date.now()) / 1000));
    tick(left);
    if (left) setTimeout(step, 250);
  };
  step();
}
