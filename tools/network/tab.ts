import { randomBytes } from 'node:crypto';
import { beABrowser, PageInNode } from '../../test/tabs/page-in-node.ts';

/** The donor page's session over libwebrtc, as Chrome has it. Prints its phase, and its problem in full, as lines of JSON. */
await beABrowser();
const [, , url] = process.argv;
const page = new PageInNode({ url: url!, donorToken: randomBytes(16).toString('hex'), pledgeBytes: 2 ** 27, seed: 1 });
page.session.state.subscribe(({ phase, problem }) => {
  process.stdout.write(`${JSON.stringify({ phase, problem })}\n`);
});
await page.lend();
