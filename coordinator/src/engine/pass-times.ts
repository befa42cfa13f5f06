/** What a pass computed, and how long that took. Times in milliseconds. */
export interface PassTimes {
  /** Of all its sequences, and of those the prompt rows. */
  rows: number;
  promptRows: number;
  /** From its beginning to its end. */
  passMs: number;
  /** Of that its own work, without waiting for laps or for the threads. */
  engineMs: number;
  /** With nothing to do but wait for its laps. */
  waitedMs: number;
}
