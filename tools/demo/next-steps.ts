import type { Readable } from 'node:stream';
import type { Coordinator } from '../../coordinator/src/index.ts';

/** How long the demo waits for somebody who has left. */
const STAY_MINUTES = 10;

const AFTERWARDS = `  npm start                  a coordinator that stays, for real donors and clients
  npm start -- --help        all its options; --model ORG/NAME serves a model of the Hugging Face hub
  README.md, docs/API.md, docs/OPERATIONS.md
`;

/** What to try while the demo's coordinator and tabs are up. */
export function stillRunning({
  url,
  scheduler,
  adminToken,
}: Pick<Coordinator, 'url' | 'scheduler' | 'adminToken'>): string {
  const body = JSON.stringify({ model: scheduler.modelId, prompt: 'The old boat', max_tokens: 60 });
  return `
All of this is still running. While it is:
  ${url}/playground    write a story of your own, and see which tab computed each word
  ${url}/console${adminToken === undefined ? '' : `#token=${adminToken}`}    the tabs, and what they do
  ${url}/              what donors see: lend this browser's GPU, too
  ${url}/docs          the API, with examples in curl, Python and TypeScript
  curl ${url}/v1/completions -H 'content-type: application/json' -d '${body}'

Next:
${AFTERWARDS}
Press Enter to end the demo. It ends by itself in ${STAY_MINUTES} minutes.
`;
}

/** What to do after a demo that nobody watches. */
export function ended(): string {
  return `
The demo has ended, and its coordinator with it. Next:
  npm run demo -- --keep     the same, and it stays up, with addresses to open
${AFTERWARDS}`;
}

/** Resolves at the next line of input, at its end, when `signal` aborts, or when the demo has stayed long enough. */
export async function waitForEnter(
  input: Readable & { unref?(): void },
  signal: AbortSignal,
  stayMs = STAY_MINUTES * 60_000,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, stayMs);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    if (signal.aborted) done();
    signal.addEventListener('abort', done, { once: true });
    input.once('data', done).once('end', done).resume();
  });
  // Otherwise the input keeps the process alive.
  input.pause();
  input.unref?.();
}
