import { KEPT_PLEDGES } from '@shoal/peer';
import { DEVICE_WORD } from '../device.ts';
import { type DonorState, isLive } from '../donor-state.ts';
import { formatBytes, formatDuration, formatFigure, formatLayers, formatMemory, formatPlural } from '../format.ts';
import type { LimitsState } from '../limits/limits-keeper.ts';
import type { LimitSettings } from '../limits/settings.ts';
import { restHeadline, restReason } from '../limits/words.ts';
import type { Problem } from '../problems.ts';
import { PHASE_WORD } from '../tab-sign.ts';
import type { FoundDevice } from './devices.ts';
import { limitsText } from './limit-words.ts';

/** What the donor is asked to agree to, before anything is downloaded. */
export interface Terms extends FoundDevice {
  url: URL;
  pledgeBytes: number;
  keptBytes: number;
  cacheDir: string;
  limits: LimitSettings;
}

/** The terms, as the donor page has them, a line for each. */
export function termsText({ url, device, adapter, pledgeBytes, keptBytes, cacheDir, limits }: Terms): string {
  const word = DEVICE_WORD[device];
  const name = [adapter.vendor, adapter.architecture, adapter.description].filter(Boolean).join(' ');
  const limited = limitsText(limits);
  const lines: [string, string][] = [
    ['Lend to', url.href],
    [
      word,
      device === 'cpu'
        ? `${adapter.description} of it, which is much slower than a GPU, and up to ${formatMemory(pledgeBytes)} of memory`
        : `${name}, and up to ${formatMemory(pledgeBytes)} of its memory`,
    ],
    [
      'Download',
      `at most ${formatMemory(pledgeBytes)} to start with, and a part of that whenever the work is redistributed; up to ` +
        `${formatMemory(KEPT_PLEDGES * pledgeBytes)} stay in ${cacheDir}` +
        (keptBytes > 0 ? `, where ${formatBytes(keptBytes)} are now` : ''),
    ],
    ['Traffic', 'a few kilobytes for each token that it helps with, and hardly any without work; it is shown here'],
    ...(limited === undefined ? [] : [['Limits', limited] satisfies [string, string]]),
    ['Power', `while answers are computed, the ${word} works hard; between them it is idle`],
    [
      'Privacy',
      `the operator sees your IP address, ${device === 'cpu' ? 'how many threads' : 'which GPU'} and how much memory you ` +
        'lend. Others’ prompts pass through this machine as numbers from which most of a prompt can be reconstructed, and ' +
        'yours, if you use the model, through theirs',
    ],
  ];
  return lines.map(([term, text]) => `  ${term.padEnd(9)} ${text}.\n`).join('');
}

/** One line about the present state. */
export function stateLine(state: DonorState, limits?: LimitsState): string {
  const { phase, problem, retryAtMs } = state;
  const rest = limits?.decision.rest;
  if (phase === 'resting' && rest) return `${restHeadline(rest, limits.circumstances.unixMs)}. ${restReason(rest)}`;
  const word = PHASE_WORD[phase];
  if (phase === 'downloading') return `${word}${downloadText(state)}`;
  if (phase === 'away' && problem) {
    const inS = retryAtMs === undefined ? 0 : Math.max(0, (retryAtMs - performance.now()) / 1000);
    return `${problem.title}. Next attempt in ${formatDuration(Math.ceil(inS))}`;
  }
  return isLive(phase) ? `${word} · ${plain(figuresText(state))}` : word;
}

/** Without what keeps a line of a page from breaking. */
function plain(text: string): string {
  return text.replaceAll('\u2060', '');
}

function downloadText({ download }: DonorState): string {
  if (!download || download.totalBytes === 0) return '';
  const { doneBytes, totalBytes, cachedBytes, bytesPerSecond, secondsLeft } = download;
  const parts = [
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    cachedBytes > 0 && `${formatBytes(cachedBytes)} from the disk`,
    bytesPerSecond !== undefined && `${formatBytes(bytesPerSecond)}/s`,
    secondsLeft !== undefined && `${formatDuration(secondsLeft)} left`,
  ].filter(Boolean);
  return ` ${Math.floor((100 * doneBytes) / totalBytes)} % (${parts.join(', ')})`;
}

function figuresText({ standing, visit }: DonorState): string {
  return [
    standing &&
      standing.experts > 0 &&
      `${formatPlural(standing.experts, 'expert')} of ${formatLayers(standing.layers)}`,
    standing && `${formatFigure(standing.rowsPerSecond)} rows/s`,
    `helped with ${formatPlural(visit.tokensHelped, 'token')}`,
    `${formatBytes(visit.wireBytes)} of traffic`,
  ]
    .filter(Boolean)
    .join(' · ');
}

/** What was done, at the end. */
export function farewell({ visit }: DonorState): string {
  const { startedMs, endedMs, tokensHelped, rows, wireBytes, downloadedBytes } = visit;
  const seconds = startedMs === undefined ? 0 : ((endedMs ?? performance.now()) - startedMs) / 1000;
  return (
    `Thank you. Helped with ${formatPlural(tokensHelped, 'token')} (${formatPlural(rows, 'row')}) in ${formatDuration(seconds)}: ` +
    `${formatBytes(downloadedBytes)} of weights downloaded, ${formatBytes(wireBytes)} of traffic.`
  );
}

/** What to do about problems whose remedy on a page is another. */
const REMEDIES: Readonly<Record<string, string>> = {
  version: 'Install the version of Shoal that the coordinator has.',
  kind: 'Install the version of Shoal that the coordinator has.',
  invalid: 'Install the version of Shoal that the coordinator has. If that doesn’t help, please tell the operator.',
  protocol: 'Install the version of Shoal that the coordinator has.',
  invite: 'Give the invitation, or the whole link, with --invite. Invitations come from the operator of the swarm.',
  'no-cpu': 'Lend a GPU: --device gpu.',
  'too-small': 'Lend more memory with --memory.',
  'out-of-memory': 'Lend less with --memory, or close other programs that use the GPU.',
  limits: 'Lend another amount with --memory, or tell the operator.',
  internal: 'This is a bug in Shoal: please send the operator this message.',
  replaced: 'End the other donor of this user, or wait for it to end.',
  'self-test': 'Update the graphics driver, or lend the processor (--device cpu).',
  'wrong-results': 'Update the graphics driver, or lend the processor (--device cpu).',
};

/** A problem that ends the visit, with what to do. */
export function problemText({ code, title, happened, todo, detail }: Problem): string {
  const words = [`${title}.`, REMEDIES[code] === undefined ? happened : '', detail && `${ended(detail)}`];
  return [...words, REMEDIES[code] ?? todo].filter(Boolean).join(' ');
}

function ended(sentence: string): string {
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
