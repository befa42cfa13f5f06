import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type IceServer, iceServerSchema, ROW_FORMATS } from '@shoal/protocol';
import { DENSE_FORMATS, QUANTS } from '@shoal/weights';
import { z } from 'zod';
import { choice, integer, path, SIZE, SWITCH, text, type ValueKind } from './base/option-values.ts';
import {
  HELP_LINE,
  type OptionTable,
  optionsHelp,
  optionsMarkdown,
  type OptionValues,
  readOptions,
} from './base/options.ts';
import { UsageError } from './base/usage-error.ts';

/** The repository's folder. Default paths are relative to it, not to the working directory. */
export const ROOT_DIR = resolve(import.meta.dirname, '../..');

/** The engine accepts more threads, but they would only take turns. */
export const MAX_THREADS = 256;

const MODEL_DIR: ValueKind<string> = {
  value: 'DIR',
  parse: (given) => {
    const dir = resolve(given);
    if (existsSync(join(dir, 'config.json'))) return dir;
    throw new UsageError(
      `needs a directory with a config.json, and ${dir} has none; give a Hugging Face model directory, or one made by shoal pack`,
    );
  },
};

const ADMIN_TOKEN: ValueKind<string> = {
  value: 'TOKEN',
  parse: (given) => {
    if (given.length >= 8) return given;
    throw new UsageError('takes 8 characters or more');
  },
};

/** WebRTC would refuse any other URL only when the first donor joins. */
const ICE_URL = /^(stuns?|turns?):[^\s]+$/;

const ICE_SERVERS: ValueKind<IceServer[]> = {
  value: 'JSON',
  parse: (given) => {
    let servers: IceServer[];
    try {
      servers = z.array(iceServerSchema).max(8).parse(JSON.parse(given));
    } catch {
      // The text is not quoted: it may hold a TURN server's credential.
      throw new UsageError('takes JSON like [{"urls":"stun:turn.example.org:3478"}]');
    }
    const bad = servers.flatMap(({ urls }) => urls).find((url) => !ICE_URL.test(url));
    if (bad === undefined) return servers;
    throw new UsageError(`takes URLs that begin with stun:, stuns:, turn: or turns:, not "${bad}"`);
  },
};

const MODEL_OPTIONS = {
  modelDir: {
    flag: 'model',
    ...MODEL_DIR,
    default: join(ROOT_DIR, 'models/tiny-stories'),
    defaultText: 'models/tiny-stories',
    help: 'Hugging Face model directory, or one made by shoal pack',
    more: 'Model types: `deepseek_v2`, `deepseek_v3`, `qwen3_moe`, `olmoe`, `mixtral`.',
  },
  quant: {
    flag: 'quant',
    ...choice(...QUANTS),
    defaultText: "f16, or a packed directory's own",
    help: 'format of the experts on tabs',
  },
  denseQuant: {
    flag: 'dense-quant',
    ...choice(...DENSE_FORMATS),
    defaultText: "f16, or a packed directory's own",
    help: "format of the coordinator's own weights",
  },
  cacheDir: {
    flag: 'cache',
    ...path('DIR'),
    default: join(ROOT_DIR, '.cache/packed'),
    defaultText: '.cache/packed',
    help: 'directory for packed models',
  },
} satisfies OptionTable;

const COMPUTE_OPTIONS = {
  engine: {
    flag: 'engine',
    ...choice('wasm', 'reference'),
    default: 'wasm',
    help: "dense engine for the coordinator's part of the model: WebAssembly on threads, or the slow reference",
  },
  threads: {
    flag: 'threads',
    ...integer(1, MAX_THREADS),
    defaultText: 'one per core',
    help: 'threads of the wasm engine, and as many again for local experts',
    more: 'The two take turns, and each sleeps while it waits.',
  },
  kvMemoryBytes: {
    flag: 'kv-memory',
    ...SIZE,
    default: '512MiB',
    help: 'memory for the KV cache',
    more:
      'It stays resident once it has been used, up to the size of 256 full contexts. A request that can never fit gets 400. ' +
      'One that does not fit yet waits, and others may pass it for a while; when the queue is full, requests get 429.',
  },
  expertMemoryBytes: {
    flag: 'expert-memory',
    ...SIZE,
    default: '512MiB',
    help: 'memory for experts that the coordinator keeps loaded for audits and for what no tab serves, at most 3GiB',
    more: "Where all of a model's experts fit, computing without tabs reads nothing from disk.",
  },
  localExpertBytes: {
    flag: 'local-experts',
    value: 'SIZE',
    parse: (given: string) => (given === '0' ? 0 : SIZE.parse(given)),
    default: '0',
    help: 'memory for whole layers of experts that the coordinator computes without a lap, 0 for none',
    more: 'See [below](#layers-of-its-own).',
  },
  mtpExperts: {
    flag: 'mtp-experts',
    ...choice('auto', 'local', 'tabs', 'off'),
    default: 'auto',
    help: "where the experts of the model's MTP module are: at the coordinator, on tabs, or nowhere (no drafts by it)",
    more:
      'On tabs they are one more layer. `auto` keeps them at the coordinator where they fit into `--local-experts` or half of ' +
      '`--expert-memory`, and else puts them on tabs.',
  },
} satisfies OptionTable;

const SWARM_OPTIONS = {
  replicas: {
    flag: 'replicas',
    ...integer(1, 16),
    default: '2',
    help: 'copies of each expert on distinct donors, where memory allows',
  },
  rowFormat: {
    flag: 'row-format',
    ...choice(...ROW_FORMATS),
    default: 'f16',
    help: 'how rows travel to tabs and back: int8 halves the bytes and costs some accuracy',
    more: 'See docs/adr/0017.',
  },
  lapConnections: {
    flag: 'lap-connections',
    ...choice('auto', '1', '2', '3', '4'),
    default: 'auto',
    help: 'WebRTC connections per tab; auto: 4 where two rows of the model are over 11.5 KB, else 1',
    more:
      'Large frames are spread over them (docs/adr/0017). 11.5 KB is what one connection sends at once; two rows exceed it ' +
      'above a hidden size of 2,875 in f16 and 5,576 in int8. Each connection takes a socket, a handshake and, through TURN, ' +
      'an allocation.',
  },
  deviceLimit: {
    flag: 'device-limit',
    value: 'M',
    parse: integer(0, 64).parse,
    default: '0',
    help: "tabs that a token may use in a layer, 0 for no limit; a limit may change a model's answers",
    more: '`shoal perplexity --device-limit` measures by how much.',
  },
  cpuDonors: {
    flag: 'no-cpu-donors',
    parse: (given: string) => !SWITCH.parse(given),
    default: '0',
    help: 'refuse browsers without WebGPU, which would lend their processor',
    more: 'Such tabs hold experts like others and are much slower. With this switch the donor page asks for a GPU.',
  },
  iceServers: {
    flag: 'ice-servers',
    ...ICE_SERVERS,
    default: '[]',
    defaultText: 'none, which is enough on one network',
    help: 'STUN and TURN servers, as RTCIceServer[]',
  },
} satisfies OptionTable;

const SCHEDULING_OPTIONS = {
  maxBatch: {
    flag: 'max-batch',
    ...integer(1, 256),
    default: '64',
    help: 'sequences decoded at a time',
    more: 'The KV cache may hold fewer.',
  },
  maxQueue: {
    flag: 'max-queue',
    ...integer(0, 10_000),
    default: '64',
    help: 'requests that may wait',
    more: 'One client may have three quarters of the places. Requests beyond that get 429.',
  },
  promptLaps: {
    flag: 'prompt-laps',
    ...integer(1, 1000),
    default: '1',
    help: 'how long prompts may hold up each token of running answers, in laps',
    more: 'With more, first tokens come sooner when many clients ask at once, and gaps between tokens are longer.',
  },
  halfBatches: {
    flag: 'half-batches',
    ...choice('auto', 'on', 'off'),
    default: 'auto',
    help: 'compute half of the rows while the laps of the other half are out; auto: where it is measured to be no slower',
    more: 'It changes no answer.',
  },
  speculate: {
    flag: 'speculate',
    ...choice('auto', 'mtp', 'lookup', 'off'),
    default: 'auto',
    help: "what drafts tokens ahead: the model's MTP module, repetitions in the text, whichever there is, or nothing",
    more:
      'A pass verifies drafted tokens together, so answers are the same and come sooner. `auto` takes the MTP module where ' +
      'the model has one, and else the text.',
  },
  maxDrafts: {
    flag: 'max-drafts',
    // More are hardly ever all accepted.
    ...integer(1, 16),
    default: '4',
    help: 'tokens drafted ahead per sequence at most; fewer where more do not pay',
  },
} satisfies OptionTable;

const SERVER_OPTIONS = {
  host: { flag: 'host', ...text('ADDRESS'), default: '127.0.0.1', help: 'address to listen on' },
  port: { flag: 'port', ...integer(0, 65_535), default: '8787', help: 'port to listen on, 0 for a free one' },
  accessFile: {
    flag: 'access',
    ...path('FILE'),
    defaultText: 'none: everybody may lend and ask',
    help: 'JSON file with invitations, API keys, admins and limits',
    more: 'See [below](#who-may-do-what).',
  },
  adminToken: {
    flag: 'admin-token',
    ...ADMIN_TOKEN,
    defaultText: 'a new one, printed, unless the access file has admins',
    help: "the console's password",
  },
  trustProxy: {
    flag: 'trust-proxy',
    ...SWITCH,
    help: 'take client addresses from the proxy in front (the last of X-Forwarded-For)',
  },
  drainTimeoutMs: {
    flag: 'drain-timeout',
    value: 'SECONDS',
    parse: (given: string) => integer(0, 3600).parse(given) * 1000,
    default: '15',
    help: 'how long running answers may continue after Ctrl-C',
  },
  traceFile: {
    flag: 'trace',
    ...path('FILE'),
    defaultText: 'none',
    help: 'write a timeline of engine, tabs and wire for ui.perfetto.dev (Chrome trace, at most 512 MiB)',
    more: 'See [below](#a-timeline).',
  },
  logLevel: {
    flag: 'log-level',
    value: 'LEVEL',
    parse: choice('silent', 'error', 'warn', 'info', 'debug').parse,
    default: 'warn',
    help: 'lowest severity to log: silent, error, warn, info or debug',
    more: 'The log is JSON lines on stderr.',
  },
} satisfies OptionTable;

const SECTIONS: Readonly<Record<string, OptionTable>> = {
  Model: MODEL_OPTIONS,
  "The coordinator's own computing": COMPUTE_OPTIONS,
  Swarm: SWARM_OPTIONS,
  Scheduling: SCHEDULING_OPTIONS,
  'Server and access': SERVER_OPTIONS,
};

/** All options of `shoal serve`, by the fields of `Config`. */
export const CONFIG_OPTIONS = {
  ...MODEL_OPTIONS,
  ...COMPUTE_OPTIONS,
  ...SWARM_OPTIONS,
  ...SCHEDULING_OPTIONS,
  ...SERVER_OPTIONS,
} satisfies OptionTable;

/** How a coordinator is run. */
export interface Config extends OptionValues<typeof CONFIG_OPTIONS> {}

/** Where the experts of a model's MTP module are: at the coordinator, on tabs as one more layer, or nowhere. */
export type MtpPlace = Exclude<Config['mtpExperts'], 'auto'>;

/** Throws a UsageError that names the option. */
export function parseConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Config {
  return readOptions(CONFIG_OPTIONS, argv, env);
}

/** The configuration without any flag or variable, except for `overrides`. */
export function defaultConfig(overrides: Partial<Config> = {}): Config {
  return { ...parseConfig([], {}), ...overrides };
}

/** The options of `shoal serve`, for its --help. */
export function configHelp(): string {
  const sections = Object.entries(SECTIONS).map(([title, table]) => {
    return `${title}:\n${optionsHelp(table, { variables: true })}\n`;
  });
  return `${sections.join('')}${HELP_LINE}`;
}

/** The same options for docs/OPERATIONS.md. */
export function configMarkdown(): string {
  return Object.entries(SECTIONS)
    .map(([title, table]) => `**${title}**\n\n${optionsMarkdown(table)}`)
    .join('\n');
}
