import type { PackProgress } from '@shoal/weights/node';

/** Where a command writes. */
export interface CommandIo {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown; isTTY?: boolean };
}

/** Progress lines that people read: more often only flickers, and fills a log. */
const TTY_INTERVAL_MS = 100;
const LOG_INTERVAL_MS = 5_000;

/** One line rewritten in place on a terminal, a line now and then in a log. */
export function progressLine(
  io: CommandIo,
  verb: string,
): { update: (progress: PackProgress) => void; end: () => void } {
  const isTty = io.stderr.isTTY === true;
  const intervalMs = isTty ? TTY_INTERVAL_MS : LOG_INTERVAL_MS;
  let lastMs = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    update: (progress) => {
      const isLast = progress.doneBytes === progress.totalBytes;
      if (!isLast && performance.now() - lastMs < intervalMs) return;
      lastMs = performance.now();
      shown = true;
      io.stderr.write(`${isTty ? '\r\u001B[K' : ''}${formatProgress(verb, progress)}${isTty ? '' : '\n'}`);
    },
    end: () => {
      if (shown && isTty) io.stderr.write('\n');
    },
  };
}

function formatProgress(verb: string, { doneBytes, totalBytes, bytesPerSecond, etaS }: PackProgress): string {
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
