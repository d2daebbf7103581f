// What the reader thinks of a reply of an experiment, for whoever runs it.

import { reader, send } from "./api.js";

const KINDS = { up: "thumb_up", down: "thumb_down" };

/** Whether anybody counts what is thought of this voice. */
export const counted = (voice) => voice.road === "experiment";

/** Give a reply a thumb; a server that takes none is not offered another. */
export async function judge(card, way) {
  card.judged(way);
  const { id } = card.reply;
  await tell({ completion_id: id, kind: KINDS[way] }).catch(() => card.withoutThumbs());
}

/** Say that another reply came instead of an earlier one; if that is not taken, nothing is lost. */
export async function replaced(before, reply) {
  const told = { completion_id: before, kind: "regenerate", replaced_by: reply.id };
  if (before && reply.state === "done") await tell(told).catch(() => undefined);
}

const tell = (what) => send("v1/feedback", { ...what, user: reader() });
