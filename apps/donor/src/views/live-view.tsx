import { Contribution } from '../contribution/contribution.tsx';
import { LinkAsked } from '../contribution/told.tsx';
import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import type { DonorState } from '../donor-state.ts';
import { formatLayers, formatPlural } from '../format.ts';
import { Cached } from './cached-section.tsx';
import { Limits } from './limits-section.tsx';
import { Work } from './work-section.tsx';

/** What a tab that has joined shows, one section after the other. */
export function LiveView({ session }: { session: DonorSession }) {
  return (
    <>
      <h1>{headline(session.state.value)}</h1>
      <Work session={session} />
      <LinkAsked desk={session.desk} />
      <Contribution session={session} />
      <Limits session={session} />
      <Cached session={session} />
    </>
  );
}

function headline({ phase, standing, device }: DonorState): string {
  const held =
    standing && standing.experts > 0
      ? `${formatLayers(standing.layers)} · ${formatPlural(standing.experts, 'expert')}`
      : undefined;
  if (phase === 'paused') return `Paused: your ${DEVICE_WORD[device]} is idle, and the weights stay loaded`;
  if (phase === 'finishing') return 'Finishing the work in progress';
  if (!held) return 'Connected, waiting for experts';
  return phase === 'working' ? `Your tab is computing ${held}` : `Ready to compute ${held}`;
}
