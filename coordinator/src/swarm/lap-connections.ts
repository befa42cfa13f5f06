import { MAX_LAP_CONNECTIONS, type RowFormat } from '@shoal/protocol';
import type { Config } from '../config.ts';

/**
 * libdatachannel sends ten packets of 1,150 B of a connection's data at once, and the rest a round trip later, when these are
 * acknowledged (docs/adr/0017).
 */
const BURST_BYTES = 10 * 1150;
/** Of an ordinary lap: two streams, or one with a draft. */
const ORDINARY_ROWS = 2;
/** Of a value: int8 has a scale for each 32. */
const VALUE_BYTES: Readonly<Record<RowFormat, number>> = { f16: 2, int8: 1 + 1 / 32 };

/** `auto`: all that there may be where an ordinary lap's rows are over one connection's burst; else one. */
export function lapConnectionsOf(chosen: Config['lapConnections'], hiddenSize: number, rowFormat: RowFormat): number {
  if (chosen !== 'auto') return Number(chosen);
  return ORDINARY_ROWS * hiddenSize * VALUE_BYTES[rowFormat] > BURST_BYTES ? MAX_LAP_CONNECTIONS : 1;
}
