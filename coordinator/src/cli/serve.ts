import type { ModelConfig } from '@shoal/model';
import { wantsHelp } from '../base/options.ts';
import { type Config, configHelp, parseConfig } from '../config.ts';
import { type Coordinator, startCoordinator } from '../coordinator.ts';
import type { Database } from '../database/index.ts';
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
  const config = parseConfig(argv, process.env);
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

/** What the start prints: the address of each page. `generated`: the admin token was not given, so it has to be shown. */
export function addresses(
  {
    url,
    udpPort,
    adminToken,
    access,
    records,
    settings,
    scheduler,
    localLayers,
    draftModel,
    head,
    config,
  }: Coordinator,
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
${udpPort === undefined ? '' : `  WebRTC        UDP port ${udpPort}\n`}${generated ? adminText(adminToken, access.file === undefined ? records?.database : undefined) : ''}${settingsText(settings)}
Donors on other machines need https (WebGPU is not available on plain http): see docs/OPERATIONS.md.
Ctrl-C to stop.
`;
}

/** A token that is kept is shown once, at the start that made it. `database`: where it is kept. */
function adminText(adminToken: string | undefined, database: Pick<Database, 'kind' | 'place'> | undefined): string {
  if (adminToken !== undefined)
    return `\n  admin token   ${adminToken}${database ? '   (shown this once; it stays valid)' : ''}\n`;
  if (!database) return '';
  const where = database.kind === 'embedded' ? `--data ${database.place}` : '--database …';
  return `\n  admin token   as before; for a new one: npx shoal admin add NAME ${where}\n`;
}

/** What operators have set at the console in the place of what options say. */
function settingsText(settings: Coordinator['settings']): string {
  const lines = settings.overrides().map((text) => `  by a setting  ${text}\n`);
  return lines.length === 0 ? '' : `\n${lines.join('')}`;
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
