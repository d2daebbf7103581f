// A request as a command for a terminal.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The same request with curl; the key is left to the reader's environment. */
export function curl(url, body, needsKey) {
  const lines = [`curl ${quoted(url)}`, `-H 'Content-Type: application/json'`];
  if (needsKey) lines.push(`-H "Authorization: Bearer $MIEN_KEY"`);
  return [...lines, `-d ${quoted(JSON.stringify(body))}`].join(" \\\n  ");
}
