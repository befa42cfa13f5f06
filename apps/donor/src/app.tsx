import type { DonorSession } from './donor-session.ts';
import { isJoining, isLive, type DonorPhase } from './donor-state.ts';
import { SIGN_OF_PHASE, stateWord } from './tab-sign.ts';
import { AsleepView } from './views/asleep-view.tsx';
import { ConsentView } from './views/consent-view.tsx';
import { FinishedView } from './views/finished-view.tsx';
import { JoiningView } from './views/joining-view.tsx';
import { LiveView } from './views/live-view.tsx';
import { ProblemView } from './views/problem-view.tsx';
import { SignIcon } from './views/sign-icon.tsx';

export function App({ session }: { session: DonorSession }) {
  const { phase } = session.state.value;
  return (
    <>
      <header class="masthead">
        <a class="brand" href="./">
          <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
            <path d="M3 9c5-5 11-5 15 0l4-3v6l-4-3c-4 5-10 5-15 0z" />
            <path d="M10 21c5-5 11-5 15 0l4-3v6l-4-3c-4 5-10 5-15 0z" />
          </svg>
          Shoal
        </a>
        <p class="status" data-sign={SIGN_OF_PHASE[phase]} role="status">
          <SignIcon sign={SIGN_OF_PHASE[phase]} /> {stateWord(session.state.value)}
        </p>
      </header>
      <main>
        <View phase={phase} session={session} />
      </main>
    </>
  );
}

function View({ phase, session }: { phase: DonorPhase; session: DonorSession }) {
  if (phase === 'consent') return <ConsentView session={session} />;
  if (phase === 'finished') return <FinishedView session={session} />;
  if (phase === 'asleep') return <AsleepView />;
  if (isJoining(phase)) return <JoiningView session={session} />;
  if (isLive(phase)) return <LiveView session={session} />;
  return <ProblemView session={session} />;
}
