import { type Browser, chromium } from 'playwright';
import { inject } from 'vitest';
import './setup.ts';

/**
 * The Chromium of test/browser/setup.ts, or another that was launched to be shared, with separate contexts: `close()` closes those
 * and leaves it running.
 */
export const connectChromium = (endpoint = inject('chromium')): Promise<Browser> => chromium.connect(endpoint);
