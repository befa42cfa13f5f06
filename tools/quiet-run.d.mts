import type { ChildProcess } from 'node:child_process';

export interface QuietJob {
  /** In the present participle, as "Installing Chromium". */
  what: string;
  command: readonly string[];
  /** Name of the file that gets what the program prints. */
  logName: string;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  shell?: boolean;
  timeoutMs?: number;
  /** Gets the process, for signals. */
  onChild?: (child: ChildProcess) => void;
  /** Default: stderr. */
  out?: { isTTY?: boolean; write(text: string): unknown };
}

export function quietRun(job: QuietJob): Promise<{ ok: boolean; logFile: string }>;
