import { existsSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import { join as joinPath } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadGenerationConfig } from '@shoal/model/node';
import { type DonorInfo, HEARTBEAT_MS, MAX_SIGNALLING_FROM_DONOR_BYTES } from '@shoal/protocol';
import { type Logger, pino } from 'pino';
import { Registry } from 'prom-client';
import { Server } from 'socket.io';
import type { Access } from './access/access.ts';
import { SocketGuard } from './access/sockets.ts';
import { urlOf } from './base/networks.ts';
import { VERSION } from './base/version.ts';
import { type ClusterCore, type Core, type CoreHooks, createCore } from './core.ts';
import { registerClusterMetrics } from './console/cluster-metrics.ts';
import { ClusterConsole } from './console/cluster-console.ts';
import { serveConsole } from './console/gateway.ts';
import { lapHistogram, registerMetrics } from './console/metrics.ts';
import { SnapshotBuilder } from './console/snapshot.ts';
import { registerWatchMetrics } from './console/watch-metrics.ts';
import { ApiError } from './http/errors.ts';
import {
  buildHttpServer,
  type HeldAddress,
  holdAddress,
  type HttpAccess,
  type HttpDeps,
  isScopeIn,
  mirrorTemplates,
  s3Credentials,
  type SamplingDefaults,
  type ShardMirrors,
  sourceModel,
  type StartProgress,
  tokenizerCodec,
} from './http/index.ts';
import { type Config, ROOT_DIR } from './config.ts';
import { donorInfoOf, swarmFacts } from './donor-info.ts';
import { type Books, httpAccess, openAccess, openBooks, watchAccess } from './open-access.ts';
import { SwarmBoard } from './contribution/swarm-board.ts';
import { serveContributions } from './contribution/contribution-gateway.ts';
import { type DonorGatewayOptions, serveDonors } from './swarm/donor-gateway.ts';
import { type Network, openNetwork } from './open-network.ts';
import { guestConnector } from './swarm/accept-tab.ts';
import { type JoinedCluster, openCluster } from './open-cluster.ts';
import { readQuarantine } from './records/index.ts';
import { readinessOf } from './readiness.ts';
import { applyInviteOnly, applySettings } from './open-settings.ts';
import { shareTrust } from './share-trust.ts';
import { lapConnectionsOf } from './swarm/lap-connections.ts';
import { openShardExchange } from './open-shard-exchange.ts';
import { openWatch, type Watch } from './open-watch.ts';

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
  /** The one of all WebRTC connections; undefined where each has its own. */
  udpPort: number | undefined;
  /** Undefined where it is not known: admins sign in with their own, or with the one of an earlier start. */
  adminToken: string | undefined;
  /** The access rules, which can be reloaded. */
  access: Access;
  snapshots: SnapshotBuilder;
  /** The coordinators that share its database. */
  joined: JoinedCluster;
  /** Lets running answers finish (or end with an error after the drain timeout), sends the tabs away and closes. */
  close(): Promise<void>;
}

export type StartHooks = Omit<CoreHooks, 'onLap' | 'port'>;

/** Starts a coordinator that listens. Rejects, with nothing left running, when it cannot. */
export async function startCoordinator(config: Config, hooks: StartHooks = {}): Promise<Coordinator> {
  // First, since a bad access file and missing credentials are found at no cost.
  const access = openAccess(config);
  const s3 = s3Credentials(config.shardUrls);
  let progress: StartProgress = { doing: 'opening the model' };
  const held = await holdAddress(config.host, config.port, () => progress);
  let network: Network | undefined;
  let core: Core | undefined;
  let joined: JoinedCluster | undefined;
  let books: Books | undefined;
  try {
    network = await openNetwork(config);
    const registry = new Registry();
    const laps = lapHistogram(registry);
    core = await createCore(config, {
      ...withProgress(hooks, (now) => (progress = now)),
      port: held.port,
      onLap: (lapMs) => laps.observe(lapMs / 1000),
      joinCluster: async (made) => {
        joined = await join(made, held.port, hooks.sharedDatabase !== undefined);
        const { shared } = joined;
        return shared && { ...shared.cluster, board: shared.board, orders: shared.orders };
      },
    });
    books = await openBooks(access, config, core.records);
    applyInviteOnly(core.settings, access);
    return await serve({ core, config, access, s3, books, network, registry, held, joined: joined! });
  } catch (error) {
    await held.close();
    await joined?.close();
    await books?.close();
    await core?.close();
    network?.rtc.close();
    throw error;
  }
}

function join(
  { packed, events, layers, records }: ClusterCore,
  port: number,
  isShared: boolean,
): Promise<JoinedCluster> {
  const { modelDigest, shape } = packed.manifest;
  const served = { modelDigest, quant: shape.quant, layers };
  return openCluster({ database: records?.database, isShared, ...served, version: VERSION, port, events });
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
  books: Books;
  network: Network;
  registry: Registry;
  held: HeldAddress;
  /** For mirrors whose URLs are signed. */
  s3: ShardMirrors['s3'];
  joined: JoinedCluster;
}

async function serve(serving: Serving): Promise<Coordinator> {
  const { core, config, access, books, network, registry, held, joined } = serving;
  const { scheduler, swarm, events, packed, settings } = core;
  const { shardReports, meetings } = openShardExchange(core, config, registry);
  const log = pino({ level: config.logLevel }, pino.destination({ dest: 2, sync: false }));
  registerMetrics(registry, { ...core, access });
  let draining = false;
  const isDraining = (): boolean => draining;
  const { modelId } = scheduler;
  const quarantine = core.trust.quarantine;
  const keys = await httpAccess({
    ...core,
    access,
    books,
    kept: core.records,
    quarantine,
    modelId,
    shared: joined.shared,
  });
  const mirrors = { urls: config.shardUrls, s3: serving.s3, tabBytes: () => shardReports.bytes };
  const watch = openWatch(core, config, joined);
  const attention = () => watch.attention.items;
  registerWatchMetrics(registry, { attention, alerts: watch.alerts });
  const { adapterRoot } = config;
  const { quant } = packed.manifest.shape;
  const snapshots = new SnapshotBuilder({ ...core, adapterRoot, version: VERSION, quant, isDraining, attention });
  const donorInfo = (): DonorInfo => donorInfoOf({ core, config, access, snapshots });
  const credit = async (token: string) =>
    settings.get('creditPriority') ? core.contributions.credit?.holder(token) : undefined;
  const swarmPage = new SwarmBoard({ database: core.records?.database, facts: () => swarmFacts(donorInfo()) });
  const http = await openHttp(serving, { access: keys, mirrors, donorInfo, swarmPage, credit, log, watch }, isDraining);
  const sockets = openSockets(serving, log, http.server, { shardReports, meetings });
  const adapters = { adapters: core.adapters, adapterRoot };
  const { shared } = joined;
  if (shared) registerClusterMetrics(registry, shared.cluster);
  const others =
    shared &&
    new ClusterConsole({
      cluster: shared.cluster,
      events,
      version: VERSION,
      guestLinks: () => swarm.guests?.links.size ?? 0,
    });
  const console = serveConsole(sockets.of('/console'), {
    access,
    settings,
    bans: core.bans,
    requests: core.encoder ?? scheduler,
    snapshots,
    events,
    swarm,
    adapters,
    others,
  });
  try {
    await http.listen({ host: config.host, port: held.port });
  } catch (error) {
    console.close();
    watch.close();
    await sockets.close();
    throw error;
  }
  applySettings(core);
  held.handOver();
  const { port } = held;
  events.add({ level: 'info', kind: 'server', text: `Serving ${scheduler.modelId} on port ${port}` });
  const stopWatching = watchAccess(access, events, log);
  access.events.on('change', () => scheduler.speculation.keepAnswersOf(isScopeIn(access.policy)));
  const stopSharing = shared && shareTrust({ ...core, ...shared, quarantines: () => readQuarantine(shared.database) });
  for (const text of settings.overrides()) {
    events.add({ level: 'info', kind: 'server', text });
    log.info(text);
  }
  core.health.reports.on('report', (level, text) => log[level === 'warning' ? 'warn' : level](text));

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    draining = true;
    stopWatching();
    stopSharing?.();
    events.add({ level: 'warning', kind: 'server', text: 'Shutting down' });
    await Promise.all([scheduler, core.encoder].map((one) => one?.drain(config.drainTimeoutMs)));
    swarm.close();
    console.close();
    watch.close();
    await joined.close();
    await closeNetwork(http, sockets);
    keys.close();
    await books.close();
    await core.close();
    network.rtc.close();
  };
  const url = urlOf(config.host, port);
  const { udpPort } = network.rtc;
  await books.leaveControl(url);
  const { adminToken } = books;
  return { ...core, url, udpPort, adminToken, access, snapshots, joined, close: () => (closing ??= close()) };
}

async function openHttp(
  serving: Serving,
  given: Pick<HttpDeps, 'swarmPage' | 'donorInfo' | 'credit' | 'log'> & {
    access: HttpAccess;
    mirrors: ShardMirrors;
    watch: Watch;
  },
  isDraining: () => boolean,
) {
  const { core, config, registry, held, joined } = serving;
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
    registry,
    defaults: await samplingDefaults(packed.dir),
    shard: (sha256) => {
      const path = packed.shardPath(sha256);
      if (!health.mayServe(sha256)) throw damagedShard();
      return path === undefined ? core.adapters.shards.shard(sha256) : { path, bytes: packed.manifest.shardBytes };
    },
    readiness: () => readinessOf(core, joined, isDraining()),
    staticRoots: builtPages(),
    offersTabToTab: config.tabToTab,
    embedSites: () => core.settings.get('embedSites'),
    listener: held.listener,
    ...given,
  });
}

/** Not 404, since the shard may be mended soon. */
function damagedShard(): ApiError {
  const headers = { 'retry-after': '60' };
  return new ApiError(503, 'This shard is damaged on the coordinator’s disk.', { code: 'shard_damaged', headers });
}

/** The socket.io server on the HTTP port, with the donors' namespace. */
function openSockets(
  { core, config, access, network, joined: { shared } }: Serving,
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
  const terms = {
    shardUrls: mirrorTemplates({ urls: config.shardUrls }),
    heartbeatMs: HEARTBEAT_MS,
    lapConnections: lapConnectionsOf(config.lapConnections, model.hiddenSize, config.rowFormat),
    model: {
      id: scheduler.modelId,
      ...packed.manifest.shape,
      shardBytes: packed.manifest.shardBytes,
    },
  };
  const door = { newBucket: shared?.newBucket, elsewhere: shared?.tabs };
  serveDonors(sockets.of('/donor'), { swarm, access, network, log, door, ...ofShards, terms });
  serveContributions(sockets.of('/contribution'), { access, contributions: core.contributions });
  if (swarm.guests) swarm.guests.links.connector = guestConnector({ network, ...terms, hiddenSize: model.hiddenSize });
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

/** A penalty holds for greedy answers too; the rest is for those that are drawn. */
async function samplingDefaults(modelDir: string): Promise<SamplingDefaults> {
  const { doSample, temperature = 1, topP = 1, topK, minP, repetitionPenalty } = await loadGenerationConfig(modelDir);
  return doSample
    ? { temperature, topP, topK, minP, repetitionPenalty }
    : { temperature: 1, topP: 1, repetitionPenalty };
}

function builtPages(): { donor?: string; console?: string } {
  const donor = joinPath(ROOT_DIR, 'apps/donor/dist');
  const console = joinPath(ROOT_DIR, 'apps/console/dist');
  return { ...(existsSync(donor) && { donor }), ...(existsSync(console) && { console }) };
}
