import type { Browser, BrowserContext, Page } from 'playwright';
import { launchChromium, type LaunchOptions } from './chromium.ts';

export interface DonorTab {
  page: Page;
  context: BrowserContext;
  /** Console errors of the page and its worker. */
  errors: string[];
}

/** A headless Chromium with WebGPU that opens donor tabs. */
export class DonorBrowser {
  readonly browser: Browser;

  /** `close()` ends a launched browser; a browser that was connected to only loses what was opened through it. */
  constructor(browser: Browser) {
    this.browser = browser;
  }

  static async launch(options: LaunchOptions = {}): Promise<DonorBrowser> {
    return new DonorBrowser(await launchChromium(options));
  }

  /**
   * Opens the donor page as a new donor (with its own storage, token and cache) and lends `pledgeMiB`.
   * `exchangeMbit`: that it agrees to exchange weights with other tabs, and how fast. The page accepts `auto` only from an automated browser on this machine.
   */
  async open(url: string, pledgeMiB: number, device: 'gpu' | 'cpu' = 'gpu', exchangeMbit?: number): Promise<DonorTab> {
    const context = await this.browser.newContext();
    const page = await context.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error') errors.push(message.text());
    });
    const exchange = exchangeMbit === undefined ? '' : `&exchange=${exchangeMbit}`;
    await page.goto(`${url}/?auto=1&pledge=${pledgeMiB}&device=${device}${exchange}`);
    return { page, context, errors };
  }

  async close(): Promise<void> {
    await this.browser.close();
  }
}
