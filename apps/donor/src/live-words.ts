import { DEVICE_WORD } from './device.ts';
import type { DonorState } from './donor-state.ts';
import { formatLayers, formatPlural } from './format.ts';
import { coverageText } from './need-text.ts';

/** How it goes, in one line. */
export function headline({ phase, standing, device, isFreed }: DonorState): string {
  const word = DEVICE_WORD[device];
  if (phase === 'paused') return `Paused: your ${word} is idle`;
  if (phase === 'resting') return 'Resting, as your limits want';
  if (phase === 'finishing')
    return isFreed ? 'The operator is freeing this tab. Thank you!' : 'Finishing the work in progress';
  if (!standing || standing.experts === 0) return 'Connected: no part of the model is free for this tab yet';
  return phase === 'working'
    ? `Your ${word} is helping with an answer`
    : `Ready: your ${word} helps as soon as someone asks`;
}

/** What the tab holds, and how the swarm is. */
export function leadText({ phase, standing, stats, info, isFreed }: DonorState): string {
  if (phase === 'finishing' && isFreed)
    return 'No action needed: it hands over its work, rests, and comes back by itself when it is wanted.';
  const coverage = (info && coverageText(info)) ?? '';
  if (phase === 'resting') return coverage;
  if (phase === 'paused') {
    // A tab that was paused before it joined has been given nothing to load.
    const isLoaded = (stats?.allocatedBytes ?? 0) > 0;
    return isLoaded
      ? 'Its weights stay loaded, so that it can go on at once.'
      : 'Nothing is loaded. Weights that are cached in this browser need no download when you resume.';
  }
  if (!standing || standing.experts === 0)
    return `No action needed: it gets a part as soon as one is wanted. ${coverage}`;
  const held = `It holds ${formatPlural(standing.experts, 'expert')} of ${formatLayers(standing.layers)}.`;
  return `${held} ${coverage}`;
}
