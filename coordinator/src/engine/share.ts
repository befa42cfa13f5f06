import type { Sequence } from './sequence.ts';

/** What one pass takes of the running sequences. */
export interface Share {
  sequences: Sequence[];
  /** Prompt rows among its rows. */
  prefillRows: number;
}

/**
 * The next pass of one of `lanes` lanes: about that part of all rows, of sequences that no other pass has. Decoding sequences
 * come first, in their order, then at most `prefillRows` prompt rows. A prompt's piece is cut to what is left of the share; where
 * that is less than half of it, it is left to another lane, since each piece costs its sequence whole laps.
 */
export function takeShare(running: readonly Sequence[], lanes: number, prefillRows: number): Share {
  const share = Math.ceil(totalRows(running, lanes, prefillRows) / lanes);
  const ready = running.filter((sequence) => !sequence.inPass);
  const sequences: Sequence[] = [];
  let rows = 0;
  for (const sequence of ready) {
    if (sequence.state === 'prefill') continue;
    if (rows + sequence.rowsAhead / 2 > share) break;
    sequences.push(sequence);
    rows += sequence.rowsAhead;
  }
  let taken = 0;
  for (const sequence of ready) {
    if (sequence.state !== 'prefill' || taken === prefillRows) continue;
    const wanted = Math.min(sequence.rowsAhead, prefillRows - taken);
    const room = share - rows - taken;
    if (sequences.length > 0 && room < wanted / 2) break;
    sequences.push(sequence);
    taken += sequences.length === 1 ? wanted : Math.min(wanted, room);
  }
  return { sequences, prefillRows: taken };
}

/** Rows that the next passes of all lanes have together, where each takes its share. */
export function totalRows(running: readonly Sequence[], lanes: number, prefillRows: number): number {
  let [decode, prefill] = [0, 0];
  for (const sequence of running) {
    // As many again, for all that is known before it has ended.
    if (sequence.inPass) decode += sequence.rowsInPass;
    else if (sequence.state === 'prefill') prefill += Math.min(sequence.rowsAhead, prefillRows);
    else decode += sequence.rowsAhead;
  }
  return decode + Math.min(prefill, lanes * prefillRows);
}
