import type { LinkCloseReason } from '@shoal/transport';

/** How a link's end reads in the event log, after the tab's name. */
export function describeClose(reason: LinkCloseReason): string {
  switch (reason) {
    case 'heartbeat':
      return 'stopped answering heartbeats';
    case 'goodbye':
      return 'said goodbye';
    case 'protocol':
      return 'sent bytes that are not of the protocol';
    case 'failed':
      return 'lost its connection';
    case 'closed':
    case 'remote-closed':
      return 'vanished';
    default:
      return reason satisfies never;
  }
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0)} MiB`;
}
