import { MAX_LAP_CONNECTIONS, type RowFormat } from '@shoal/protocol';
import type { Config } from '../config.ts';

/** libdatachannel sends ten packets of 1,150 B on a connection, then waits a round trip for their acknowledgement (docs/adr/0017). */
const BURST_BYTES = 10 * 1150;
/** Rows of an ordinary lap: two streams, or one with a draft. */
const ORDINARY_ROWS = 2;
/** Bytes of a value; int8 has a scale for each 32. */
const VALUE_BYTES: Readonly<Record<RowFormat, number>> = { f16: 2, int8: 1 + 1 / 32 };

/** Number of WebRTC connections per tab. `auto`: the maximum if an ordinary lap's rows exceed one connection's burst, else 1. */
export function lapConnectionsOf(chosen: Config['lapConnections'], hiddenSize: number, rowFormat: RowFormat): number {
  if (chosen !== 'auto') return Number(chosen);
  return ORDINARY_ROWS * hiddenSize * VALUE_BYTES[rowFormat] > BURST_BYTES ? MAX_LAP_CONNECTIONS : 1;
}
