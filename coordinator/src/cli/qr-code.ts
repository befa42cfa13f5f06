import { encodeQR } from 'qr';

/** Two modules above each other are one character: the upper and the lower half of the cell. */
const HALVES = [
  ['█', '▀'],
  ['▄', ' '],
] as const;
/** White on black whatever the terminal's own colours are, since many cameras don't read the inverse. */
const [COLOURS, RESET] = ['\u001B[97;40m', '\u001B[0m'];
/** The standard asks for 4; cameras do with 2. */
const QUIET_MODULES = 2;

/** A QR code as lines for a terminal; undefined where the terminal is too narrow for it. */
export function qrCode(text: string, columns = 80): string | undefined {
  const dark = encodeQR(text, 'raw', { border: QUIET_MODULES });
  const width = dark[0]!.length;
  if (width > columns) return undefined;
  const lines: string[] = [];
  for (let y = 0; y < dark.length; y += 2) {
    // Below an odd number of rows comes a light one.
    const cells = dark[y]!.map((upper, x) => HALVES[upper ? 1 : 0][(dark[y + 1]?.[x] ?? false) ? 1 : 0]);
    lines.push(`${COLOURS}${cells.join('')}${RESET}\n`);
  }
  return lines.join('');
}
