import type { TokenTrace } from '@shoal/protocol';
import { peerLetter } from '../palette.ts';

const order = new Map<string, number>();

/** Numbers each tab when it is first seen. It keeps its number, and so its colour and letter, while the page is open. */
export function learnPeers(tokens: readonly TokenTrace[]): void {
  for (const token of tokens) {
    for (const lap of token.laps) {
      for (const { peerId } of lap.experts) if (peerId !== null && !order.has(peerId)) order.set(peerId, order.size);
    }
  }
}

export const peerIndex = (peerId: string): number => order.get(peerId) ?? 0;
export const letterOf = (peerId: string): string => peerLetter(peerIndex(peerId));
