import { type Dismissed, explainNoPath, type RefusalCode, type Trouble } from '@shoal/protocol';
import type { ConnectionEnd } from './coordinator-connection.ts';
import type { Device } from './device.ts';
import type { ProbeFailure } from './messages.ts';

/** A problem in the donor's terms, and what follows from it. */
export interface Problem {
  code: string;
  title: string;
  happened: string;
  todo: string;
  /** `auto`: the tab retries by itself. `manual`: the donor must act. `reload`: a newer page is needed. */
  recovery: 'auto' | 'manual' | 'reload';
  /** Nothing is wrong: the page says it calmly, and offers nothing to press against it. */
  isCalm?: true;
  /** The coordinator's own message, if it sent one. */
  detail?: string;
  /** When the tab is to come back by itself, and until when it may not, as a date in epoch milliseconds. */
  retryAfterMs?: number | undefined;
  untilMs?: number | undefined;
}

type ProblemText = Pick<Problem, 'title' | 'happened' | 'todo' | 'recovery' | 'isCalm'>;

const KEPT = 'Everything downloaded so far is kept.';
const RETRIES = 'No action needed: this tab reconnects by itself.';
const UPDATE_DRIVER =
  'Update the graphics driver or the browser, or lend less memory: an overloaded GPU can return wrong results.';
const UPDATE_BROWSER = 'Update the browser, or lend from another computer: this one may be faulty.';

const PROBE: Record<ProbeFailure, ProblemText> = {
  insecure: {
    title: 'This address is not secure',
    happened: 'Browsers let a page use your hardware only over HTTPS or on localhost.',
    todo: 'Open the same page with https:// at the start of its address, or ask the operator for a secure address.',
    recovery: 'manual',
  },
  'no-webgpu': {
    title: 'This browser doesn’t support WebGPU',
    happened: 'Lending a GPU needs WebGPU, which this browser doesn’t offer.',
    todo: 'Use a current version of Chrome, Edge, Firefox or Safari. If yours is up to date, WebGPU may be turned off in its settings. You can also lend your CPU instead, which is much slower.',
    recovery: 'manual',
  },
  'no-adapter': {
    title: 'No usable GPU found',
    happened: 'The browser supports WebGPU but has no GPU available for it right now.',
    todo: 'Turn on hardware acceleration in the browser’s settings, update the graphics driver, then try again. You can also lend your CPU instead, which is much slower.',
    recovery: 'manual',
  },
  'no-wasm': {
    title: 'This browser is too old',
    happened: 'Lending a CPU needs WebAssembly with SIMD, which this browser doesn’t support.',
    todo: 'Use a current version of Chrome, Edge, Firefox or Safari.',
    recovery: 'manual',
  },
};

const REFUSED: Record<RefusalCode, ProblemText> = {
  version: {
    title: 'This page is out of date',
    happened: 'The coordinator uses a newer protocol than this copy of the page.',
    todo: `Reload the page to get the current version. ${KEPT}`,
    recovery: 'reload',
  },
  full: {
    title: 'No room right now',
    happened: 'The coordinator already has as many tabs as it can handle.',
    todo: RETRIES,
    recovery: 'auto',
  },
  draining: {
    title: 'The coordinator is shutting down',
    happened: 'It accepts no new tabs because it is about to stop or restart.',
    todo: RETRIES,
    recovery: 'auto',
  },
  'too-small': {
    title: 'Too little memory',
    happened: 'The memory that you lend can’t hold even one expert of this model.',
    todo: 'Lend more memory and try again.',
    recovery: 'manual',
  },
  banned: {
    title: 'This browser or network is paused',
    happened: 'Results were wrong, so the coordinator accepts no work until the time below.',
    todo: 'If you think this is a mistake, please contact the operator.',
    recovery: 'manual',
  },
  removed: {
    title: 'The operator keeps this browser out for now',
    happened: 'The operator of this swarm has ended your visit; the reason is below.',
    todo: 'Thank you for what you have lent so far. If you’d like to know more, please ask the operator.',
    recovery: 'manual',
  },
  drained: {
    title: 'The operator is freeing this tab. Thank you!',
    happened:
      'Your help isn’t needed for the moment. Nothing is wrong with your tab or your computer, and both may rest.',
    todo: `No action needed: this tab comes back by itself when it is wanted. ${KEPT}`,
    recovery: 'auto',
    isCalm: true,
  },
  invite: {
    title: 'This swarm is invite-only',
    happened: 'The coordinator only accepts tabs with a valid invitation.',
    todo: 'Open your invitation link or paste it here. Invitations come from the operator of the swarm.',
    recovery: 'manual',
  },
  limit: {
    title: 'Too many tabs from your network',
    happened: 'The coordinator limits how many tabs can join from one network address, and how often.',
    todo: `${RETRIES} Closing one of your other tabs makes room.`,
    recovery: 'auto',
  },
  wait: {
    title: 'Please wait a little',
    happened: 'Earlier visits from this browser or network failed again and again, which costs everybody time.',
    todo: `${RETRIES} If it keeps happening, lend less memory, or use a steadier connection.`,
    recovery: 'auto',
  },
  'no-cpu': {
    title: 'This swarm only accepts GPUs',
    happened: 'The operator has chosen not to use CPUs, which are slower.',
    todo: 'Open this page in a browser with WebGPU, on a computer with a GPU.',
    recovery: 'manual',
  },
  kind: {
    title: 'This page is too old for the model',
    happened: 'The coordinator serves a model whose experts this page doesn’t compute.',
    todo: 'Reload the page. If that doesn’t help, please tell the operator.',
    recovery: 'reload',
  },
  invalid: {
    title: 'The coordinator rejected this page',
    happened: 'It didn’t understand what this page told it about itself.',
    todo: 'Reload the page. If that doesn’t help, please tell the operator.',
    recovery: 'reload',
  },
};

const DISMISSED: Record<Exclude<Dismissed['code'], 'finished'>, ProblemText> = {
  removed: {
    title: 'Removed from the swarm',
    happened: 'The coordinator has removed this tab from the swarm; its reason is below.',
    todo: 'This tab won’t do any more work. If you’d like to know more, please ask the operator.',
    recovery: 'manual',
  },
  'self-test': {
    title: 'The self-test failed',
    happened: 'Your GPU’s answers differ from the known correct ones, so none of them were used.',
    todo: UPDATE_DRIVER,
    recovery: 'manual',
  },
  'wrong-results': {
    title: 'Wrong results',
    happened: 'The coordinator found wrong results from this tab, or from another tab of this browser.',
    todo: UPDATE_DRIVER,
    recovery: 'manual',
  },
  protocol: {
    title: 'The coordinator closed the connection',
    happened: 'It received a message from this tab that it didn’t understand.',
    todo: 'Reload the page to get the current version.',
    recovery: 'reload',
  },
  draining: REFUSED.draining,
  drained: REFUSED.drained,
  timeout: {
    title: 'The connection has ended',
    happened: 'The coordinator ended the connection; its reason is below.',
    todo: `${RETRIES} ${KEPT}`,
    recovery: 'auto',
  },
  replaced: {
    title: 'Another tab took over',
    happened: 'Another page of this browser has joined in place of this tab.',
    todo: 'Continue in the other tab, or lend from this one instead.',
    recovery: 'manual',
  },
};

const TROUBLE: Record<Trouble['code'], ProblemText> = {
  download: {
    title: 'Download failed',
    happened: 'The weights couldn’t be downloaded, even after several attempts.',
    todo: `Check your network connection. ${KEPT} This tab tries again automatically.`,
    recovery: 'auto',
  },
  hash: {
    title: 'Damaged weights',
    happened: 'The downloaded weights were damaged twice in a row, so they were discarded.',
    todo: 'Something between you and the coordinator may be altering downloads, or its files are damaged. Please tell the operator.',
    recovery: 'manual',
  },
  'out-of-memory': {
    title: 'The GPU is out of memory',
    happened: 'Your GPU doesn’t have enough free memory for the amount that you lend.',
    todo: `Lend less, or close other programs that use the GPU, then try again. ${KEPT}`,
    recovery: 'manual',
  },
  'device-lost': {
    title: 'The GPU is no longer available',
    happened:
      'The browser lost the GPU, which can happen after a driver update, when a laptop sleeps, or under heavy load.',
    todo: `This tab starts again automatically. ${KEPT}`,
    recovery: 'auto',
  },
  limits: {
    title: 'This doesn’t fit on your GPU',
    happened: 'The coordinator asked for more than you lend, or more than your GPU can hold in one piece.',
    todo: 'Nothing was loaded beyond your limit. Try again, or tell the operator.',
    recovery: 'manual',
  },
  internal: {
    title: 'Something went wrong on this page',
    happened: 'This is a bug in Shoal, not a problem with your computer.',
    todo: 'Reload the page. If it happens again, please send the operator the message below.',
    recovery: 'reload',
  },
};

const GONE: ProblemText = {
  title: 'Can’t reach the coordinator',
  happened: 'The connection was lost. The coordinator may be restarting, or your network may be down.',
  todo: `${RETRIES} ${KEPT}`,
  recovery: 'auto',
};

/** Texts that differ if the device is a CPU. */
const ON_CPU: Partial<Record<string, Partial<ProblemText>>> = {
  'self-test': {
    happened: 'Your CPU’s answers differ from the known correct ones, so none of them were used.',
    todo: UPDATE_BROWSER,
  },
  'wrong-results': { todo: UPDATE_BROWSER },
  'out-of-memory': {
    title: 'Out of memory',
    happened: 'The browser couldn’t get as much memory as you lend.',
    todo: `Lend less, or close other tabs and programs, then try again. ${KEPT}`,
  },
  limits: {
    title: 'This doesn’t fit',
    happened: 'The coordinator asked for more than you lend, or more than a browser can hold.',
  },
};

/** Adapts a problem's text to the device that is lent. */
export function onDevice(problem: Problem, device: Device): Problem {
  return device === 'cpu' ? { ...problem, ...ON_CPU[problem.code] } : problem;
}

export function probeProblem(reason: ProbeFailure): Problem {
  return { code: reason, ...PROBE[reason] };
}

export function troubleProblem({ code, message }: Pick<Trouble, 'code' | 'message'>): Problem {
  return { code, ...TROUBLE[code], detail: message };
}

export function configureProblem(reason: string, detail: string): Problem {
  if (reason === 'no-adapter') return { ...probeProblem('no-adapter'), detail };
  const known = reason === 'out-of-memory' || reason === 'limits' || reason === 'device-lost' ? reason : 'internal';
  return troubleProblem({ code: known, message: detail });
}

/** The problem with which a connection ended, other than by `finish`. */
export function endProblem(end: ConnectionEnd): Problem {
  switch (end.kind) {
    case 'gone':
      return { code: 'gone', ...GONE };
    case 'no-channel':
      return noChannelProblem(end);
    case 'refused':
      return { code: end.code, ...REFUSED[end.code], ...saidBy(end.refusal) };
    case 'dismissed':
      return dismissalProblem(end.dismissed);
  }
  return end satisfies never;
}

/** The cause is what the page measured; what the operator can do is shown as well, for donors who ask them. */
function noChannelProblem({ facts, addresses }: Extract<ConnectionEnd, { kind: 'no-channel' }>): Problem {
  const { happened, donor, operator } = explainNoPath(facts, addresses);
  const detail = `For the operator: ${operator}`;
  return { code: 'no-channel', title: 'No direct connection', happened, todo: donor, recovery: 'auto', detail };
}

/** If the coordinator asks the tab to come back, it retries whatever the code. */
function dismissalProblem(dismissed: Dismissed): Problem {
  const { code, retry } = dismissed;
  if (code === 'finished') return { code: 'gone', ...GONE };
  const text = DISMISSED[code];
  const recovery = retry ? 'auto' : text.recovery === 'auto' ? 'manual' : text.recovery;
  return { code, ...text, recovery, ...saidBy(dismissed) };
}

/** What the coordinator said of the end. */
function saidBy({ message, untilMs, retryAfterMs }: Pick<Dismissed, 'message' | 'untilMs' | 'retryAfterMs'>) {
  return { detail: message, untilMs, retryAfterMs };
}
