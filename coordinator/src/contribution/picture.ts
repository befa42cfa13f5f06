export interface PictureFacts {
  name: string | null;
  team: string | null;
  tokens: number;
  week: number;
  seconds: number;
  model: string;
}

const count = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** The width for a line of text, beyond which it is compressed. */
const LINE_WIDTH = 360;
/** About what a letter is wide, as a part of its height. */
const LETTER_WIDTH = 0.58;

/** A picture of 400 × 160 of what a donor did, without scripts, fonts or links. Names in it are text and nothing else. */
export function pictureOf({ name, team, tokens, week, seconds, model }: PictureFacts): string {
  const who = name ?? 'A donor';
  const hours = (seconds / 3600).toFixed(seconds < 360_000 ? 1 : 0);
  const lent = seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${hours} hours`;
  const sum = `${count.format(Math.floor(tokens))} tokens`;
  const more = `${count.format(Math.floor(week))} in the last seven days · ${lent} lent`;
  const where = `${team === null ? '' : `${team} · `}${model} on Shoal`;
  const lines = [line(who, 44, 20, 600), line(sum, 84, 30, 700), line(more, 112, 14, 400), line(where, 136, 13, 400)];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="160" viewBox="0 0 400 160" role="img" aria-label="${escaped(`${who} helped with ${sum}`)}">
<rect width="400" height="160" rx="14" fill="#0f1418"/>
<path d="M330 40c12-12 26-12 36 0l10-7v14l-10-7c-10 12-24 12-36 0z" fill="#5cc3ee"/>
<g fill="#e6edf3" font-family="system-ui, sans-serif">
${lines.join('\n')}
</g>
</svg>
`;
}

function line(text: string, y: number, size: number, weight: number): string {
  const isLong = [...text].length * size * LETTER_WIDTH > LINE_WIDTH;
  const fit = isLong ? ` textLength="${LINE_WIDTH}" lengthAdjust="spacingAndGlyphs"` : '';
  return `<text x="20" y="${y}" font-size="${size}" font-weight="${weight}"${fit}>${escaped(text)}</text>`;
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (char) => ESCAPES[char]!);
