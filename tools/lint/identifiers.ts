/** Blanks comments and the text of strings; every other character keeps its place. */
export function withoutText(code: string): string {
  return code.replace(
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
    (match) => (match.startsWith('`') ? inTemplate(match) : blank(match)),
  );
}

const blank = (text: string): string => text.replace(/[^\n]/g, ' ');

/** `${}` contains code. */
function inTemplate(text: string): string {
  return text.replace(/\$\{[^{}]*\}|[^\n$]|\$/g, (part) => (part.startsWith('${') ? part : ' '));
}

/** `maxTabRows` → max, tab, rows. */
export const wordsOf = (name: string): string[] =>
  name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean);
