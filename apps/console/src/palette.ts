/**
 * Peers' colours: the Okabe–Ito set, which people with the common kinds of colour blindness can tell apart, with each
 * hue moved until it has at least 3:1 against our surfaces. Eight is as many as anyone tells apart: from the ninth on
 * the colours repeat with a mark (see `peerMark`), and every peer also has a letter.
 */
const light = ['#0072b2', '#d05a00', '#008a65', '#b0508a', '#a97500', '#2488c4', '#7d7400', '#56606a'] as const;
const dark = ['#56b4e9', '#f08a3c', '#2fc79a', '#e391c3', '#e6ac2f', '#8aa4ff', '#e5dc5a', '#c3ccd4'] as const;

export type Scheme = 'light' | 'dark';

export function peerColour(index: number, scheme: Scheme): string {
  const colours = scheme === 'dark' ? dark : light;
  return colours[index % colours.length] as string;
}

/** 0: plain; 1, 2, …: how many bars of the surface colour are drawn across the peer's cells. */
export function peerMark(index: number): number {
  return Math.floor(index / light.length);
}

/** 0 → A, 25 → Z, 26 → AA: as spreadsheets name columns. */
export function peerLetter(index: number): string {
  const rest = Math.floor(index / 26);
  return (rest > 0 ? peerLetter(rest - 1) : '') + String.fromCharCode(65 + (index % 26));
}

/** Relative luminance contrast of two `#rrggbb` colours (WCAG 2.2), 1 to 21. */
export function contrast(a: string, b: string): number {
  const [hi, lo] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (hi + 0.05) / (lo + 0.05);
}

function luminance(hex: string): number {
  const channel = (at: number): number => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
}
