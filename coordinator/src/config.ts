import { existsSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { IceServer } from '@shoal/protocol';
import { iceServerSchema, ROW_FORMATS, type RowFormat } from '@shoal/protocol';
import { DENSE_FORMATS, type DenseFormat, QUANTS, type Quant } from '@shoal/weights';
import { z } from 'zod';
import { MTP_PLACES, type MtpPlace } from './local-experts/choose-layers.ts';
import type { DenseEngineName } from './dense-engine.ts';
import { LAP_CONNECTIONS, type LapConnections } from './swarm/lap-connections.ts';
import {
  DEFAULT_MAX_DRAFTS,
  MAX_DRAFTS_LIMIT,
  SPECULATION_MODES,
  type SpeculationMode,
} from './scheduler/speculation/speculation.ts';

/** How a coordinator is run. Every field has a flag and an environment variable of the same meaning. */
export interface CoordinatorOptions {
  modelDir: string;
  host: string;
  port: number;
  /** Of the tabs' experts; f16 by default, or what a packed directory has. */
  quant?: Quant;
  /** Of the coordinator's own weights, likewise. */
  denseQuant?: DenseFormat;
  cacheDir: string;
  replicas: number;
  /** How rows travel between coordinator and tabs; f16 by default. */
  rowFormat?: RowFormat;
  /** WebRTC connections that each tab opens; `auto` by default: several where the model's rows are wide. */
  lapConnections?: LapConnections;
  /** Tabs that a token may use in a layer, where its request doesn't say; 0: no limit. */
  deviceLimit?: number;
  /** Generated when absent, unless the access file has admins. */
  adminToken?: string;
  /** Invitations, API keys, admins and limits; see docs/OPERATIONS.md. Without it everybody may lend and ask. */
  accessFile?: string;
  /** Believe the last hop of X-Forwarded-For. */
  trustProxy?: boolean;
  iceServers: IceServer[];
  /** How long running answers may go on after Ctrl-C. */
  drainTimeoutMs: number;
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug';
  /** Who does the coordinator's own part of the forward; wasm by default. */
  engine?: DenseEngineName;
  /** Of the wasm engine; as many as cores by default. */
  threads?: number;
  /** For the KV cache of the wasm engine. */
  kvMemoryBytes?: number;
  /** For experts that the coordinator keeps loaded for its own work. */
  expertMemoryBytes?: number;
  /** For whole layers of experts that the coordinator computes instead of tabs; none by default. */
  localExpertBytes?: number;
  /** Where the experts of the model's MTP module are; auto: with the coordinator where they fit, else on tabs. */
  mtpExperts?: MtpPlace | 'auto';
  /** Let browsers without WebGPU lend their processor; on unless said otherwise. */
  cpuDonors?: boolean;
  maxBatch?: number;
  maxQueue?: number;
  /** By how many laps' time prompts may hold up running streams; 1 by default. */
  promptLaps?: number;
  /** Who drafts tokens ahead, so that a pass verifies several; auto unless said otherwise. */
  speculate?: SpeculationMode;
  /** Of one answer in a pass, at most. */
  maxDrafts?: number;
  /** Two half-batches in flight; `auto` by default: where that is seen to pay. */
  halfBatches?: HalfBatches;
  /** Where a timeline of engine, tabs and wire is written, as a Chrome trace. */
  traceFile?: string;
}

export const HALF_BATCHES = ['auto', 'on', 'off'] as const;
export type HalfBatches = (typeof HALF_BATCHES)[number];

/** More only take turns. */
export const MAX_THREADS = 256;

export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** The repository's folder: models and caches are found relative to it, not to where the command was typed. */
export const ROOT_DIR = resolve(import.meta.dirname, '../..');

interface OptionSpec {
  flag: string;
  env: string;
  /** Left out for a switch, which is off unless given. */
  value?: string;
  text: string;
  fallback?: string;
}

const OPTIONS = {
  model: {
    flag: 'model',
    env: 'SHOAL_MODEL',
    value: 'DIR',
    text: 'Hugging Face model directory, or one made by shoal pack',
    fallback: join(ROOT_DIR, 'models/tiny-stories'),
  },
  host: { flag: 'host', env: 'SHOAL_HOST', value: 'ADDRESS', text: 'address to listen on', fallback: '127.0.0.1' },
  port: { flag: 'port', env: 'SHOAL_PORT', value: 'N', text: 'port to listen on, 0 for a free one', fallback: '8787' },
  quant: {
    flag: 'quant',
    env: 'SHOAL_QUANT',
    value: QUANTS.join('|'),
    text: "format of the tabs' experts (f16, or a packed directory's own)",
  },
  denseQuant: {
    flag: 'dense-quant',
    env: 'SHOAL_DENSE_QUANT',
    value: DENSE_FORMATS.join('|'),
    text: "format of the coordinator's own weights (f16, or a packed directory's own)",
  },
  cache: {
    flag: 'cache',
    env: 'SHOAL_CACHE',
    value: 'DIR',
    text: 'where packed models are kept',
    fallback: join(ROOT_DIR, '.cache/packed'),
  },
  deviceLimit: {
    flag: 'device-limit',
    env: 'SHOAL_DEVICE_LIMIT',
    value: 'M',
    text: "tabs that a token may use in a layer, 0 for no limit; a limit may change a model's answers",
    fallback: '0',
  },
  rowFormat: {
    flag: 'row-format',
    env: 'SHOAL_ROW_FORMAT',
    value: ROW_FORMATS.join('|'),
    text: 'how rows travel to tabs and back: int8 halves the bytes, and costs some accuracy',
    fallback: 'f16',
  },
  lapConnections: {
    flag: 'lap-connections',
    env: 'SHOAL_LAP_CONNECTIONS',
    value: LAP_CONNECTIONS.join('|'),
    text: 'WebRTC connections of a tab; auto: 4 where two rows of the model are over 11.5 KB, else 1',
    fallback: 'auto',
  },
  replicas: {
    flag: 'replicas',
    env: 'SHOAL_REPLICAS',
    value: 'N',
    text: 'copies of each expert on distinct donors, where memory allows',
    fallback: '2',
  },
  adminToken: {
    flag: 'admin-token',
    env: 'SHOAL_ADMIN_TOKEN',
    value: 'TOKEN',
    text: "the console's password (default: a new one, printed)",
  },
  access: {
    flag: 'access',
    env: 'SHOAL_ACCESS',
    value: 'FILE',
    text: 'invitations, API keys, admins and limits (default: everybody may lend and ask)',
  },
  trustProxy: {
    flag: 'trust-proxy',
    env: 'SHOAL_TRUST_PROXY',
    text: 'addresses are those that the proxy in front names (last of X-Forwarded-For)',
  },
  noCpuDonors: {
    flag: 'no-cpu-donors',
    env: 'SHOAL_NO_CPU_DONORS',
    text: 'refuse browsers that would lend their processor for want of WebGPU',
  },
  iceServers: {
    flag: 'ice-servers',
    env: 'SHOAL_ICE_SERVERS',
    value: 'JSON',
    text: 'STUN and TURN servers, as RTCIceServer[] (default: none, enough on one network)',
    fallback: '[]',
  },
  drainTimeout: {
    flag: 'drain-timeout',
    env: 'SHOAL_DRAIN_TIMEOUT',
    value: 'SECONDS',
    text: 'how long running answers may go on after Ctrl-C',
    fallback: '15',
  },
  maxBatch: {
    flag: 'max-batch',
    env: 'SHOAL_MAX_BATCH',
    value: 'N',
    text: 'answers written at a time',
    fallback: '64',
  },
  speculate: {
    flag: 'speculate',
    env: 'SHOAL_SPECULATE',
    value: SPECULATION_MODES.join('|'),
    text: "who drafts tokens ahead: the model's MTP module, the text's repetitions, whichever there is, or nobody",
    fallback: 'auto',
  },
  maxDrafts: {
    flag: 'max-drafts',
    env: 'SHOAL_MAX_DRAFTS',
    value: 'N',
    text: 'tokens drafted ahead of one answer at most; fewer where they do not pay',
    fallback: String(DEFAULT_MAX_DRAFTS),
  },
  maxQueue: { flag: 'max-queue', env: 'SHOAL_MAX_QUEUE', value: 'N', text: 'requests that may wait', fallback: '64' },
  promptLaps: {
    flag: 'prompt-laps',
    env: 'SHOAL_PROMPT_LAPS',
    value: 'N',
    text: "the most laps' time by which prompts hold up each token of running answers; more: sooner first tokens",
    fallback: '1',
  },
  halfBatches: {
    flag: 'half-batches',
    env: 'SHOAL_HALF_BATCHES',
    value: HALF_BATCHES.join('|'),
    text: 'compute half of the rows while the laps of the other half are out; auto: where that is seen to pay',
    fallback: 'auto',
  },
  engine: {
    flag: 'engine',
    env: 'SHOAL_ENGINE',
    value: 'wasm|reference',
    text: "who computes the coordinator's own part: WebAssembly on threads, or the slow reference",
    fallback: 'wasm',
  },
  threads: {
    flag: 'threads',
    env: 'SHOAL_THREADS',
    value: 'N',
    text: 'threads of the wasm engine, and of the coordinator’s own experts (default: as many as cores)',
  },
  kvMemory: {
    flag: 'kv-memory',
    env: 'SHOAL_KV_MEMORY',
    value: 'SIZE',
    text: 'memory for the KV cache, as 512MiB or 4GiB',
    fallback: '512MiB',
  },
  expertMemory: {
    flag: 'expert-memory',
    env: 'SHOAL_EXPERT_MEMORY',
    value: 'SIZE',
    text: 'experts kept loaded for audits and for what no tab serves (at most 3GiB)',
    fallback: '512MiB',
  },
  localExperts: {
    flag: 'local-experts',
    env: 'SHOAL_LOCAL_EXPERTS',
    value: 'SIZE',
    text: 'memory for whole layers of experts that make no lap, as 8GiB; 0 for none',
    fallback: '0',
  },
  mtpExperts: {
    flag: 'mtp-experts',
    env: 'SHOAL_MTP_EXPERTS',
    value: ['auto', ...MTP_PLACES].join('|'),
    text: "where the MTP module's experts are: with the coordinator, on tabs, or nowhere (no drafts by it)",
    fallback: 'auto',
  },
  trace: {
    flag: 'trace',
    env: 'SHOAL_TRACE',
    value: 'FILE',
    text: 'write a timeline of engine, tabs and wire for ui.perfetto.dev (Chrome trace, at most 512 MiB)',
  },
  logLevel: {
    flag: 'log-level',
    env: 'SHOAL_LOG_LEVEL',
    value: 'LEVEL',
    text: 'silent, error, warn, info or debug',
    fallback: 'warn',
  },
} satisfies Record<string, OptionSpec>;

type OptionName = keyof typeof OPTIONS;

/** A line per option, for --help. */
export function optionsHelp(): string {
  return Object.values(OPTIONS)
    .map((option: OptionSpec) => {
      const left = `  --${option.flag}${option.value === undefined ? '' : ` ${option.value}`}`;
      const isPath = option.fallback?.startsWith(ROOT_DIR);
      const shown = isPath ? relative(ROOT_DIR, option.fallback!) : option.fallback;
      return `${left.padEnd(26)} ${option.text}${shown ? ` (${shown})` : ''}  [${option.env}]`;
    })
    .join('\n');
}

/**
 * Flags first, then environment, then defaults. `extra` are further flags of the command at hand.
 * Throws a UsageError that names the flag.
 */
export function parseCoordinatorOptions(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  extra: Record<string, { type: 'string' | 'boolean' }> = {},
): { options: CoordinatorOptions; values: Record<string, string | boolean | undefined> } {
  const flags = Object.fromEntries(
    Object.values(OPTIONS).map(({ flag, value }: OptionSpec) => [
      flag,
      { type: value === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  let values: Record<string, string | boolean | undefined>;
  try {
    const parsed = parseArgs({
      args: [...argv],
      options: { ...flags, ...extra, help: { type: 'boolean', short: 'h' } },
    });
    values = parsed.values as typeof values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const text = (name: OptionName): string | undefined => {
    const spec: OptionSpec = OPTIONS[name];
    const flag = values[spec.flag];
    if (flag === true && spec.value === undefined) return '1';
    return (typeof flag === 'string' ? flag : undefined) ?? (env[spec.env] || undefined) ?? spec.fallback;
  };
  return { options: readOptions(text), values };
}

function readOptions(text: (name: OptionName) => string | undefined): CoordinatorOptions {
  const integer = (name: OptionName, min: number, max: number): number => {
    const given = text(name)!;
    const value = Number(given);
    if (/^\d+$/.test(given) && value >= min && value <= max) return value;
    throw new UsageError(`${spelled(name)} takes a whole number from ${min} to ${max}, not "${given}"`);
  };
  const oneOf = <const T extends string>(name: OptionName, allowed: readonly T[]): T => {
    const given = text(name)!;
    const found = allowed.find((value) => value === given);
    if (found === undefined) throw new UsageError(`${spelled(name)} takes ${allowed.join(', ')}, not "${given}"`);
    return found;
  };
  const bytes = (name: OptionName): number => {
    const given = text(name)!;
    const value = parseBytes(given);
    if (value === undefined) throw new UsageError(`${spelled(name)} takes a size as 512MiB or 4GiB, not "${given}"`);
    return value;
  };
  const isOn = (name: OptionName): boolean => {
    const given = text(name) ?? '0';
    if (given === '1' || given === 'true') return true;
    if (given === '0' || given === 'false') return false;
    throw new UsageError(`${spelled(name)} takes 1 or 0, not "${given}"`);
  };
  const modelDir = resolve(text('model')!);
  if (!existsSync(join(modelDir, 'config.json'))) {
    throw new UsageError(
      `${spelled('model')}: ${modelDir} has no config.json; name a Hugging Face model directory, or one made by shoal pack`,
    );
  }
  const adminToken = text('adminToken');
  if (adminToken !== undefined && adminToken.length < 8)
    throw new UsageError(`${spelled('adminToken')}: take 8 characters or more`);
  const accessFile = text('access');
  return {
    modelDir,
    host: text('host')!,
    port: integer('port', 0, 65_535),
    ...(text('quant') !== undefined && { quant: oneOf('quant', QUANTS) }),
    ...(text('denseQuant') !== undefined && { denseQuant: oneOf('denseQuant', DENSE_FORMATS) }),
    cacheDir: resolve(text('cache')!),
    replicas: integer('replicas', 1, 16),
    rowFormat: oneOf('rowFormat', ROW_FORMATS),
    lapConnections: oneOf('lapConnections', LAP_CONNECTIONS),
    deviceLimit: integer('deviceLimit', 0, 64),
    ...(adminToken !== undefined && { adminToken }),
    ...(accessFile !== undefined && { accessFile: resolve(accessFile) }),
    trustProxy: isOn('trustProxy'),
    iceServers: parseIceServers(text('iceServers')!),
    drainTimeoutMs: integer('drainTimeout', 0, 3600) * 1000,
    cpuDonors: !isOn('noCpuDonors'),
    maxBatch: integer('maxBatch', 1, 256),
    maxQueue: integer('maxQueue', 0, 10_000),
    promptLaps: integer('promptLaps', 1, 1000),
    speculate: oneOf('speculate', SPECULATION_MODES),
    maxDrafts: integer('maxDrafts', 1, MAX_DRAFTS_LIMIT),
    halfBatches: oneOf('halfBatches', HALF_BATCHES),
    engine: oneOf('engine', ['wasm', 'reference']),
    ...(text('threads') !== undefined && { threads: integer('threads', 1, MAX_THREADS) }),
    kvMemoryBytes: bytes('kvMemory'),
    expertMemoryBytes: bytes('expertMemory'),
    localExpertBytes: text('localExperts') === '0' ? 0 : bytes('localExperts'),
    mtpExperts: oneOf('mtpExperts', ['auto', ...MTP_PLACES]),
    ...(text('trace') !== undefined && { traceFile: resolve(text('trace')!) }),
    logLevel: oneOf('logLevel', ['silent', 'error', 'warn', 'info', 'debug']),
  };
}

const UNIT_BYTES: Readonly<Record<string, number>> = { MiB: 2 ** 20, GiB: 2 ** 30, MB: 1e6, GB: 1e9 };

/** "512MiB" → bytes; undefined for what is no such size. */
export function parseBytes(text: string): number | undefined {
  const parts = /^(\d+(?:\.\d+)?) ?([MG]i?B)$/.exec(text.trim());
  const bytes = parts ? Math.floor(Number(parts[1]) * UNIT_BYTES[parts[2]!]!) : 0;
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Both ways in which it may have been given. */
function spelled(name: OptionName): string {
  return `--${OPTIONS[name].flag} (${OPTIONS[name].env})`;
}

/** WebRTC would refuse others only when the first donor comes. */
const ICE_URL = /^(stuns?|turns?):[^\s]+$/;

/** The text itself stays out of the message: it may hold a TURN server's credential. */
function parseIceServers(text: string): IceServer[] {
  let servers: IceServer[];
  try {
    servers = z.array(iceServerSchema).max(8).parse(JSON.parse(text));
  } catch {
    throw new UsageError(`${spelled('iceServers')} takes JSON like [{"urls":"stun:turn.example.org:3478"}]`);
  }
  const bad = servers.flatMap(({ urls }) => urls).find((url) => !ICE_URL.test(url));
  if (bad !== undefined)
    throw new UsageError(`${spelled('iceServers')}: "${bad}" does not begin with stun:, stuns:, turn: or turns:`);
  return servers;
}
