import type { TestProject } from 'vitest/node';
import { startForClients } from '../start-coordinator.ts';

/** Vitest's global set-up: one coordinator for all clients. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { url, close } = await startForClients();
  project.provide('coordinatorUrl', url);
  return close;
}

declare module 'vitest' {
  export interface ProvidedContext {
    coordinatorUrl: string;
  }
}
