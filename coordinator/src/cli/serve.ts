import { wantsHelp } from '../base/options.ts';
import { type Config, configHelp, parseConfig } from '../config.ts';
import { type Coordinator, startCoordinator } from '../coordinator.ts';
import { addresses } from './addresses.ts';
import { keepOffline } from './model-option.ts';
import { withProgress } from './progress.ts';
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
    process.stdout.write(addresses(coordinator, config, process.stdout));
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
