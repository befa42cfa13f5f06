import type { TestProject } from 'vitest/node';
import { launchSharedChromium } from '../../tools/browser/chromium.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Endpoint of the Chromium with WebGPU that all browser tests share. */
    chromium: string;
  }
}

/** Vitest's global set-up of the browser project. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await launchSharedChromium();
  project.provide('chromium', server.wsEndpoint());
  return () => server.close();
}
