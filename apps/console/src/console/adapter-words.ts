import type { AdapterView } from '@shoal/protocol';
import { plural } from '../format.ts';

/** What came of a command, for a status line. */
export interface Result {
  ok: boolean;
  text: string;
}

/** Where an adapter changes the model, in words. */
export function adapterPlaces({
  denseLayers,
  expertLayers,
  mixes,
}: Pick<AdapterView, 'denseLayers' | 'expertLayers' | 'mixes'>): string {
  if (mixes > 0) return `a mixture of ${plural(mixes, 'adapter')}, by token`;
  const dense = denseLayers > 0 ? `the coordinator’s part of ${plural(denseLayers, 'layer')}` : '';
  const experts = expertLayers > 0 ? `routed experts of ${plural(expertLayers, 'layer')}` : '';
  return [dense, experts].filter((part) => part !== '').join(', ');
}
