import type { ComponentChildren } from 'preact';
import { DEVICE_WORD } from '../device.ts';
import type { DonorSession } from '../donor-session.ts';
import type { DonorPhase, DonorState } from '../donor-state.ts';
import { formatBytes, formatDuration, formatMemory } from '../format.ts';
import { fetchedText } from './fetched-text.ts';

export function JoiningView({ session }: { session: DonorSession }) {
  const state = session.state.value;
  return (
    <>
      <h1>Joining</h1>
      <div class="card">
        <JoiningSteps state={state} />
        {state.device === 'gpu' && state.adapter?.isFallbackAdapter && (
          <p class="note">
            This browser runs WebGPU on the CPU instead of a graphics card. That works, but it is slow and keeps the CPU
            busy.
          </p>
        )}
        <div class="actions">
          <button type="button" onClick={() => session.stop()}>
            Stop
          </button>
        </div>
      </div>
    </>
  );
}

const STEP_OF_PHASE: Partial<Record<DonorPhase, number>> = {
  checking: 0,
  connecting: 1,
  downloading: 2,
  testing: 3,
  waiting: 4,
  working: 4,
};

/** The steps of joining with their figures; a problem is shown at the step that it interrupted. */
export function JoiningSteps({ state }: { state: DonorState }) {
  const { phase, interrupted, problem, adapter, standing, device } = state;
  const current = STEP_OF_PHASE[interrupted ?? phase] ?? 0;
  const stepProps = (index: number) => ({
    progress: (index < current ? 'done' : index > current ? 'todo' : problem ? 'failed' : 'now') as StepProgress,
  });
  return (
    <ol class="steps">
      <Step name={`Checking the ${DEVICE_WORD[device]}`} {...stepProps(0)}>
        {adapter ? adapterName(adapter, device) : `Asking the browser for a ${DEVICE_WORD[device]}`}
      </Step>
      <Step name="Connecting" {...stepProps(1)}>
        {state.model && current > 1 ? `To ${state.model.id}` : 'To the coordinator'}
      </Step>
      <Step name="Downloading" {...stepProps(2)}>
        <Download state={state} />
      </Step>
      <Step name="Self-test" {...stepProps(3)}>
        {testText(standing?.verifiedShare ?? null)}
      </Step>
      <Step name="Waiting for work" {...stepProps(4)}>
        The first work arrives when someone sends a prompt
      </Step>
    </ol>
  );
}

type StepProgress = 'done' | 'now' | 'todo' | 'failed';
const STEP_WORD: Record<StepProgress, string> = { done: 'done', now: 'in progress', todo: 'not yet', failed: 'failed' };
const STEP_MARK: Record<StepProgress, string> = { done: '✓', now: '›', todo: '·', failed: '!' };

function Step({ name, progress, children }: { name: string; progress: StepProgress; children: ComponentChildren }) {
  return (
    <li data-progress={progress} aria-current={progress === 'now' ? 'step' : undefined}>
      <span class="mark" aria-hidden="true">
        {STEP_MARK[progress]}
      </span>
      <div>
        <h2>
          {name} <span class="visually-hidden">({STEP_WORD[progress]})</span>
        </h2>
        {progress !== 'todo' && <div class="detail">{children}</div>}
      </div>
    </li>
  );
}

function Download({ state: { download, device, visit } }: { state: DonorState }) {
  if (!download) return <>Waiting to hear which part of the model is wanted</>;
  const { doneBytes, totalBytes, cachedBytes, bytesPerSecond, secondsLeft } = download;
  const uploading = download.phase === 'uploading';
  const parts = [
    uploading
      ? `${formatBytes(totalBytes)} downloaded, loading ${device === 'cpu' ? 'into memory' : 'onto the GPU'}`
      : `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    !uploading && bytesPerSecond && bytesPerSecond > 0 && `${formatBytes(bytesPerSecond)}/s`,
    !uploading && secondsLeft !== undefined && secondsLeft >= 0 && `${formatDuration(secondsLeft)} left`,
    cachedBytes > 0 && `${formatBytes(cachedBytes)} from the cache`,
    fetchedText(visit),
  ].filter(Boolean);
  return (
    <>
      <progress max={Math.max(1, totalBytes)} value={doneBytes} aria-label="Weights downloaded" />
      <span>{parts.join(' · ')}</span>
    </>
  );
}

function testText(verifiedShare: number | null): string {
  if (verifiedShare === null) return 'The coordinator sends questions whose answers it knows';
  return `${Math.round(verifiedShare * 100)} % of the answers were right`;
}

function adapterName(adapter: NonNullable<DonorState['adapter']>, device: DonorState['device']): string {
  if (device === 'cpu') return `CPU, ${adapter.description}`;
  const name = adapter.description || [adapter.vendor, adapter.architecture].filter(Boolean).join(' ') || 'A GPU';
  return `${name} · buffers up to ${formatMemory(adapter.maxBufferBytes)}`;
}
