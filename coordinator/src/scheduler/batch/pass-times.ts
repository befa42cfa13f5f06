/** What a pass computed, and how long that took. Times in milliseconds. */
export interface PassTimes {
  /** Of all its sequences, and of those the prompt rows. */
  rows: number;
  promptRows: number;
  /** From its beginning until its rows were computed. */
  passMs: number;
  /** And until its sequences may go on: the drafts for their next pass are made. */
  turnMs: number;
  /** Of that own work, without waiting for laps or for the threads. */
  engineMs: number;
  /** With nothing to do but wait for laps. */
  waitedMs: number;
}
