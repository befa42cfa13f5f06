import { KernelError, type KernelErrorReason } from '../backend.ts';
import { require } from './conformance-bench.ts';

/** Throws unless two results have the same bits. */
export function requireSame(a: Float32Array, b: Float32Array, what: string): void {
  require(a.length === b.length, `${what}: ${a.length} values against ${b.length}`);
  for (let i = 0; i < a.length; i++) require(Object.is(a[i], b[i]), `${what} differs at ${i}: ${a[i]} and ${b[i]}`);
}

/** Throws unless an attempt is refused for a reason. */
export async function requireRefusal(reason: KernelErrorReason, attempt: () => Promise<unknown>): Promise<void> {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof KernelError && error.reason === reason) return;
    throw error;
  }
  throw new Error(`was accepted instead of being refused as ${reason}`);
}
