import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ROW_FORMATS } from '@shoal/protocol';
import { DENSE_FORMATS, QUANT_CHOICES } from '@shoal/weights';
import { looksLikeHubName } from '@shoal/weights/node';
import { ALERT_OPTIONS } from './base/alert-options.ts';
import { parseDatabaseUrl } from './base/database-url.ts';
import { ADDRESSES, ICE_SERVERS, NAMES, PORT, SECRET, SITES } from './base/network-values.ts';
import { choice, decimal, integer, path, ports, SIZE, SWITCH, text, type ValueKind } from './base/option-values.ts';
import { OWN_DIRS, ROOT_DIR } from './base/places.ts';
import { SHARD_URLS } from './base/shard-url.ts';
import { HELP_LINE, option, optionsHelp, optionsMarkdown, type OptionValues, readOptions } from './base/options.ts';
import { UsageError } from './base/usage-error.ts';

export { ROOT_DIR };

/** The engine accepts more threads, but they would only take turns. */
export const MAX_THREADS = 256;

/** A path, made absolute, where there is a directory or file of this name; else a model of a hub, by its name. */
export const MODEL: ValueKind<string> = {
  value: 'MODEL',
  parse: (given) => {
    const path = resolve(given);
    if (existsSync(path)) return path;
    if (looksLikeHubName(given)) return given;
    throw new UsageError(
      `takes a directory, a *.gguf file, or a model of a hub as ORG/NAME[@REVISION]; there is no ${path}, and this is no such name`,
    );
  },
};

const SIZE_OR_ZERO: ValueKind<number> = {
  value: 'SIZE',
  parse: (given) => (given === '0' ? 0 : SIZE.parse(given)),
};

/** In milliseconds. */
const SECONDS: ValueKind<number> = { value: 'SECONDS', parse: (given) => 1000 * integer(0, 3600).parse(given) };

/** Adapters by name, and where each is. No name or place contains a comma. */
const ADAPTERS: ValueKind<ReadonlyMap<string, string>> = {
  value: 'NAME=DIR|ORG/NAME',
  parse: (given) => {
    const adapters = new Map<string, string>();
    for (const one of given.split(',').filter((each) => each.trim() !== '')) {
      const [, name, place] = /^\s*([^=\s]+)=(.*\S)\s*$/.exec(one) ?? [];
      if (name === undefined) throw new UsageError(`takes NAME=DIR or NAME=ORG/NAME, not "${one}"`);
      if (adapters.has(name)) throw new UsageError(`names two adapters ${name}`);
      adapters.set(name, place!);
    }
    return adapters;
  },
};

const ADMIN_TOKEN: ValueKind<string> = {
  value: 'TOKEN',
  parse: (given) => {
    if (given.length >= 8) return given;
    throw new UsageError('takes 8 characters or more');
  },
};

/** A URL, or `none`. */
const DATABASE: ValueKind<string> = {
  value: 'URL|none',
  parse: (given) => {
    if (given !== 'none') parseDatabaseUrl(given);
    return given;
  },
};

/** The options by section of help and docs. */
const SECTIONS = {
  Model: {
    model: option('model', MODEL, {
      default: join(ROOT_DIR, 'models/tiny-stories'),
      defaultText: 'models/tiny-stories',
      help: 'model: ORG/NAME[@REVISION] of a hub, a Hugging Face directory, a *.gguf file, or a directory made by shoal pack',
      more: 'See [MODELS.md](MODELS.md).',
    }),
    offline: option('offline', SWITCH, {
      help: 'fetch nothing from the hub; use what is in its cache, or packed already',
      more: 'As `HF_HUB_OFFLINE=1`. See [below](#a-model-by-its-name).',
    }),
    quant: option('quant', choice(...QUANT_CHOICES), {
      defaultText:
        "a packed directory's own; auto if the experts take more than 1 GiB in f16; else f16, or the checkpoint's own",
      help: "format of the experts on tabs; auto is the checkpoint's own where tabs compute with it, else q4",
    }),
    denseQuant: option('dense-quant', choice(...DENSE_FORMATS, 'auto'), {
      defaultText: "a packed directory's own; q8 where --quant is auto; else f16",
      help: "format of the coordinator's own weights; auto is q8",
    }),
    adapters: option('adapter', ADAPTERS, {
      default: '',
      defaultText: 'none',
      many: true,
      help: 'LoRA adapter that requests may name as their model; may be given several times',
      more: 'See [below](#adapters).',
    }),
    adapterRoot: option('adapter-dir', path('DIR'), {
      defaultText: 'none: no adapter is loaded at run time',
      help: 'directory from whose folders an operator may load adapters at run time',
    }),
    adapterMemoryBytes: option('adapter-memory', SIZE, {
      default: '256MiB',
      help: 'memory for adapters, where there are any or --adapter-dir is given',
      more: 'As float32. It is reserved, and used as adapters are loaded.',
    }),
    adapterThreshold: option('adapter-threshold', decimal('SIMILARITY', -1, 1), {
      default: '0.35',
      help: 'similarity of a prompt to an adapter from which on model "auto" chooses the adapter',
      more: 'Measured with the default model ([below](#adapters)).',
    }),
    cacheDir: option('cache', path('DIR'), {
      default: join(OWN_DIRS.cache, 'packed'),
      defaultText: '.cache/packed; installed, $XDG_CACHE_HOME/shoal/packed, as ~/.cache/shoal/packed',
      help: 'directory for packed models, each in a folder named by its content',
      more: 'Nothing in it is deleted by Shoal: see [below](#the-cache).',
    }),
  },

  "The coordinator's own computing": {
    engine: option('engine', choice('wasm', 'reference'), {
      default: 'wasm',
      help: "dense engine for the coordinator's part of the model: WebAssembly on threads, or the slow reference",
    }),
    threads: option('threads', integer(1, MAX_THREADS), {
      defaultText: 'one per core',
      help: 'threads of the wasm engine, and as many again for local experts',
      more: 'The two take turns, and each sleeps while it waits.',
    }),
    kvMemoryBytes: option('kv-memory', SIZE, {
      default: '512MiB',
      help: 'memory for the KV cache',
      more:
        'It stays resident once it has been used, up to the size of 256 full contexts. A request that can never fit gets 400. ' +
        'One that does not fit yet waits, and others may pass it for a while; when the queue is full, requests get 429.',
    }),
    expertMemoryBytes: option('expert-memory', SIZE, {
      default: '512MiB',
      help: 'memory for experts that the coordinator keeps loaded for audits and for what no tab serves, at most 3GiB',
      more: "Where all of a model's experts fit, computing without tabs reads nothing from disk.",
    }),
    localExpertBytes: option('local-experts', SIZE_OR_ZERO, {
      default: '0',
      help: 'memory for whole layers of experts that the coordinator computes without a lap, 0 for none',
      more: 'See [below](#local-layers).',
    }),
    mtpExperts: option('mtp-experts', choice('auto', 'local', 'tabs', 'off'), {
      default: 'auto',
      help: "where the experts of the model's MTP module are: at the coordinator, on tabs, or nowhere (no drafts by it)",
      more:
        'On tabs they are one more layer. `auto` keeps them at the coordinator where they fit into `--local-experts` or half of ' +
        '`--expert-memory`, and else puts them on tabs.',
    }),
  },

  Swarm: {
    replicas: option('replicas', integer(1, 16), {
      default: '2',
      help: 'copies of each expert on distinct donors, where memory allows',
    }),
    rowFormat: option('row-format', choice(...ROW_FORMATS), {
      default: 'f16',
      help: 'how rows travel to tabs and back: int8 halves the bytes and costs some accuracy',
      more: 'See docs/adr/0017.',
    }),
    lapConnections: option('lap-connections', choice('auto', '1', '2', '3', '4'), {
      default: 'auto',
      help: 'WebRTC connections per tab; auto: 4 where two rows of the model are over 11.5 KB, else 1',
      more:
        'Large frames are spread over them (docs/adr/0017). 11.5 KB is what one connection sends at once; two rows exceed it ' +
        'above a hidden size of 2,875 in f16 and 5,576 in int8. Each connection takes a socket, a handshake and, through TURN, ' +
        'an allocation.',
    }),
    deviceLimit: option('device-limit', integer(0, 64), {
      default: '0',
      help: "tabs that a token may use in a layer, 0 for no limit; a limit may change a model's answers",
      more: '`shoal perplexity --device-limit` measures by how much.',
    }),
    cpuDonors: option(
      'no-cpu-donors',
      { parse: (given: string) => !SWITCH.parse(given) },
      {
        default: '0',
        help: 'refuse browsers without WebGPU, which would lend their processor',
        more: 'Such tabs hold experts like others and are much slower. With this switch the donor page asks for a GPU.',
      },
    ),
    shardUrls: option('shard-url', SHARD_URLS, {
      default: '',
      defaultText: "none: all weights come from the coordinator's line",
      many: true,
      help: 'static host, bucket or cache that tabs fetch weights from first; may be given several times, tried in this order',
      more:
        'As `URL` (followed by `/SHA-256`, or with `{sha256}` where the hash belongs), or `s3:REGION:URL` for a private bucket ' +
        'whose URLs the coordinator signs. See [below](#weights-from-elsewhere).',
    }),
    embedSites: option('embed-sites', SITES, {
      default: '*',
      help: 'sites that may show the embed, in which their visitors lend',
      more:
        'Each visitor is asked in the frame itself, which counts a press only where it was in full view. `none` allows no site. ' +
        'No other page of the coordinator can be framed.',
    }),
    tabToTab: option('tab-to-tab', SWITCH, {
      help: 'tabs whose donors agree hand weights to each other; they learn each other’s addresses',
      more: 'See [below](#from-tab-to-tab).',
    }),
    iceServers: option('ice-servers', ICE_SERVERS, {
      default: '[]',
      defaultText: 'none, which is enough on one network',
      help: 'STUN and TURN servers, as RTCIceServer[]',
    }),
    turnSecret: option('turn-secret', SECRET, {
      defaultText: 'none: all donors have the login in --ice-servers',
      help: 'secret shared with the TURN servers, from which each donor gets a login for a day (coturn: use-auth-secret)',
    }),
    udpPorts: option('udp-ports', ports(1), {
      defaultText: 'a port that the system chooses for each connection',
      help: 'UDP port of all WebRTC connections; of a range a free one, so that several coordinators can be given the same',
      more: 'See [below](#udp).',
    }),
    announce: option('announce', ADDRESSES, {
      default: '',
      defaultText: 'the addresses of this machine',
      help: 'addresses that tabs are told to reach this machine by UDP, in place of its own: for NAT and containers',
      more: 'See [below](#udp).',
    }),
  },

  Scheduling: {
    maxBatch: option('max-batch', integer(1, 256), {
      default: '64',
      help: 'sequences decoded at a time',
      more: 'The KV cache may hold fewer.',
    }),
    maxQueue: option('max-queue', integer(0, 10_000), {
      default: '64',
      help: 'requests that may wait',
      more: 'One client may have three quarters of the places. Requests beyond that get 429.',
    }),
    promptLaps: option('prompt-laps', integer(1, 1000), {
      default: '2',
      help: 'how long prompts may hold up each token of running answers, in laps',
      more:
        'Gaps of 50 ms are always allowed. With more, first tokens come sooner when many clients ask at once, and gaps ' +
        'between tokens are longer ([measurements](measurements/scheduling.md)).',
    }),
    halfBatches: option('half-batches', choice('auto', 'on', 'off'), {
      default: 'auto',
      help: 'compute half of the rows while the laps of the other half are out; auto: where passes wait long for laps and that is no slower',
      more: 'It changes no answer.',
    }),
    speculate: option('speculate', choice('auto', 'mtp', 'lookup', 'off'), {
      default: 'auto',
      help: "what drafts tokens ahead: the model's MTP module, repetitions in texts, whichever promises more, or nothing",
      more:
        'A pass verifies drafted tokens together, so answers are the same and come sooner. `lookup` drafts what followed the last ' +
        'tokens before, in the request or in recent answers to the same API key or address ' +
        '([what is kept](security.md#what-there-is-to-protect)). `auto` chooses for each answer and pass.',
    }),
    drafter: option('drafter', MODEL, {
      defaultText: 'none',
      help: "a head that drafts from the model's hidden states, in place of the MTP module: ORG/NAME[@REVISION] or a directory",
      more:
        'An EAGLE-3 or DFlash head that was trained for the model, as its authors or the `speculators` package publish it. It makes no lap and ' +
        "lies in the coordinator's memory, in the format of `--dense-quant`. See [speculation](speculation.md#a-head).",
    }),
    draftModel: option('draft-model', MODEL, {
      defaultText: 'none',
      help: 'a small dense model with the same tokenizer, which drafts in place of the MTP module: ORG/NAME[@REVISION] or a directory',
      more:
        'The coordinator holds all of it, packed in `--cache`, and computes it on the threads of its own engine. ' +
        'See [speculation](speculation.md#a-draft-model).',
    }),
    draftQuant: option('draft-quant', choice(...DENSE_FORMATS), {
      defaultText: "a packed directory's own; else q8",
      help: "format of the draft model's weights; as q4 a draft takes half as long as with q8",
    }),
    draftKvBytes: option('draft-kv-memory', SIZE, {
      default: '256MiB',
      help: 'memory for the KV cache of the draft model',
      more: 'An answer for which no room is left is drafted from texts.',
    }),
    // Repeated text is right for long, and trees are wide; more are seldom worth their rows.
    maxDrafts: option('max-drafts', integer(1, 64), {
      default: '32',
      help: 'tokens drafted ahead per sequence at most, alternatives among them; fewer where more do not pay',
    }),
  },

  'Server and access': {
    host: option('host', text('ADDRESS'), { default: '127.0.0.1', help: 'address to listen on' }),
    port: option('port', PORT, {
      default: '8787',
      help: 'port to listen on, 0 for any free one; of a range the first free one',
    }),
    modelAliases: option('model-alias', NAMES, {
      default: '',
      defaultText: 'none',
      help: 'other names of the model that requests may use, separated by commas',
      more: 'For programs with a model’s name of their own, such as `gpt-4o-mini`. `/v1/models` lists them.',
    }),
    convention: option('convention', text('NAME'), {
      default: 'auto',
      help: 'how the model writes tool calls and reasoning; auto: as its chat template shows',
      more: 'The names are in [docs/API.md](API.md#tools).',
    }),
    strictParameters: option('strict-parameters', SWITCH, {
      help: 'refuse requests with unknown parameters, which are ignored otherwise',
    }),
    accessFile: option('access', path('FILE'), {
      defaultText: 'none: the rules are in the database, and without one anyone may lend and ask',
      help: 'JSON file with invitations, API keys, admins and limits, in place of those in the database',
      more: 'See [below](#who-may-do-what).',
    }),
    adminToken: option('admin-token', ADMIN_TOKEN, {
      defaultText: 'the first start prints one that stays valid',
      help: "one more operator's password for the console, of this process alone",
    }),
    trustProxy: option('trust-proxy', SWITCH, {
      help: 'take client addresses from the proxy in front (the last of X-Forwarded-For)',
    }),
    drainTimeoutMs: option('drain-timeout', SECONDS, {
      default: '15',
      help: 'how long running answers may continue after Ctrl-C',
    }),
    dataDir: option('data', path('DIR'), {
      defaultText: '.cache/data/PORT, or the data folder of the user if it is installed; none with --port 0',
      help: 'directory of the embedded database: keys, usage, events, quarantines, the work of donors',
      more: 'Each coordinator needs one of its own. See [below](#the-database).',
    }),
    database: option('database', DATABASE, {
      defaultText: 'an embedded one in the directory of --data',
      help: 'Postgres server in place of the embedded database, as postgres://USER:PASSWORD@HOST:PORT/NAME; none keeps nothing',
      more: 'As a variable, the password is in no list of processes.',
    }),
    traceFile: option('trace', path('FILE'), {
      defaultText: 'none',
      help: 'write a timeline of engine, tabs and wire for ui.perfetto.dev (Chrome trace, at most 512 MiB)',
      more: 'See [below](#a-timeline).',
    }),
    logLevel: option('log-level', choice('silent', 'error', 'warn', 'info', 'debug'), {
      default: 'warn',
      help: 'lowest severity to log, as JSON lines on stderr',
    }),
  },

  Alerts: ALERT_OPTIONS,
};

/** All options of `shoal serve`, by the fields of `Config`. */
export const CONFIG_OPTIONS = {
  ...SECTIONS.Model,
  ...SECTIONS["The coordinator's own computing"],
  ...SECTIONS.Swarm,
  ...SECTIONS.Scheduling,
  ...SECTIONS['Server and access'],
  ...SECTIONS.Alerts,
};

/** How a coordinator is run. */
export interface Config extends OptionValues<typeof CONFIG_OPTIONS> {}

/** Where the experts of a model's MTP module are: at the coordinator, on tabs as one more layer, or nowhere. */
export type MtpPlace = Exclude<Config['mtpExperts'], 'auto'>;

/** Throws a UsageError that names the option. */
export function parseConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Config {
  return readOptions(CONFIG_OPTIONS, argv, env);
}

/** The configuration without any flag or variable, except for `overrides`, and without a database unless they have one. */
export function defaultConfig(overrides: Partial<Config> = {}): Config {
  const database = overrides.dataDir === undefined ? 'none' : undefined;
  return { ...parseConfig([], {}), database, ...overrides };
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
