import { type Browser, chromium } from 'playwright';
import { inject } from 'vitest';
import './setup.ts';

/** The Chromium of test/browser/setup.ts with separate contexts: `close()` closes those and leaves it running. */
export const connectChromium = (): Promise<Browser> => chromium.connect(inject('chromium'));
