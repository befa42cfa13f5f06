import type { Dismissed, RefusalCode, Trouble } from '@shoal/protocol';
import type { Device } from './device.ts';
import type { ProbeFailure } from './messages.ts';

/** What went wrong in the donor's terms, and what comes of it. */
export interface Problem {
  code: string;
  title: string;
  happened: string;
  todo: string;
  /**
   * `auto`: the tab comes back by itself. `manual`: only the donor can do something. `reload`: a newer page is needed.
   */
  recovery: 'auto' | 'manual' | 'reload';
  /** The coordinator's own words, where it sent some. */
  detail?: string;
}

type ProblemText = Omit<Problem, 'code' | 'detail'>;

const KEPT = 'Everything downloaded so far is kept.';

const PROBE: Record<ProbeFailure, ProblemText> = {
  insecure: {
    title: 'This address is not secure',
    happened: 'Browsers let a page use the GPU only over https, or on localhost.',
    todo: 'Open the same page with https:// in front, or ask whoever runs it for a secure address.',
    recovery: 'manual',
  },
  'no-webgpu': {
    title: 'This browser has no WebGPU',
    happened: 'A GPU is lent through WebGPU, and this browser doesn’t offer it.',
    todo: 'Use a current Chrome, Edge, Firefox or Safari, or lend your processor instead, which is much slower. If yours is current, WebGPU may be switched off in its settings.',
    recovery: 'manual',
  },
  'no-adapter': {
    title: 'No usable GPU found',
    happened: 'The browser knows WebGPU, but offers no GPU for it at the moment.',
    todo: 'Switch on hardware acceleration in the browser’s settings, update the graphics driver, then try again. Or lend your processor instead, which is much slower.',
    recovery: 'manual',
  },
  'no-wasm': {
    title: 'This browser is too old',
    happened: 'A processor is lent through WebAssembly with SIMD, and this browser doesn’t offer it.',
    todo: 'Use a current Chrome, Edge, Firefox or Safari.',
    recovery: 'manual',
  },
};

const REFUSED: Record<RefusalCode, ProblemText> = {
  version: {
    title: 'This page is out of date',
    happened: 'The coordinator speaks a newer version than this copy of the page.',
    todo: `Reload the page to get the current one. ${KEPT}`,
    recovery: 'reload',
  },
  full: {
    title: 'No room at the moment',
    happened: 'The coordinator has as many tabs as it can take.',
    todo: 'Nothing to do: the tab asks again by itself.',
    recovery: 'auto',
  },
  draining: {
    title: 'The coordinator is closing',
    happened: 'It takes no new tabs because it is about to stop or restart.',
    todo: 'Nothing to do: the tab asks again by itself.',
    recovery: 'auto',
  },
  'too-small': {
    title: 'Too little memory lent',
    happened: 'Not even one part of this model fits into the memory that you lend.',
    todo: 'Lend more memory and try again.',
    recovery: 'manual',
  },
  banned: {
    title: 'This tab was turned away',
    happened: 'The coordinator no longer accepts work from this browser.',
    todo: 'If you think that this is a mistake, ask whoever runs it.',
    recovery: 'manual',
  },
  invite: {
    title: 'This swarm is for invited donors',
    happened: 'The coordinator takes tabs with a valid invitation only.',
    todo: 'Open the invitation link that you were sent, or paste it here. Whoever runs the swarm hands them out.',
    recovery: 'manual',
  },
  limit: {
    title: 'Your network has its share of tabs',
    happened: 'The coordinator takes only so many tabs, and so many attempts a minute, from one network address.',
    todo: 'Nothing to do: the tab asks again by itself. Closing another tab of yours makes room.',
    recovery: 'auto',
  },
  'no-cpu': {
    title: 'This swarm takes GPUs only',
    happened: 'Whoever runs the coordinator has chosen not to use processors, which are slower.',
    todo: 'Open the page in a browser with WebGPU, on a computer with a GPU.',
    recovery: 'manual',
  },
  invalid: {
    title: 'The coordinator did not understand this page',
    happened: 'It refused what this page says about itself.',
    todo: 'Reload the page. If that doesn’t help, tell whoever runs it.',
    recovery: 'reload',
  },
};

const DISMISSED: Record<Exclude<Dismissed['code'], 'finished'>, ProblemText> = {
  removed: {
    title: 'Removed by the operator',
    happened: 'Whoever runs the coordinator has taken this tab out of the swarm.',
    todo: 'Ask them if you would like to know why. Your tab does nothing more.',
    recovery: 'manual',
  },
  'self-test': {
    title: 'The self-test failed',
    happened: 'Your GPU’s answers differ from the known right ones, so none of them was used.',
    todo: 'Update the graphics driver or the browser, or lend less memory: an overfull GPU can compute nonsense.',
    recovery: 'manual',
  },
  'wrong-results': {
    title: 'Results of this tab were wrong',
    happened: 'The coordinator computed some of your GPU’s work again and found another result, twice.',
    todo: 'Update the graphics driver or the browser, or lend less memory: an overfull GPU can compute nonsense.',
    recovery: 'manual',
  },
  protocol: {
    title: 'The coordinator closed the connection',
    happened: 'It received something from this tab that it did not understand.',
    todo: 'Reload the page to get the current version.',
    recovery: 'reload',
  },
  draining: REFUSED.draining,
  timeout: {
    title: 'The connection went quiet',
    happened: 'The coordinator waited for this tab and heard nothing.',
    todo: `Nothing to do: the tab comes back by itself. ${KEPT}`,
    recovery: 'auto',
  },
  replaced: {
    title: 'Another tab took over',
    happened: 'This browser has joined with this tab’s number from elsewhere.',
    todo: 'Go on in the other tab, or lend from this one instead.',
    recovery: 'manual',
  },
};

const TROUBLE: Record<Trouble['code'], ProblemText> = {
  download: {
    title: 'The download broke off',
    happened: 'The weights could not be fetched, though it was tried several times.',
    todo: `Check the network connection. ${KEPT} The tab tries again by itself.`,
    recovery: 'auto',
  },
  hash: {
    title: 'Damaged weights',
    happened: 'What arrived is not what was announced, twice in a row, so it was thrown away.',
    todo: 'Something between you and the coordinator alters downloads, or its files are damaged: tell whoever runs it.',
    recovery: 'manual',
  },
  'out-of-memory': {
    title: 'The GPU’s memory is full',
    happened: 'Your GPU could not hold as much as you lend.',
    todo: `Lend less, or close other programs that use the GPU, then try again. ${KEPT}`,
    recovery: 'manual',
  },
  'device-lost': {
    title: 'The GPU went away',
    happened: 'The browser lost the GPU, as happens with a driver update, a sleeping laptop or an overload.',
    todo: `The tab starts again by itself. ${KEPT}`,
    recovery: 'auto',
  },
  limits: {
    title: 'This does not fit your GPU',
    happened: 'The coordinator asked for more than you lend, or than your GPU can hold in one piece.',
    todo: 'Nothing was loaded beyond your limit. Try again, or tell whoever runs the coordinator.',
    recovery: 'manual',
  },
  internal: {
    title: 'Something failed on this page',
    happened: 'That is a mistake in Shoal, not in your computer.',
    todo: 'Reload the page. If it comes back, tell whoever runs the coordinator what it says below.',
    recovery: 'reload',
  },
};

const GONE: ProblemText = {
  title: 'The coordinator can’t be reached',
  happened: 'The connection is gone: it may be restarting, or your network may be away.',
  todo: `Nothing to do: the tab comes back by itself. ${KEPT}`,
  recovery: 'auto',
};

const NO_CHANNEL: ProblemText = {
  title: 'No direct connection',
  happened: 'The coordinator answers, but the channel for the work (WebRTC) did not open.',
  todo: 'A firewall or a VPN may block it. The tab goes on trying; another network may work at once.',
  recovery: 'auto',
};

const UPDATE_BROWSER = 'Update the browser, or lend from another computer: this one may have a fault.';

/** Where a processor's problem is another than a GPU's. */
const ON_CPU: Partial<Record<string, Partial<ProblemText>>> = {
  'self-test': {
    happened: 'Your processor’s answers differ from the known right ones, so none of them was used.',
    todo: UPDATE_BROWSER,
  },
  'wrong-results': {
    happened: 'The coordinator computed some of your processor’s work again and found another result, twice.',
    todo: UPDATE_BROWSER,
  },
  'out-of-memory': {
    title: 'The memory is full',
    happened: 'The browser could not hold as much as you lend.',
    todo: `Lend less, or close other tabs and programs, then try again. ${KEPT}`,
  },
  limits: {
    title: 'This does not fit',
    happened: 'The coordinator asked for more than you lend, or than a browser can hold.',
  },
};

/** The problem as it is told to a donor who lends this device. */
export function onDevice(problem: Problem, device: Device): Problem {
  return device === 'cpu' ? { ...problem, ...ON_CPU[problem.code] } : problem;
}

export function probeProblem(reason: ProbeFailure): Problem {
  return { code: reason, ...PROBE[reason] };
}

export function refusalProblem(code: RefusalCode, detail: string): Problem {
  return { code, ...REFUSED[code], detail };
}

/** Where the coordinator says that coming back makes sense, the tab does so whatever the code. */
export function dismissalProblem({ code, message, retry }: Dismissed & { code: keyof typeof DISMISSED }): Problem {
  const text = DISMISSED[code];
  const recovery = retry ? 'auto' : text.recovery === 'auto' ? 'manual' : text.recovery;
  return { code, ...text, recovery, detail: message };
}

export function troubleProblem({ code, message }: Pick<Trouble, 'code' | 'message'>): Problem {
  return { code, ...TROUBLE[code], detail: message };
}

export function configureProblem(reason: string, detail: string): Problem {
  if (reason === 'no-adapter') return { ...probeProblem('no-adapter'), detail };
  const known = reason === 'out-of-memory' || reason === 'limits' || reason === 'device-lost' ? reason : 'internal';
  return troubleProblem({ code: known, message: detail });
}

export const goneProblem: Problem = { code: 'gone', ...GONE };
export const noChannelProblem: Problem = { code: 'no-channel', ...NO_CHANNEL };
