/**
 * Colours of tabs: the Okabe–Ito set for colour blindness, adjusted to a contrast of at least 3:1 against our surfaces. More than
 * eight are hard to tell apart, so from the ninth on they repeat with a mark (`peerMark`). Every tab also has a letter.
 */
const light = ['#0072b2', '#d05a00', '#008a65', '#b0508a', '#a97500', '#2488c4', '#7d7400', '#56606a'] as const;
const dark = ['#56b4e9', '#f08a3c', '#2fc79a', '#e391c3', '#e6ac2f', '#8aa4ff', '#e5dc5a', '#c3ccd4'] as const;

export type Scheme = 'light' | 'dark';

export function peerColour(index: number, scheme: Scheme): string {
  const colours = scheme === 'dark' ? dark : light;
  return colours[index % colours.length] as string;
}

/** Number of bars in the surface colour that are drawn across the tab's cells. */
export function peerMark(index: number): number {
  return Math.floor(index / light.length);
}

/** 0 → A, 25 → Z, 26 → AA, as in spreadsheets. */
export function peerLetter(index: number): string {
  const rest = Math.floor(index / 26);
  return (rest > 0 ? peerLetter(rest - 1) : '') + String.fromCharCode(65 + (index % 26));
}

/** Contrast ratio of two `#rrggbb` colours (WCAG 2.2), 1 to 21. */
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
