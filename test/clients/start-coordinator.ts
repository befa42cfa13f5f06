import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = join(import.meta.dirname, 'coordinator.ts');
const START_MS = 60_000;

/** Starts the coordinator for clients, of the default model or of an encoder, in a process of its own, which ends with this one. */
export async function startForClients(
  served: 'text' | 'encoder' = 'text',
): Promise<{ url: string; close: () => Promise<void> }> {
  const child = spawn(process.execPath, ['--import', 'tsx', PROGRAM, served], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const [url] = (await Promise.race([
    once(createInterface(child.stdout), 'line', { signal: AbortSignal.timeout(START_MS) }),
    ended.then(([code]) => Promise.reject(new Error(`The coordinator ended with ${code} before it listened.`))),
  ])) as [string];
  const close = async () => {
    child.stdin.end();
    await ended;
  };
  return { url, close };
}
