import { KernelError } from '@shoal/kernels';
import type { Trouble } from '@shoal/protocol';
import { ShardError } from './errors.ts';

/** Limit of the signalling schema. */
export const MAX_MESSAGE_CHARS = 1000;

/** What the coordinator is told of an error while an assignment is loaded. */
export function troubleOf(error: unknown): Pick<Trouble, 'code' | 'message'> {
  const message = (error instanceof Error ? error.message : String(error)).slice(0, MAX_MESSAGE_CHARS);
  return { code: troubleCodeOf(error), message };
}

function troubleCodeOf(error: unknown): Trouble['code'] {
  if (error instanceof ShardError) return error.reason === 'hash' || error.reason === 'size' ? 'hash' : 'download';
  if (!(error instanceof KernelError)) return 'internal';
  switch (error.reason) {
    case 'out-of-memory':
    case 'device-lost':
    case 'limits':
      return error.reason;
    case 'bad-shard':
      return 'hash';
    case 'no-adapter':
      return 'device-lost';
    case 'bad-lap':
    case 'not-loaded':
    case 'compile':
      return 'internal';
  }
  return error.reason satisfies never;
}
