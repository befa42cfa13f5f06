import type { DonorSession } from '../donor-session.ts';
import { headline, leadText } from '../live-words.ts';
import { Cached } from './cached-section.tsx';
import { Contribution } from './contribution-section.tsx';
import { Limits } from './limits-section.tsx';
import { Work } from './work-section.tsx';

/** What a tab that has joined shows, one section after the other. */
export function LiveView({ session }: { session: DonorSession }) {
  return (
    <>
      <h1>{headline(session.state.value)}</h1>
      <p class="lead">{leadText(session.state.value)}</p>
      <Work session={session} />
      <Contribution session={session} />
      <Limits session={session} />
      <Cached session={session} />
    </>
  );
}
