import type { ModelConfig } from '@shoal/model';
import type { PackProgress } from '@shoal/weights/node';
import { type Coordinator, startCoordinator } from '../coordinator.ts';
import type { LoadProgress } from '../local-experts/worker.ts';
import { lapsPerPass, type LocalLayerChoice } from '../local-experts/choose-layers.ts';
import { optionsHelp, parseCoordinatorOptions } from '../config.ts';
import { formatBytes, progressLine } from './progress.ts';

export const SERVE_HELP = `shoal serve [options]

Starts the coordinator: donors open its page, developers call its API, operators watch its console.

${optionsHelp()}
  --help                     print this
`;

export async function runServe(argv: readonly string[]): Promise<number> {
  // Before the rest is read: help is wanted most when an option is wrong.
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(SERVE_HELP);
    return 0;
  }
  const { options } = parseCoordinatorOptions(argv, process.env);
  const loading = progressLine(process, 'loading the coordinator’s own experts');
  const coordinator = await startCoordinator({
    ...options,
    onPackProgress: packProgressPrinter(),
    onLoadProgress: withRate(loading.update),
  });
  loading.end();
  const stop = interrupted();
  // In a terminal the same signal means that its window was closed, and the coordinator is to end with it.
  if (options.accessFile !== undefined && !process.stdin.isTTY) process.on('SIGHUP', () => coordinator.access.reload());
  process.stdout.write(addresses(coordinator, options.adminToken === undefined));
  await stop;
  process.stdout.write(
    `\nDraining: running answers have ${options.drainTimeoutMs / 1000} s to finish. Press Ctrl-C again to stop at once.\n`,
  );
  const impatient = (): never => process.exit(130);
  process.once('SIGINT', impatient);
  await coordinator.close();
  process.removeListener('SIGINT', impatient);
  process.stdout.write('Stopped.\n');
  return 0;
}

/** Where each of the three kinds of people goes. */
export function addresses(
  { url, adminToken, scheduler, localLayers, config }: Coordinator,
  generated: boolean,
): string {
  // One that the operator chose they know; where the access file names the admins there is none.
  const showToken = generated && adminToken !== undefined;
  return `
Shoal serves ${scheduler.modelId}.${localLayersText(localLayers, config)}

  lend a GPU    ${url}/
  playground    ${url}/playground
  console       ${url}/console${showToken ? `#token=${adminToken}` : ''}
  API           ${url}/v1        (OpenAI-compatible)
  API docs      ${url}/docs
${showToken ? `\n  admin token   ${adminToken}\n` : ''}
Donors on other machines need https (WebGPU is not available on plain http): see docs/OPERATIONS.md.
Ctrl-C to stop.
`;
}

/** What is in the memory of --local-experts. */
function localLayersText(localLayers: LocalLayerChoice, config: ModelConfig): string {
  const { layers, bytes, mtp } = localLayers;
  if (bytes === 0) return '';
  const laps = lapsPerPass(config, localLayers);
  const drafter = mtp === 'local' ? ', with those of the MTP module' : '';
  return `
Experts of ${layers.length} of ${layers.length + laps} layers are its own (${formatBytes(bytes)}${drafter}): ${laps} laps a token.`;
}

/** Adds the rate since the first report. */
function withRate(update: (progress: PackProgress) => void): (progress: LoadProgress) => void {
  let startedMs: number | undefined;
  return ({ doneBytes, totalBytes }) => {
    startedMs ??= performance.now();
    const bytesPerSecond = (1000 * doneBytes) / Math.max(1, performance.now() - startedMs);
    update({ doneBytes, totalBytes, bytesPerSecond, etaS: (totalBytes - doneBytes) / bytesPerSecond });
  };
}

/** Progress of packing, on stderr: one line rewritten in a terminal, one line per 10 % elsewhere. */
export function packProgressPrinter(): (progress: PackProgress) => void {
  let lastShown = -1;
  return ({ doneBytes, totalBytes, bytesPerSecond, etaS }) => {
    const percent = Math.floor((100 * doneBytes) / totalBytes);
    const step = process.stderr.isTTY ? 1 : 10;
    if (Math.floor(percent / step) === lastShown) return;
    lastShown = Math.floor(percent / step);
    const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
    const left = Number.isFinite(etaS) ? `${Math.ceil(etaS)} s left` : '';
    const line = `Packing experts: ${mb(doneBytes)} of ${mb(totalBytes)} MB, ${mb(bytesPerSecond)} MB/s ${left}`;
    process.stderr.write(process.stderr.isTTY ? `\r${line}\u001B[K${percent >= 100 ? '\n' : ''}` : `${line}\n`);
  };
}

/** Resolves at Ctrl-C or SIGTERM. */
export function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}
