import { parseArgs } from 'node:util';
import { addresses } from '../../coordinator/src/cli/addresses.ts';
import { progressLine } from '../../coordinator/src/cli/progress.ts';
import { StopSignals } from '../../coordinator/src/cli/stop-signals.ts';
import { type Coordinator, parseConfig, startCoordinator, UsageError } from '../../coordinator/src/index.ts';
import { DonorBrowser, type DonorTab } from '../browser/donor-tabs.ts';
import { ended, stillRunning, waitForEnter } from './next-steps.ts';
import { printTable, type Report, report } from './report.ts';
import { streamStory } from './story.ts';
import { printStyles, withShippedAdapters, writeStyles } from './styles.ts';

const HELP = `npm run demo -- [options]

Starts a coordinator, opens donor tabs in a headless Chromium, and writes a story with the experts in those tabs. The
default model's adapters then begin the same story, each in its own style. In a terminal everything stays up until you press
Enter, so that you can try it, for 10 minutes at most.

  --prompt TEXT       beginning of the story ("Once upon a time")
  --max-tokens N      length of the story (160); its last sentence is finished
  --tabs N            donor tabs, 0 to 16 (4)
  --seed N            seed of the sampling (1)
  --temperature T     0 is greedy (0.7)
  --json              one JSON document on stdout at the end, nothing else there (with: npm run -s demo -- --json)
  --keep              leave everything running until Ctrl-C
  --help              print this
  and the options of npm start (--port, --quant, --replicas, --model, …)
`;

/** Memory that each tab lends, well above the default model's 12 MB at f16. */
const PLEDGE_MIB = 128;
/** SwiftShader compiles shaders on the same two cores as everything else. */
const JOIN_TIMEOUT_MS = 180_000;

interface DemoOptions {
  prompt: string;
  maxTokens: number;
  tabs: number;
  seed: number;
  temperature: number;
  json: boolean;
  keep: boolean;
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(argv: readonly string[]): Promise<number> {
  const { demo, coordinatorArgs, help } = parseDemo(argv);
  if (help) {
    process.stdout.write(HELP);
    return 0;
  }
  const config = withShippedAdapters(parseConfig(['--port', '0', ...coordinatorArgs], process.env));
  const coordinator = await startCoordinator(config, {
    onPackProgress: progressLine(process, 'packing experts').update,
  });
  let browser: DonorBrowser | undefined;
  const stop = new StopSignals();
  try {
    browser = await DonorBrowser.launch({ ownSignals: true });
    const tabs = await openTabs(browser, coordinator.url, demo.tabs);
    if (demo.tabs > 0) await waitForTabs(coordinator, tabs, stop.signal);
    const story = await write(coordinator, demo, stop.signal);
    const styles = await writeStyles(coordinator, demo, stop.signal);
    const result = { ...story, ...styles };
    if (demo.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else {
      printStyles(styles, demo.prompt, process.stdout);
      printTable(result, process.stdout);
    }
    const failure = verdict(result, demo);
    if (failure !== undefined) throw new Error(failure);
    if (demo.keep) {
      say(addresses(coordinator, config, process.stderr));
      await stop.received();
    } else if (!demo.json) await endOrStay(coordinator, stop);
    return 0;
  } finally {
    await browser?.close();
    await coordinator.close();
    stop.close();
  }
}

/** In a terminal, where somebody can press Enter, everything stays up for a while. */
async function endOrStay(coordinator: Coordinator, stop: StopSignals): Promise<void> {
  const isAttended = process.stdin.isTTY === true && process.stdout.isTTY === true;
  process.stdout.write(isAttended ? stillRunning(coordinator) : ended());
  if (isAttended) await waitForEnter(process.stdin, stop.signal);
}

function parseDemo(argv: readonly string[]): { demo: DemoOptions; coordinatorArgs: string[]; help: boolean } {
  const own = {
    prompt: { type: 'string' },
    'max-tokens': { type: 'string' },
    tabs: { type: 'string' },
    seed: { type: 'string' },
    temperature: { type: 'string' },
    json: { type: 'boolean' },
    keep: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  } as const;
  const { values, tokens } = parseArgs({ args: [...argv], options: own, strict: false, tokens: true });
  const ours = new Set(
    tokens.flatMap((token) => {
      if (token.kind !== 'option' || !(token.name in own)) return [];
      return token.value !== undefined && !token.inlineValue ? [token.index, token.index + 1] : [token.index];
    }),
  );
  const number = (name: keyof typeof own, fallback: number, min: number, max: number, whole = true): number => {
    const given = values[name];
    if (given === undefined) return fallback;
    const value = typeof given === 'string' && given.trim() !== '' ? Number(given) : Number.NaN;
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    throw new UsageError(
      `--${name} takes a ${whole ? 'whole ' : ''}number from ${min} to ${max}, not "${String(given)}"`,
    );
  };
  if (values.prompt === '' || values.prompt === true)
    throw new UsageError('--prompt is empty; give the story a beginning');
  return {
    help: values.help === true,
    coordinatorArgs: argv.filter((_, i) => !ours.has(i)),
    demo: {
      prompt: typeof values.prompt === 'string' ? values.prompt : 'Once upon a time',
      maxTokens: number('max-tokens', 160, 1, 100_000),
      tabs: number('tabs', 4, 0, 16),
      seed: number('seed', 1, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
      temperature: number('temperature', 0.7, 0, 2, false),
      json: values.json === true,
      keep: values.keep === true,
    },
  };
}

async function openTabs(browser: DonorBrowser, url: string, count: number): Promise<DonorTab[]> {
  say(`Opening ${count} donor ${count === 1 ? 'tab' : 'tabs'} in Chromium ${browser.browser.version()}`);
  return Promise.all(Array.from({ length: count }, () => browser.open(url, PLEDGE_MIB)));
}

/** Waits until every tab serves and every expert has a tab; prints a progress line per second. */
async function waitForTabs(coordinator: Coordinator, tabs: readonly DonorTab[], signal: AbortSignal): Promise<void> {
  const startedMs = performance.now();
  let shown = '';
  for (;;) {
    signal.throwIfAborted();
    const { swarm } = coordinator;
    const ready = swarm.peers.filter((peer) => peer.settled).length;
    if (ready === tabs.length && swarm.uncovered() === 0) return;
    const line = `Tabs ready: ${ready} of ${tabs.length}; experts without a tab: ${swarm.uncovered()} (${stages(coordinator)})`;
    if (line !== shown) say(line);
    shown = line;
    const trouble = tabs.flatMap((tab) => tab.errors);
    if (performance.now() - startedMs > JOIN_TIMEOUT_MS) {
      const events = coordinator.events
        .all()
        .slice(-8)
        .map((event) => event.text);
      throw new Error(
        `After ${JOIN_TIMEOUT_MS / 1000} s ${ready} of ${tabs.length} tabs serve. ` +
          `Last events: ${events.join(' | ')}. Errors in the tabs: ${trouble.slice(-4).join(' | ') || 'none'}.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

function stages({ swarm }: Coordinator): string {
  const counts = new Map<string, number>();
  for (const peer of swarm.peers) counts.set(peer.state, (counts.get(peer.state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ') || 'none has connected';
}

async function write(coordinator: Coordinator, demo: DemoOptions, signal: AbortSignal): Promise<Report> {
  const out = demo.json ? process.stderr : process.stdout;
  out.write(`\n${demo.prompt}`);
  const { modelId: model, maxContext } = coordinator.scheduler;
  const request = { ...demo, model, maxContext, signal };
  const story = await streamStory(coordinator.url, request, (text) => void out.write(text));
  out.write('\n\n');
  return report(coordinator, story, demo);
}

/** Describes what is wrong with a completed run; undefined if nothing. */
function verdict(result: Report, demo: DemoOptions): string | undefined {
  if (result.tokens === 0) return 'The model ended the story before its first token. Try another --prompt or --seed.';
  // Layers that the coordinator holds by plan are not the tabs' work.
  const due = 1 - (result.localLayerShare ?? 0);
  const share = due > 0 ? (result.tabShare ?? 0) / due : 1;
  if (demo.tabs > 0 && share < 1 - 1e-9) {
    return `Tabs did ${(share * 100).toFixed(2)} % of the expert work; with healthy tabs it is 100 %.`;
  }
  return undefined;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(`\ndemo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
