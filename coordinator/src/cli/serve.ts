import { basename, isAbsolute, join, resolve } from 'node:path';
import type { ModelConfig } from '@shoal/model';
import { wantsHelp } from '../base/options.ts';
import { type Config, configHelp, parseConfig } from '../config.ts';
import { type Coordinator, startCoordinator } from '../coordinator.ts';
import { lapsPerPass, type LocalLayerChoice } from '../local-experts/choose-layers.ts';
import { keepOffline } from './model-option.ts';
import { formatBytes, withProgress } from './progress.ts';
import { StopSignals } from './stop-signals.ts';

/** How long the packing of a model may take to end, and what is loaded to be dropped, after a signal. */
const STOP_START_MS = 2_000;

const HELP = `usage: shoal serve [options]

Starts the coordinator: donors open its page, developers call its API, operators watch its console.

${configHelp()}`;

/** `shoal serve`. Resolves with the exit code once it has stopped; rejects with a UsageError that names an option. */
export async function runServe(argv: readonly string[]): Promise<number> {
  if (wantsHelp(argv)) {
    process.stdout.write(HELP);
    return 0;
  }
  const given = parseConfig(argv, process.env);
  const config = { ...given, stateFile: given.stateFile ?? defaultStateFile(given) };
  keepOffline(config);
  const stop = new StopSignals({
    onRepeat: () => void process.stdout.write('Still draining.\n'),
  });
  try {
    const coordinator = await start(config, stop);
    // In a terminal SIGHUP means that its window was closed, and ends the coordinator.
    if (config.accessFile !== undefined && !process.stdin.isTTY)
      process.on('SIGHUP', () => coordinator.access.reload());
    process.stdout.write(addresses(coordinator, config.adminToken === undefined));
    await stop.received();
    process.stdout.write(drainingText(config));
    await coordinator.close();
    process.stdout.write('Stopped.\n');
    return 0;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    process.stderr.write(`shoal: stopped before the model was loaded\n`);
    return stop.exitCode;
  } finally {
    stop.close();
  }
}

/** A signal ends the start: packing keeps what is finished, and loading has nothing to keep. */
async function start(config: Config, stop: StopSignals): Promise<Coordinator> {
  const onNotice = (text: string): void => void process.stderr.write(`shoal: ${text}\n`);
  const { signal } = stop;
  let timer: NodeJS.Timeout | undefined;
  const giveUp = (): void => void (timer = setTimeout(() => process.exit(stop.exitCode), STOP_START_MS));
  signal.addEventListener('abort', giveUp);
  try {
    return await withProgress(process, 'packing experts', (onPackProgress) =>
      withProgress(process, 'packing the draft model', (onDraftPackProgress) =>
        withProgress(process, 'loading local experts', (onLoadProgress) =>
          startCoordinator(config, { onPackProgress, onDraftPackProgress, onLoadProgress, onNotice, signal }),
        ),
      ),
    );
  } finally {
    signal.removeEventListener('abort', giveUp);
    clearTimeout(timer);
  }
}

function drainingText({ drainTimeoutMs }: Config): string {
  return `\nDraining: running answers have ${drainTimeoutMs / 1000} s to finish. Press Ctrl-C again to stop at once.\n`;
}

/** Of each coordinator its own, since those that share a cache would overwrite each other's quarantines. */
export function defaultStateFile({ cacheDir, model, port }: Pick<Config, 'cacheDir' | 'model' | 'port'>): string {
  // A path is absolute; all of a hub's name counts.
  const name = isAbsolute(model) ? basename(resolve(model)) : model;
  const ports = typeof port === 'number' ? port : `${port.first}-${port.last}`;
  return join(cacheDir, `quarantine-${name.replace(/[^\w.-]/g, '_')}-${ports}.json`);
}

/** What the start prints: the address of each page. `generated`: the admin token is new, so it has to be shown. */
export function addresses(
  { url, udpPort, adminToken, scheduler, localLayers, draftModel, head, config }: Coordinator,
  generated: boolean,
): string {
  const showToken = generated && adminToken !== undefined;
  return `
Shoal serves ${scheduler.modelId}.${localLayersText(localLayers, config)}${draftModelText(draftModel)}${headText(head)}

  lend a GPU    ${url}/
  playground    ${url}/playground
  lab           ${url}/lab
  console       ${url}/console${showToken ? `#token=${adminToken}` : ''}
  API           ${url}/v1        (OpenAI-compatible)
  API docs      ${url}/docs
${udpPort === undefined ? '' : `  WebRTC        UDP port ${udpPort}\n`}${showToken ? `\n  admin token   ${adminToken}\n` : ''}
Donors on other machines need https (WebGPU is not available on plain http): see docs/OPERATIONS.md.
Ctrl-C to stop.
`;
}

function localLayersText(localLayers: LocalLayerChoice, config: ModelConfig): string {
  const { layers, bytes, mtp } = localLayers;
  if (bytes === 0) return '';
  const laps = lapsPerPass(config, localLayers);
  const module = mtp === 'local' ? ', with those of the MTP module' : '';
  return `
The coordinator holds the experts of ${layers.length} of ${layers.length + laps} layers (${formatBytes(bytes)}${module}): ${laps} laps per token.`;
}

function headText(head: Coordinator['head']): string {
  return head ? `\n${head.name} drafts for it.` : '';
}

function draftModelText(draftModel: Coordinator['draftModel']): string {
  return draftModel ? `\n${draftModel.modelId} drafts for it (${formatBytes(draftModel.bytes)}).` : '';
}
