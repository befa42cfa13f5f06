import type { Command } from '@shoal/protocol';

/** Whether only one coordinator has what the command is about: the home of a tab, or the one that answers a request. */
export function isForOne(command: Command): boolean {
  return 'peerId' in command || command.command === 'cancel-request';
}
