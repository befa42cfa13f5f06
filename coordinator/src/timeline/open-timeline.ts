import { ChromeTrace } from './chrome-trace.ts';
import type { Timeline } from './timeline.ts';
import { TraceFile } from './trace-file.ts';

export interface OpenTimeline {
  /** undefined: nobody asked for one. */
  timeline: Timeline | undefined;
  close(): Promise<void>;
}

/** A timeline that is written to a file, where one is named. Rejects with a TraceError where that cannot be written. */
export async function openTimeline(path: string | undefined, onError: (error: Error) => void): Promise<OpenTimeline> {
  if (path === undefined) return { timeline: undefined, close: async () => {} };
  const file = await TraceFile.open({ path, onError });
  return { timeline: new ChromeTrace((event) => file.write(event)), close: () => file.close() };
}
