import type { TestProject } from 'vitest/node';
import { launchSharedChromium } from '../../tools/browser/chromium.ts';

/** A name of this machine that is not a secure address for browsers, unlike 127.0.0.1. */
export const INSECURE_HOST = 'shoal.test';

declare module 'vitest' {
  interface ProvidedContext {
    /** Endpoint of the Chromium with WebGPU that all browser tests share. */
    chromium: string;
  }
}

/** Vitest's global set-up of the browser project. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await launchSharedChromium({ extraFlags: [`--host-resolver-rules=MAP ${INSECURE_HOST} 127.0.0.1`] });
  project.provide('chromium', server.wsEndpoint());
  return () => server.close();
}
