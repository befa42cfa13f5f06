import { combineLayouts, dispatchLayouts } from '@shoal/protocol';

interface LapModel {
  hiddenSize: number;
  expertsPerLayer: number;
}

/**
 * Bytes of the frames of one peer and lap, as our own layouts make them. Of more than 256 experts a lap whose own are all among
 * the first 256 takes a byte less for each, which is not taken off here.
 */
export function lapFrameBytes({ hiddenSize, expertsPerLayer }: LapModel, numRows: number, numAssignments: number) {
  const expertBytes = expertsPerLayer > 256 ? 2 : 1;
  return {
    dispatchBytes: dispatchLayouts.f16.arrays({ numRows, numAssignments, hiddenSize, expertBytes }).totalBytes,
    combineBytes: combineLayouts.f16.arrays({ numRows, hiddenSize }).totalBytes,
  };
}

/** What so many row parts have to carry at the least: the hidden row out and the partial sum back, in f16. */
export function impliedBytes(hiddenSize: number, rowParts: number): number {
  return rowParts * 2 * hiddenSize * 2;
}

/**
 * Round trips until all of a message has arrived: SCTP sends 4 packets at once and doubles from there, so that 4.5 KB take
 * one, 14 KB three, 64 KB four (measured in Chrome).
 */
export function roundTrips(bytes: number): number {
  const FIRST_BURST_BYTES = 4_500;
  return Math.max(1, Math.ceil(Math.log2(bytes / FIRST_BURST_BYTES + 1)));
}
