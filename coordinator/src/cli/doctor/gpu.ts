import { type Finding, ok, warning } from './finding.ts';
import { CHROMIUM_FLAGS, findChromium, WEBGPU_FLAG } from './chromium.ts';

const TIMEOUT_MS = 30_000;

export interface SeenAdapter {
  vendor: string;
  architecture: string;
  description: string;
  maxBufferBytes: number;
}

/** What a browser on this machine has; undefined: there is no browser that this process can ask. */
export type LookForAdapter = () => Promise<{ adapter: SeenAdapter | undefined } | undefined>;

const AS_DONOR = 'A donor sees on the page itself which adapter the browser offers, and more at chrome://gpu';

/** The coordinator needs no GPU: this tells whether this machine could lend one. */
export async function checkGpu(look: LookForAdapter = askChromium): Promise<Finding> {
  try {
    const seen = await look();
    if (!seen) return ok(`not tried, since there is no Chromium with the playwright package here. ${AS_DONOR}`);
    const { adapter } = seen;
    if (!adapter)
      return warning(
        'Chromium offers no WebGPU adapter on this machine, so it could lend its processor alone',
        `${AS_DONOR}.`,
      );
    const name = [adapter.vendor, adapter.architecture, adapter.description].filter((part) => part !== '').join(' ');
    const buffers = `buffers up to ${(adapter.maxBufferBytes / 2 ** 30).toFixed(1)} GiB`;
    // Chromium's renderer for machines without a GPU.
    if (/swiftshader|llvmpipe/i.test(name))
      return ok(`Chromium offers ${name}, ${buffers}: software, no GPU; a coordinator needs none`);
    return ok(`Chromium offers ${name}, ${buffers}`);
  } catch (error) {
    return warning(`Chromium could not be asked: ${(error as Error).message.split('\n')[0]}`, `${AS_DONOR}.`);
  }
}

async function askChromium(): Promise<{ adapter: SeenAdapter | undefined } | undefined> {
  // Not a dependency of the package: it is there in a checkout, or where it was installed separately.
  const playwright = await import('playwright').catch(() => undefined);
  const executablePath = playwright && findChromium(() => playwright.chromium.executablePath());
  if (executablePath === undefined) return undefined;
  const browser = await playwright!.chromium.launch({
    executablePath,
    args: [...CHROMIUM_FLAGS, WEBGPU_FLAG],
    timeout: TIMEOUT_MS,
  });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIMEOUT_MS);
    // WebGPU exists in secure contexts alone, as localhost is one. No request leaves the browser.
    await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: '' }));
    await page.goto('http://localhost/');
    return { adapter: await page.evaluate(readAdapter) };
  } finally {
    await browser.close();
  }
}

/** Runs in the page. */
async function readAdapter(): Promise<SeenAdapter | undefined> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return undefined;
  const { vendor, architecture, description } = adapter.info;
  return { vendor, architecture, description, maxBufferBytes: adapter.limits.maxStorageBufferBindingSize };
}
