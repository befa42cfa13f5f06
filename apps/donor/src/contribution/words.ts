import type { Figures } from '@shoal/protocol';
import { formatCount } from '../format.ts';

/** `0 Wh`, `< 0.1 Wh`, `4.2 Wh`, `1.3 kWh` */
export function formatEnergy(wattHours: number): string {
  if (wattHours < 0.1) return wattHours > 0 ? '< 0.1 Wh' : '0 Wh';
  return wattHours < 1000 ? `${wattHours.toFixed(wattHours < 10 ? 1 : 0)} Wh` : `${(wattHours / 1000).toFixed(1)} kWh`;
}

/** Of a GPU that draws so much while it computes. */
export const energyOf = ({ busySeconds }: Figures, watts: number): string => formatEnergy((busySeconds * watts) / 3600);

/** "413 of your results (42 % of all) were re-checked: all correct." and the like. */
export function checkedText({ verifiedRows, rows }: Figures): string {
  if (verifiedRows === 0) return 'None of your results has been re-checked yet.';
  const share = rows === 0 ? 1 : Math.min(1, verifiedRows / rows);
  const part = share < 0.995 ? ` (${share < 0.01 ? 'less than 1' : Math.round(100 * share)} % of all)` : '';
  return `${formatCount(verifiedRows)} of your results${part} were re-checked: all correct.`;
}
