import type { Figures } from '@shoal/protocol';
import { formatCount } from '../format.ts';

/** `0.1`, `3.5`, `120`: hours, below a hundred with a decimal. */
export function formatHours(seconds: number): string {
  const hours = seconds / 3600;
  return hours < 100 ? hours.toFixed(1) : formatCount(hours);
}

/** `4.2 Wh`, `1.3 kWh` */
export function formatEnergy(wattHours: number): string {
  return wattHours < 1000 ? `${wattHours.toFixed(wattHours < 10 ? 1 : 0)} Wh` : `${(wattHours / 1000).toFixed(1)} kWh`;
}

/** Of a GPU that draws so much while it computes. */
export const energyOf = ({ busySeconds }: Figures, watts: number): string => formatEnergy((busySeconds * watts) / 3600);

/** "413 results were computed again and all were right" and the like. */
export function checkedText({ verifiedRows, rows }: Figures): string {
  if (verifiedRows === 0) return 'None of your results was checked yet.';
  const share = rows === 0 ? 1 : Math.min(1, verifiedRows / rows);
  const part = share < 0.995 ? `, ${share < 0.01 ? 'less than 1' : Math.round(100 * share)} % of all` : '';
  return `${formatCount(verifiedRows)} of your results were re-checked${part}: all correct.`;
}
