import { Contribution } from '../contribution/contribution.tsx';
import { LinkAsked } from '../contribution/told.tsx';
import type { DonorSession } from '../donor-session.ts';
import { headline, leadText } from '../live-words.ts';
import { restHeadline, restText } from '../limits/words.ts';
import { Cached } from './cached-section.tsx';
import { Limits } from './limits-section.tsx';
import { Work } from './work-section.tsx';

/** What a tab that has joined shows, one section after the other. */
export function LiveView({ session }: { session: DonorSession }) {
  return (
    <>
      <h1>{headline(session.state.value)}</h1>
      <p class="lead">{leadText(session.state.value)}</p>
      <Rest session={session} />
      <Work session={session} />
      <LinkAsked desk={session.desk} />
      <Contribution session={session} />
      <Limits session={session} />
      <Cached session={session} />
    </>
  );
}

/** Why the tab rests, by the donor's limits. */
function Rest({ session: { state, limits } }: { session: DonorSession }) {
  const { decision, circumstances } = limits?.state.value ?? {};
  if (state.value.phase !== 'resting' || !decision?.rest || !circumstances) return null;
  return (
    <p class="note rest">
      <strong>{restHeadline(decision.rest, circumstances.unixMs)}.</strong> {restText(decision.rest)}
    </p>
  );
}
