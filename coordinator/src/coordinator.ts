import { existsSync } from 'node:fs';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadGenerationConfig } from '@shoal/model/node';
import { HEARTBEAT_MS, MAX_SIGNALLING_FROM_DONOR_BYTES } from '@shoal/protocol';
import { loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { type Logger, pino } from 'pino';
import { Registry } from 'prom-client';
import { Server } from 'socket.io';
import packageJson from '../package.json' with { type: 'json' };
import { Access, type ReportLevel } from './access/access.ts';
import { addressKey } from './base/address.ts';
import { ApiKeys } from './access/api-keys.ts';
import { SignInGuard } from './access/sign-in.ts';
import { SocketGuard } from './access/sockets.ts';
import { newToken } from './access/token.ts';
import { NetworkBuckets } from './base/token-bucket.ts';
import { type Core, type CoreHooks, createCore } from './core.ts';
import { serveConsole } from './console/gateway.ts';
import { registerMeetingMetrics } from './console/meeting-metrics.ts';
import { lapHistogram, registerMetrics } from './console/metrics.ts';
import { SnapshotBuilder } from './console/snapshot.ts';
import { ApiError } from './http/errors.ts';
import {
  bearerToken,
  buildHttpServer,
  type HeldAddress,
  holdAddress,
  type HttpAccess,
  isScopeIn,
  mirrorTemplates,
  type OperatorRefusal,
  s3Credentials,
  type SamplingDefaults,
  type ShardMirrors,
  sourceModel,
  type StartProgress,
  tokenizerCodec,
} from './http/index.ts';
import { type Config, ROOT_DIR } from './config.ts';
import { type DonorGatewayOptions, serveDonors } from './swarm/donor-gateway.ts';
import type { EventLog } from './base/event-log.ts';
import { lapConnectionsOf } from './swarm/lap-connections.ts';
import { ShardReports } from './swarm/shard-reports.ts';
import { TabMeetings } from './swarm/tab-meetings.ts';

const HOUR_MS = 3_600_000;

/** A viewer's token is enough, since metrics show less than the console. */
const METRICS_NEED_ADMIN =
  'The metrics are for admins. Send a viewer’s or operator’s token as Authorization: Bearer TOKEN (Prometheus: authorization.credentials_file).';

const NEEDS_OPERATOR =
  'Adapters are loaded and unloaded by operators. Send an operator’s token as Authorization: Bearer TOKEN.';

/**
 * How long either end of a socket waits for the other's ping or pong, beyond the interval of 25 s. Of a tab's end its link tells
 * much sooner, and a coordinator that was blocked for so long keeps its tabs.
 */
const SOCKET_PING_TIMEOUT_MS = 60_000;

/** Time for farewells to leave. */
const FAREWELL_MS = 250;
/** From the end of draining until connections that are still open are cut. */
const CLOSE_TIMEOUT_MS = 2_000;

export interface Coordinator extends Core {
  /** e.g. `http://127.0.0.1:8787` */
  url: string;
  /** Undefined where only the access file's admins can sign in. */
  adminToken: string | undefined;
  /** The access rules, which can be reloaded. */
  access: Access;
  snapshots: SnapshotBuilder;
  /** Lets running answers finish (or end with an error after the drain timeout), sends the tabs away and closes. */
  close(): Promise<void>;
}

/** Starts a coordinator that listens. Rejects, with nothing left running, when it cannot. */
export async function startCoordinator(config: Config, hooks: Omit<CoreHooks, 'onLap'> = {}): Promise<Coordinator> {
  // First, since a bad access file and missing credentials are found at no cost.
  const entry = { ...openAccess(config), s3: s3Credentials(config.shardUrls) };
  let progress: StartProgress = { doing: 'opening the model' };
  const held = await holdAddress(config.host, config.port, () => progress);
  let rtc: RtcImplementation | undefined;
  let core: Core | undefined;
  try {
    rtc = await loadRtc();
    const registry = new Registry();
    const laps = lapHistogram(registry);
    core = await createCore(config, {
      ...withProgress(hooks, (now) => (progress = now)),
      onLap: (lapMs) => laps.observe(lapMs / 1000),
    });
    return await serve({ core, config, rtc, registry, held, ...entry });
  } catch (error) {
    await held.close();
    await core?.close();
    rtc?.close();
    throw error;
  }
}

/** The hooks, with `note` called for what is under way. */
function withProgress(hooks: Omit<CoreHooks, 'onLap'>, note: (progress: StartProgress) => void): typeof hooks {
  return {
    ...hooks,
    onPackProgress: (progress) => {
      const { doneBytes, totalBytes } = progress;
      note(
        doneBytes < totalBytes ? { doing: 'packing experts', doneBytes, totalBytes } : { doing: 'loading the model' },
      );
      hooks.onPackProgress?.(progress);
    },
    onDraftPackProgress: (progress) => {
      const { doneBytes, totalBytes } = progress;
      note({ doing: 'packing the draft model', doneBytes, totalBytes });
      hooks.onDraftPackProgress?.(progress);
    },
    onLoadProgress: (progress) => {
      const { doneBytes, totalBytes } = progress;
      note({ doing: 'loading local experts', doneBytes, totalBytes });
      hooks.onLoadProgress?.(progress);
    },
  };
}

interface Serving {
  core: Core;
  config: Config;
  access: Access;
  adminToken: string | undefined;
  rtc: RtcImplementation;
  registry: Registry;
  held: HeldAddress;
  /** For mirrors whose URLs are signed. */
  s3: ShardMirrors['s3'];
}

async function serve(serving: Serving): Promise<Coordinator> {
  const { core, config, access, adminToken, rtc, registry, held } = serving;
  const { scheduler, swarm, events, packed } = core;
  const mirrorNames = config.shardUrls.map(({ origin }) => origin);
  const shardReports = new ShardReports({ events, mirrorNames });
  const meetings = config.tabToTab ? openMeetings(core, config) : undefined;
  if (meetings) registerMeetingMetrics(registry, meetings);
  const log = pino({ level: config.logLevel }, pino.destination({ dest: 2, sync: false }));
  registerMetrics(registry, { ...core, access });
  let draining = false;
  const isDraining = (): boolean => draining;
  const mirrors = { urls: config.shardUrls, s3: serving.s3, tabBytes: () => shardReports.bytes };
  const http = await openHttp(serving, log, mirrors, isDraining);
  const sockets = openSockets(serving, log, http.server, { shardReports, meetings });
  const { version } = packageJson;
  const { adapterRoot } = config;
  const { quant } = packed.manifest.shape;
  const snapshots = new SnapshotBuilder({ ...core, adapterRoot, version, quant, isDraining });
  const adapters = { adapters: core.adapters, adapterRoot };
  const console = serveConsole(sockets.of('/console'), { access, snapshots, events, swarm, adapters });
  try {
    await http.listen({ host: config.host, port: held.port });
  } catch (error) {
    console.close();
    await sockets.close();
    throw error;
  }
  held.handOver();
  const { port } = held;
  events.add({ level: 'info', kind: 'server', text: `Serving ${scheduler.modelId} on port ${port}` });
  const stopWatching = watchAccess(access, events, log);
  access.events.on('change', () => scheduler.speculation.keepAnswersOf(isScopeIn(access.policy)));
  core.health.reports.on('report', (level, text) => log[level === 'warning' ? 'warn' : level](text));

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    draining = true;
    stopWatching();
    events.add({ level: 'warning', kind: 'server', text: 'Shutting down' });
    await Promise.all([scheduler, core.encoder].map((one) => one?.drain(config.drainTimeoutMs)));
    swarm.close();
    console.close();
    await closeNetwork(http, sockets);
    await core.close();
    rtc.close();
  };
  const url = urlOf(config.host, port);
  return { ...core, url, adminToken, access, snapshots, close: () => (closing ??= close()) };
}

async function openHttp(
  { core, config, access, registry, held }: Serving,
  log: Logger,
  mirrors: ShardMirrors,
  isDraining: () => boolean,
) {
  const { scheduler, packed, health } = core;
  return buildHttpServer({
    generation: scheduler,
    embeddings: core.encoder,
    source: sourceModel(core),
    lab: core.lab,
    codec: tokenizerCodec(core.tokenizer, core.texts, core.config.vocabSize),
    grammars: core.grammars,
    convention: core.convention,
    templateTraits: core.tokenizer.chatTemplate?.traits,
    aliases: [...config.modelAliases, ...(core.hubName === undefined ? [] : [core.hubName])],
    adapters: core.adapters,
    adapterRoot: config.adapterRoot,
    strictParameters: config.strictParameters,
    log,
    registry,
    defaults: await samplingDefaults(packed.dir),
    shard: (sha256) => {
      const path = packed.shardPath(sha256);
      if (!health.mayServe(sha256)) throw damagedShard();
      return path === undefined ? core.adapters.shards.shard(sha256) : { path, bytes: packed.manifest.shardBytes };
    },
    mirrors,
    readiness: () => readinessOf(core, isDraining()),
    staticRoots: builtPages(),
    offersTabToTab: config.tabToTab,
    listener: held.listener,
    access: httpAccess(access),
  });
}

/** Not 404, since the shard may be mended soon. */
function damagedShard(): ApiError {
  const headers = { 'retry-after': '60' };
  return new ApiError(503, 'This shard is damaged on the coordinator’s disk.', { code: 'shard_damaged', headers });
}

/** Names no file, since anyone may ask. */
function readinessOf({ scheduler, swarm, health }: Core, isDraining: boolean): { ready: boolean; detail: object } {
  const damaged = `${health.damaged} ${health.damaged === 1 ? 'file' : 'files'} of the packed model`;
  const problem =
    health.damaged > 0 ? `${damaged} damaged beyond mending: see the log or the console's events` : undefined;
  const reason = isDraining ? 'shutting down' : problem;
  const { shards, checked: checkedShards } = health.progress;
  const tabs = [...swarm.serving()].length;
  const detail = { model: scheduler.modelId, tabs, uncoveredExperts: swarm.uncovered(), shards, checkedShards };
  return { ready: reason === undefined, detail: { ...(reason !== undefined && { reason }), ...detail } };
}

function openMeetings({ packed: { manifest }, events }: Core, { iceServers }: Config): TabMeetings {
  const shards = manifest.expertLayers.flatMap((layer) => manifest.shards[layer]!);
  return new TabMeetings({ shards, shardBytes: manifest.shardBytes, iceServers, events });
}

/** The socket.io server on the HTTP port, with the donors' namespace. */
function openSockets(
  { core, config, access, rtc }: Serving,
  log: Logger,
  server: HttpServer,
  ofShards: Pick<DonorGatewayOptions, 'shardReports' | 'meetings'>,
): Server {
  const { scheduler, swarm, packed, config: model } = core;
  const guard = new SocketGuard(access);
  const sockets = new Server(server, {
    maxHttpBufferSize: MAX_SIGNALLING_FROM_DONOR_BYTES,
    serveClient: false,
    pingTimeout: SOCKET_PING_TIMEOUT_MS,
    allowRequest: guard.allowRequest,
  });
  guard.watch(sockets);
  // socket.io leaves the sockets of other upgrades open, without a timeout, if they have carried an answer before.
  server.on('upgrade', ({ url }, socket) => url?.startsWith(sockets.path()) || socket.destroy());
  serveDonors(sockets.of('/donor'), {
    swarm,
    access,
    rtc,
    log,
    ...ofShards,
    terms: {
      iceServers: config.iceServers,
      shardUrls: mirrorTemplates({ urls: config.shardUrls }),
      heartbeatMs: HEARTBEAT_MS,
      lapConnections: lapConnectionsOf(config.lapConnections, model.hiddenSize, config.rowFormat),
      model: {
        id: scheduler.modelId,
        ...packed.manifest.shape,
        shardBytes: packed.manifest.shardBytes,
      },
    },
  });
  return sockets;
}

async function closeNetwork(http: Awaited<ReturnType<typeof buildHttpServer>>, sockets: Server): Promise<void> {
  await delay(FAREWELL_MS);
  // All answers have ended. Only a client that does not read can still hold its connection.
  const timeout = setTimeout(() => http.server.closeAllConnections(), CLOSE_TIMEOUT_MS);
  // Closed together: socket.io waits for all connections, and the HTTP server ends the idle ones.
  await Promise.all([sockets.close(), http.close()]);
  clearTimeout(timeout);
}

/** An address that a browser on this machine can open as a secure context, which WebGPU needs. */
export function urlOf(host: string, port: number): string {
  const isEverywhere = host === '0.0.0.0' || host === '::';
  const name = isEverywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

function openAccess({ accessFile: file, adminToken, trustProxy }: Config) {
  const given = new Access({ file, adminToken, trustProxy });
  if (adminToken !== undefined || given.policy.admins.length > 0) return { access: given, adminToken };
  const generated = newToken();
  return { access: new Access({ file, adminToken: generated, trustProxy }), adminToken: generated };
}

/** The access rules as the HTTP server uses them. */
function httpAccess(access: Access): HttpAccess {
  const limit = (): number => access.policy.limits.shardBytesPerHourPerAddress;
  const allowances = new NetworkBuckets(limit(), HOUR_MS);
  const guard = new SignInGuard(access);
  const addressOf = (request: IncomingMessage): string => addressKey(access.addressOf(request));
  return {
    keys: new ApiKeys(access),
    addressOf,
    takeShardBytes(request, bytes) {
      allowances.setCapacity(limit());
      const waitMs = allowances.take(access.addressOf(request), bytes);
      if (waitMs > 0) access.refusals.shard++;
      return waitMs;
    },
    refuseMetrics(request, token) {
      if (!access.policy.metricsNeedAdmin) return undefined;
      if (token === undefined) return METRICS_NEED_ADMIN;
      const signIn = guard.signIn(access.addressOf(request), token);
      return signIn.ok ? undefined : signIn.message;
    },
    refuseOperator: (request, authorization) => refuseOperator(access, guard, request, authorization),
  };
}

/** Why a request with this header may not command the coordinator, as the console's operators may. */
function refuseOperator(
  access: Access,
  guard: SignInGuard,
  request: IncomingMessage,
  authorization: string | undefined,
): OperatorRefusal | undefined {
  const token = bearerToken(authorization);
  if (token === undefined) return { status: 401, code: 'operator_token_missing', message: NEEDS_OPERATOR };
  const signIn = guard.signIn(access.addressOf(request), token);
  if (!signIn.ok) return { status: 401, code: 'operator_token_wrong', message: signIn.message };
  if (signIn.admin.role === 'operator') return undefined;
  return { status: 403, code: 'operator_needed', message: `${signIn.admin.name} is a viewer; ${NEEDS_OPERATOR}` };
}

/** Reloads the access file whenever it changes, and reports that in the log and the console. Returns the call that stops. */
function watchAccess(access: Access, events: EventLog, log: Logger): () => void {
  const report = (level: ReportLevel, text: string): void => {
    events.add({ level, kind: 'server', text });
    log[level === 'warning' ? 'warn' : level](text);
  };
  access.events.on('report', report);
  for (const warning of access.warnings) report('warning', warning);
  return access.watch();
}

/** A penalty holds for greedy answers too; the rest is for those that are drawn. */
async function samplingDefaults(modelDir: string): Promise<SamplingDefaults> {
  const { doSample, temperature = 1, topP = 1, topK, minP, repetitionPenalty } = await loadGenerationConfig(modelDir);
  return doSample
    ? { temperature, topP, topK, minP, repetitionPenalty }
    : { temperature: 1, topP: 1, repetitionPenalty };
}

function builtPages(): { donor?: string; console?: string } {
  const donor = join(ROOT_DIR, 'apps/donor/dist');
  const console = join(ROOT_DIR, 'apps/console/dist');
  return { ...(existsSync(donor) && { donor }), ...(existsSync(console) && { console }) };
}
