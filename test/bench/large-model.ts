import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { PLEDGE_FILL } from '@shoal/placement';
import type { BrowserContext } from 'playwright';
import { ROOT_DIR } from '../../coordinator/src/index.ts';
import type { ServingPlan } from '../../coordinator/src/cli/capacity.ts';
import { launchProfile } from '../../tools/browser/chromium.ts';
import { until } from '../integration/virtual-donor.ts';
import { formatHeldRows, type HeldRow } from './table.ts';

const HELP = `node --import tsx test/bench/large-model.ts --model DIR --packed DIR [options]

Packs a checkpoint of a large model, serves it to tabs of a Chromium on this machine and asks for an answer. Prints the seconds
of each step, and the peak memory of coordinator and tabs beside what shoal plan says. Checkpoints with random weights come from
tools/random-checkpoint.ts.

  --model DIR        the checkpoint
  --packed DIR       where the packed model goes; one that is there already is used
  --tab-memory SIZE  what each tab lends (3GiB)
  --quant Q          (auto)
  --device gpu|cpu   what the tabs compute with (gpu)
  --tokens N         tokens of the answer (16)
`;

const SHOAL = join(ROOT_DIR, 'coordinator/bin/shoal.mjs');
const POLL_MS = 250;
const LOAD_TIMEOUT_MS = 30 * 60_000;
const GIB = 2 ** 30;
/** Of a plan's figures of memory, as a share. */
const LARGEST_ERROR = 0.1;
const seconds = (sinceMs: number): number => (performance.now() - sinceMs) / 1000;

/** A command in a process of its own, whose peak memory is looked at. */
class Shoal {
  readonly child: ChildProcess;
  peakBytes = 0;
  said = '';
  readonly #timer: NodeJS.Timeout;

  constructor(...args: string[]) {
    this.child = spawn(process.execPath, [SHOAL, ...args], { cwd: ROOT_DIR, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout!, this.child.stderr!])
      stream.on('data', (data: Buffer) => (this.said += data.toString()));
    this.#timer = setInterval(() => (this.peakBytes = Math.max(this.peakBytes, peakOf(this.child.pid!))), POLL_MS);
  }

  /** Resolves with what it has printed. Throws where it fails. */
  async end(): Promise<string> {
    const [code] = (await once(this.child, 'exit')) as [number | null];
    clearInterval(this.#timer);
    if (code !== 0) throw new Error(`shoal ended with ${code}: ${this.said.slice(-2000)}`);
    return this.said;
  }

  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    await this.end();
  }
}

/** The most memory that a process has had resident, in bytes; 0 once it has ended. */
function peakOf(pid: number): number {
  try {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Memory of the browsers that this process has started, with shared pages divided among their processes. */
function browsersMemory(): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // After the program's name, which may have spaces: its state and its parent.
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It has ended.
    }
  }
  const isOurs = (pid: number): boolean => pid === process.pid || (pid > 1 && isOurs(parents.get(pid) ?? 0));
  return [...parents.keys()]
    .filter((pid) => isOurs(pid))
    .reduce((sum, pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('chrom')) return sum;
        return sum + 1024 * Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
      } catch {
        return sum;
      }
    }, 0);
}

/** Browsers of one tab each, with profiles on disk. */
class Donors {
  readonly #profiles = mkdtempSync(join(tmpdir(), 'shoal-donors-'));
  readonly #open: BrowserContext[] = [];

  async open(url: string): Promise<void> {
    const context = await launchProfile(join(this.#profiles, String(this.#open.length)));
    this.#open.push(context);
    await context.pages()[0]!.goto(url);
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#open.map((context) => context.close()));
    rmSync(this.#profiles, { recursive: true, force: true });
  }
}

interface Options {
  model: string;
  packed: string;
  tabMemory: string;
  quant: string;
  device: 'gpu' | 'cpu';
  tokens: number;
}

async function run({ model, packed, tabMemory, quant, device, tokens }: Options): Promise<HeldRow[]> {
  const rows: HeldRow[] = [];
  const add = (figure: string, measured: string, reference = '', met?: boolean): void => {
    rows.push({ figure, measured, reference, ...(met !== undefined && { met }) });
    process.stderr.write(`${figure}: ${measured}\n`);
  };
  let startedMs = performance.now();
  const packing = new Shoal('pack', '--model', model, '--out', packed, '--quant', quant, '--dense-quant', 'q8');
  await packing.end();
  add('packing, s', seconds(startedMs).toFixed(0));
  add('packing, peak GiB', (packing.peakBytes / GIB).toFixed(2));
  const planned = await new Shoal('plan', '--model', packed, '--tab-memory', tabMemory, '--json').end();
  const plan = JSON.parse(planned) as ServingPlan;
  add('tabs', String(plan.tabs.count), 'plan');
  startedMs = performance.now();
  const serving = new Shoal('serve', '--model', packed, '--port', '0');
  await until('the coordinator to serve', () => serving.said.includes('Ctrl-C to stop'), LOAD_TIMEOUT_MS);
  add('coordinator loads, s', seconds(startedMs).toFixed(0));
  const url = /API +(\S+)\/v1/.exec(serving.said)![1]!;
  const donors = new Donors();
  try {
    startedMs = performance.now();
    const pledgeMiB = Math.round(plan.tabs.usableBytesPerTab / PLEDGE_FILL / 2 ** 20);
    for (let tab = 0; tab < plan.tabs.count; tab++)
      await donors.open(`${url}/?auto=1&pledge=${pledgeMiB}&device=${device}`);
    let tabsBytes = 0;
    const look = setInterval(() => (tabsBytes = Math.max(tabsBytes, browsersMemory())), 2000);
    await untilCovered(url);
    add('tabs load, s', seconds(startedMs).toFixed(0));
    await answer(url, 1);
    startedMs = performance.now();
    const text = await answer(url, tokens);
    add(`${tokens} tokens, s`, seconds(startedMs).toFixed(1));
    clearInterval(look);
    const kvBytes = plan.coordinator.kvBytesAtContext;
    const { memoryBytes } = plan.coordinator;
    const lentBytes = (plan.tabs.count * plan.tabs.usableBytesPerTab) / PLEDGE_FILL;
    const near = (bytes: number, planned: number): boolean => Math.abs(bytes / planned - 1) <= LARGEST_ERROR;
    const plannedPeak = (bytes: number): string => `plan ${(bytes / GIB).toFixed(2)}`;
    const peak = (bytes: number): string => (bytes / GIB).toFixed(2);
    add(
      'coordinator, peak GiB',
      peak(serving.peakBytes),
      plannedPeak(memoryBytes),
      near(serving.peakBytes, memoryBytes),
    );
    add('browsers, peak GiB', peak(tabsBytes), `${plannedPeak(lentBytes)} lent`, near(tabsBytes, lentBytes));
    add('KV cache of 4,096 tokens, plan, MiB', (kvBytes / 2 ** 20).toFixed(0));
    process.stderr.write(`the answer: ${JSON.stringify(text)}\n`);
  } finally {
    await donors.close();
    await serving.stop();
  }
  return rows;
}

/** Resolves once every expert is in a tab that serves. */
async function untilCovered(url: string): Promise<void> {
  const deadlineMs = performance.now() + LOAD_TIMEOUT_MS;
  for (;;) {
    const text = await (await fetch(`${url}/metrics`)).text();
    if (Number(/^shoal_experts_uncovered (\S+)/m.exec(text)?.[1] ?? Number.NaN) === 0) return;
    if (performance.now() > deadlineMs) throw new Error('The tabs did not hold all experts in time');
    await delay(2000);
  }
}

async function answer(url: string, tokens: number): Promise<string> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Once upon a time', max_tokens: tokens, temperature: 0, ignore_eos: true }),
  });
  if (!response.ok) throw new Error(`the API answered ${response.status}: ${await response.text()}`);
  return ((await response.json()) as { choices: { text: string }[] }).choices[0]!.text;
}

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    packed: { type: 'string' },
    'tab-memory': { type: 'string', default: '3GiB' },
    quant: { type: 'string', default: 'auto' },
    device: { type: 'string', default: 'gpu' },
    tokens: { type: 'string', default: '16' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || !values.model || !values.packed) {
  process.stdout.write(HELP);
  process.exitCode = values.help ? 0 : 2;
} else {
  const device = values.device === 'cpu' ? 'cpu' : 'gpu';
  const { model, packed, quant } = values;
  const options = {
    model,
    packed,
    quant,
    device,
    tabMemory: values['tab-memory'],
    tokens: Number(values.tokens),
  } as const;
  process.stdout.write(`${formatHeldRows(await run(options))}\n`);
}
