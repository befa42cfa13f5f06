import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import { isJoining, isLive } from '../donor-state.ts';
import { formatBytes, formatCount, formatDuration, formatMemory } from '../format.ts';
import { PHASE_WORD, SIGN_OF_PHASE } from '../tab-sign.ts';
import { InviteField } from '../views/invite-field.tsx';
import { SignIcon } from '../views/sign-icon.tsx';
import { EmbedConsent } from './embed-consent.tsx';
import type { EmbedViewProps } from './embed-props.ts';

export function EmbedView(props: EmbedViewProps) {
  const { session } = props;
  const { phase } = session.state.value;
  return (
    <main>
      <header>
        <span class="brand">Shoal</span>
        <span class="status" data-sign={SIGN_OF_PHASE[phase]} role="status">
          <SignIcon sign={SIGN_OF_PHASE[phase]} /> {PHASE_WORD[phase]}
        </span>
      </header>
      <Body {...props} />
    </main>
  );
}

function Body(props: EmbedViewProps) {
  const { session } = props;
  const { phase } = session.state.value;
  if (phase === 'consent') return <EmbedConsent {...props} />;
  if (phase === 'finished') return <Finished {...props} />;
  if (isJoining(phase)) return <Joining session={session} />;
  if (isLive(phase)) return <Live session={session} />;
  return <Trouble {...props} />;
}

function Joining({ session }: { session: DonorSession }) {
  const { download } = session.state.value;
  return (
    <>
      {download && download.totalBytes > 0 && (
        <>
          <progress max={download.totalBytes} value={download.doneBytes} aria-label="Weights downloaded" />
          <p class="hint">
            {formatBytes(download.doneBytes)} of {formatBytes(download.totalBytes)}
            {download.secondsLeft !== undefined && ` · ${formatDuration(download.secondsLeft)} left`}
          </p>
        </>
      )}
      <button type="button" onClick={() => session.stop()}>
        Stop
      </button>
    </>
  );
}

function Live({ session }: { session: DonorSession }) {
  const { phase, device, pledgeBytes, visit } = session.state.value;
  const isPaused = phase === 'paused';
  return (
    <>
      <p>
        {visit.tokensHelped > 0
          ? `Your ${DEVICE_WORD[device]} has helped to write ${formatCount(visit.tokensHelped)} words and parts of words.`
          : `Your ${DEVICE_WORD[device]} is ready. Work arrives when someone asks the model something.`}
      </p>
      <p class="hint">
        Up to {formatMemory(pledgeBytes)} lent · {formatBytes(visit.downloadedBytes)} downloaded ·{' '}
        {formatBytes(visit.wireBytes)} of traffic
      </p>
      <p class="hint">It stops when you close this page or go to another.</p>
      <div class="actions">
        {phase !== 'finishing' && (
          <button type="button" onClick={() => (isPaused ? session.resume() : session.pause())}>
            {isPaused ? 'Resume' : 'Pause'}
          </button>
        )}
        <button type="button" onClick={() => (phase === 'finishing' ? session.stop() : session.finish())}>
          {phase === 'finishing' ? 'Stop now' : 'Stop'}
        </button>
      </div>
    </>
  );
}

function Finished(props: EmbedViewProps) {
  const { visit } = props.session.state.value;
  return (
    <>
      <h1>Thank you.</h1>
      <p>
        {visit.tokensHelped > 0
          ? `You helped to write ${formatCount(visit.tokensHelped)} words and parts of words.`
          : 'There was no work this time.'}
      </p>
      <EmbedConsent {...props} again />
    </>
  );
}

function Trouble({ session }: EmbedViewProps) {
  const { problem, phase } = session.state.value;
  return (
    <>
      <h1>{problem?.title ?? 'Something went wrong'}</h1>
      <p>{problem?.happened}</p>
      <p>{problem?.todo}</p>
      {problem?.code === 'invite' && <InviteField session={session} />}
      <div class="actions">
        <button type="button" onClick={() => session.retry()}>
          Try again now
        </button>
        {phase === 'away' && (
          <button type="button" onClick={() => session.stop()}>
            Stop
          </button>
        )}
      </div>
    </>
  );
}
