import type { CommandIo } from './command.ts';

export interface Progress {
  doneBytes: number;
  totalBytes: number;
  /** Measured since the first report where it is not given. */
  bytesPerSecond?: number;
  etaS?: number;
}

export interface ProgressLine {
  update: (progress: Progress) => void;
  /** Ends the line where it stops before everything is done. */
  end: () => void;
}

const TTY_INTERVAL_MS = 100;
const LOG_INTERVAL_MS = 5_000;

/** One line rewritten in place on a terminal, a line every few seconds in a log. */
export function progressLine(io: Pick<CommandIo, 'stderr'>, verb: string): ProgressLine {
  const isTty = io.stderr.isTTY === true;
  const intervalMs = isTty ? TTY_INTERVAL_MS : LOG_INTERVAL_MS;
  let lastMs = Number.NEGATIVE_INFINITY;
  let isOpen = false;
  let first: { bytes: number; ms: number } | undefined;
  return {
    update: (progress) => {
      const { doneBytes, totalBytes } = progress;
      const nowMs = performance.now();
      first ??= { bytes: doneBytes, ms: nowMs };
      const isLast = doneBytes === totalBytes;
      if (!isLast && nowMs - lastMs < intervalMs) return;
      lastMs = nowMs;
      const bytesPerSecond = (1000 * (doneBytes - first.bytes)) / Math.max(1, nowMs - first.ms);
      const etaS = (totalBytes - doneBytes) / bytesPerSecond;
      const line = formatProgress(verb, { bytesPerSecond, etaS, ...progress });
      isOpen = isTty && !isLast;
      io.stderr.write(`${isTty ? '\r\u001B[K' : ''}${line}${isOpen ? '' : '\n'}`);
    },
    end: () => {
      if (isOpen) io.stderr.write('\n');
      isOpen = false;
    },
  };
}

/** Runs `work` with a progress line. */
export async function withProgress<T>(
  io: Pick<CommandIo, 'stderr'>,
  verb: string,
  work: (update: ProgressLine['update']) => Promise<T>,
): Promise<T> {
  const line = progressLine(io, verb);
  try {
    return await work(line.update);
  } finally {
    line.end();
  }
}

function formatProgress(verb: string, { doneBytes, totalBytes, bytesPerSecond, etaS }: Required<Progress>): string {
  const left = Number.isFinite(etaS) ? `, ${formatDuration(etaS)} left` : '';
  const rate = bytesPerSecond > 0 ? `, ${formatBytes(bytesPerSecond)}/s` : '';
  const share = Math.floor((100 * doneBytes) / totalBytes);
  return `${verb} ${share} % (${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}${rate}${left})`;
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
