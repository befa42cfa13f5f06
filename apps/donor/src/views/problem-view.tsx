import { useEffect, useState } from 'preact/hooks';
import type { DonorSession } from '../donor-session.ts';
import { formatBytes, formatCount, formatMemory, formatPlural } from '../format.ts';
import { type DonorState, isJoining } from '../donor-state.ts';
import type { Problem } from '../problems.ts';
import { cpuTerms } from './device-choice.tsx';
import { Figure } from './figure.tsx';
import { InviteField } from './invite-field.tsx';
import { JoiningSteps } from './joining-view.tsx';
import { KeptWeights } from './kept-weights.tsx';
import { MemorySlider } from './memory-slider.tsx';

/** GPU problems after which the CPU can be offered instead. */
const NO_GPU_CODES = new Set(['no-webgpu', 'no-adapter']);
/** Problems that a different amount of memory may solve. */
const MEMORY_CODES = new Set(['out-of-memory', 'too-small', 'self-test', 'limits']);

export function ProblemView({ session }: { session: DonorSession }) {
  const state = session.state.value;
  const { problem, interrupted, phase, retryAtMs, pledgeBytes, device, stats, visit } = state;
  const [wantedBytes, setWantedBytes] = useState(pledgeBytes);
  if (!problem) return null;
  return (
    <>
      <h1>{problem.title}</h1>
      <section class="card problem" aria-label="What happened">
        <p>{problem.happened}</p>
        <p>
          <strong>{problem.todo}</strong>
        </p>
        {phase === 'away' && stats && stats.coordinators > 0 && (
          <p>Meanwhile the tab answers for {formatPlural(stats.coordinators, 'other coordinator')}.</p>
        )}
        {problem.detail && !problem.isCalm && <p class="quote">“{problem.detail}”</p>}
        {problem.isCalm && problem.detail && <p>{problem.detail}</p>}
        {MEMORY_CODES.has(problem.code) && (
          <MemorySlider device={device} pledgeBytes={wantedBytes} onChange={setWantedBytes} />
        )}
        {device === 'gpu' && NO_GPU_CODES.has(problem.code) && <p>{cpuTerms()}</p>}
        {problem.code === 'invite' && <InviteField session={session} />}
        <div class="actions">
          {isHeld(problem) || problem.isCalm ? null : problem.recovery === 'reload' ? (
            <button type="button" class="primary" onClick={() => location.reload()}>
              Reload the page
            </button>
          ) : (
            <button
              type="button"
              class="primary"
              onClick={() => {
                if (wantedBytes !== pledgeBytes) session.changePledge(wantedBytes);
                session.retry();
              }}
            >
              {wantedBytes === pledgeBytes ? 'Try again now' : `Try again with ${formatMemory(wantedBytes)}`}
            </button>
          )}
          {device === 'gpu' && NO_GPU_CODES.has(problem.code) && (
            <button type="button" onClick={() => session.lendCpu()}>
              Lend my CPU instead
            </button>
          )}
          <button type="button" onClick={() => session.stop()}>
            Stop
          </button>
          {phase === 'away' && retryAtMs !== undefined && <Countdown retryAtMs={retryAtMs} />}
        </div>
        {interrupted && isJoining(interrupted) && problem.code !== 'gone' && !problem.isCalm && (
          <JoiningSteps state={state} />
        )}
      </section>
      {visit.rows > 0 && <VisitSoFar state={state} />}
      <KeptWeights session={session} />
    </>
  );
}

/** Whether the operator keeps the tab out for now, so that pressing a button would not help. */
function isHeld({ code, untilMs }: Problem): boolean {
  return code === 'removed' && untilMs !== undefined && Date.now() < untilMs;
}

/** Whatever is the matter, what was done is done. */
function VisitSoFar({ state: { visit, stats, lentBytes } }: { state: DonorState }) {
  return (
    <section class="card" aria-label="This visit so far">
      <dl class="figures">
        <Figure name="Tokens" value={formatCount(visit.tokensHelped)}>
          that you helped compute in this visit
        </Figure>
        <Figure name="Traffic" value={formatBytes(visit.wireBytes)}>
          {formatBytes(visit.downloadedBytes)} of weights downloaded
        </Figure>
        <Figure name="Memory in use" value={formatMemory(stats?.allocatedBytes ?? 0)}>
          of {formatMemory(lentBytes)} lent
        </Figure>
      </dl>
    </section>
  );
}

function Countdown({ retryAtMs }: { retryAtMs: number }) {
  const [nowMs, setNowMs] = useState(performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((retryAtMs - nowMs) / 1000));
  return (
    <span class="hint" role="timer">
      Next attempt in {seconds} s
    </span>
  );
}
