import type { WireFaults } from '@shoal/transport';
import type { LineOptions } from './line.ts';
import { beABrowser, PageInNode, type PageOptions, type TabReport } from './page-in-node.ts';
import type { Pace } from './paced-backend.ts';

/** Messages from the parent process. The tab ends when their channel closes, so that nothing is left behind. */
export type ToTab =
  | { type: 'lend'; options: PageOptions }
  | { type: 'wire'; faults: Partial<WireFaults> }
  | { type: 'place'; pace: Pace; line: LineOptions }
  | { type: 'report' };
export type FromTab =
  | { type: 'open' }
  | { type: 'state'; phase: string; problem: string | undefined; downloads: number }
  | { type: 'report'; report: TabReport };

/** Time for goodbyes to be sent. */
const LAST_WORDS_MS = 500;

let page: PageInNode | undefined;

function tell(message: FromTab): void {
  if (process.connected) process.send!(message);
}

process.on('message', (message: ToTab) => {
  if (message.type === 'wire') return page?.setFaults(message.faults);
  if (message.type === 'place') return page?.place(message.pace, message.line);
  if (message.type === 'report') return page && tell({ type: 'report', report: page.report() });
  page = new PageInNode(message.options);
  page.session.state.subscribe(({ phase, problem }) =>
    tell({ type: 'state', phase, problem: problem?.code, downloads: page!.downloads }),
  );
  void page.lend();
});

process.on('SIGTERM', () => {
  page?.session.stop();
  setTimeout(() => process.exit(0), LAST_WORDS_MS);
});
process.on('disconnect', () => process.exit(0));

// simple-peer warns of candidates that this WebRTC cannot read (mDNS names); others remain.
console.warn = () => {};
await beABrowser();
tell({ type: 'open' });
