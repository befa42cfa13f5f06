import type { Browser, BrowserContext, Page } from 'playwright';
import { launchChromium, type LaunchOptions } from './chromium.ts';

export interface DonorTab {
  page: Page;
  context: BrowserContext;
  /** What the page or its worker wrote to the console as an error. */
  errors: string[];
}

/** A headless Chromium with WebGPU, in which donors' tabs are opened. */
export class DonorBrowser {
  readonly browser: Browser;

  /** `close()` closes this browser; one that is connected to, not launched, only loses what was opened through it. */
  constructor(browser: Browser) {
    this.browser = browser;
  }

  static async launch(
    say: (line: string) => void = () => {},
    options: Omit<LaunchOptions, 'say'> = {},
  ): Promise<DonorBrowser> {
    return new DonorBrowser(await launchChromium({ say, ...options }));
  }

  /**
   * Open the donor page as a donor of its own (own storage, so own token and cache) and let it lend `pledgeMiB`.
   * `auto` is honoured by the page only for a browser under automation on this machine.
   */
  async open(url: string, pledgeMiB: number, device: 'gpu' | 'cpu' = 'gpu'): Promise<DonorTab> {
    const context = await this.browser.newContext();
    const page = await context.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    await page.goto(`${url}/?auto=1&pledge=${pledgeMiB}&device=${device}`);
    return { page, context, errors };
  }

  async close(): Promise<void> {
    await this.browser.close();
  }
}
