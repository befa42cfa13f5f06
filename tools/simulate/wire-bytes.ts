import { combineLayouts, dispatchLayouts } from '@shoal/protocol';

interface LapModel {
  hiddenSize: number;
  expertsPerLayer: number;
}

/**
 * Size of one peer's frames in one lap, from the protocol's layouts. With more than 256 experts, a lap that uses only
 * the first 256 saves a byte per assignment, which is ignored here.
 */
export function lapFrameBytes({ hiddenSize, expertsPerLayer }: LapModel, numRows: number, numAssignments: number) {
  const expertBytes = expertsPerLayer > 256 ? 2 : 1;
  return {
    dispatchBytes: dispatchLayouts.f16.arrays({ numRows, numAssignments, hiddenSize, expertBytes }).totalBytes,
    combineBytes: combineLayouts.f16.arrays({ numRows, hiddenSize }).totalBytes,
  };
}

/** Minimum bytes for `rowParts`: a hidden row out and a partial sum back for each, in f16. */
export function impliedBytes(hiddenSize: number, rowParts: number): number {
  return rowParts * 2 * hiddenSize * 2;
}

/**
 * Round trips until a whole message has arrived: SCTP starts with 4 packets and doubles from there, so that 4.5 KB take
 * one, 14 KB three, 64 KB four (measured in Chrome).
 */
export function roundTrips(bytes: number): number {
  const FIRST_BURST_BYTES = 4_500;
  return Math.max(1, Math.ceil(Math.log2(bytes / FIRST_BURST_BYTES + 1)));
}
