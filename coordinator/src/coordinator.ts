import { existsSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { loadGenerationConfig } from '@shoal/model/node';
import { HEARTBEAT_MS, MAX_SIGNALLING_FROM_DONOR_BYTES } from '@shoal/protocol';
import { loadRtc, type RtcImplementation } from '@shoal/transport/node';
import { type Logger, pino } from 'pino';
import { Registry } from 'prom-client';
import { Server } from 'socket.io';
import packageJson from '../package.json' with { type: 'json' };
import { Access } from './access/access.ts';
import { addressKey } from './base/address.ts';
import { ApiKeys } from './access/api-keys.ts';
import { registerAccessMetrics } from './access/metrics.ts';
import { SignInGuard } from './access/sign-in.ts';
import { SocketGuard } from './access/sockets.ts';
import { newToken } from './access/token.ts';
import { KeyedBuckets } from './access/token-bucket.ts';
import { type Core, type CoreOptions, createCore } from './core.ts';
import { serveConsole } from './console/gateway.ts';
import { lapHistogram, registerMetrics } from './console/metrics.ts';
import { SnapshotBuilder } from './console/snapshot.ts';
import { buildHttpServer, type HttpAccess, tokenizerCodec } from './http/index.ts';
import { type CoordinatorOptions, ROOT_DIR } from './config.ts';
import { serveDonors } from './swarm/donor-gateway.ts';
import type { EventLog } from './base/event-log.ts';
import { lapConnectionsOf } from './swarm/lap-connections.ts';

const HOUR_MS = 3_600_000;

/** Viewers are admins too: metrics tell less than the console. */
const METRICS_NEED_ADMIN =
  'The metrics are for admins. Send a viewer’s or operator’s token as Authorization: Bearer TOKEN (Prometheus: authorization.credentials_file).';

/** From the end of draining until connections that are still open are cut. */
const CLOSE_TIMEOUT_MS = 2_000;

export interface Coordinator extends Core {
  /** e.g. `http://127.0.0.1:8787` */
  url: string;
  /** Undefined where only those sign in whom the access file names. */
  adminToken: string | undefined;
  /** The rules of who may do what, and the way to read them again. */
  access: Access;
  snapshots: SnapshotBuilder;
  /** Let running answers finish (or end with an error after the drain timeout), send the tabs away, close. */
  close(): Promise<void>;
}

/** A coordinator that listens. Rejects, with nothing left running, when it cannot. */
export async function startCoordinator(
  options: CoordinatorOptions & Pick<CoreOptions, 'onPackProgress' | 'onLoadProgress' | 'signal'>,
): Promise<Coordinator> {
  // First of all: to find that the file cannot be used costs nothing.
  const { access, adminToken } = openAccess(options);
  const rtc = await loadRtc();
  let core: Core | undefined;
  try {
    core = await createCore(options);
    return await serve(core, options, { access, adminToken, rtc });
  } catch (error) {
    await core?.close();
    rtc.close();
    throw error;
  }
}

async function serve(
  core: Core,
  options: CoordinatorOptions,
  { access, adminToken, rtc }: { access: Access; adminToken: string | undefined; rtc: RtcImplementation },
): Promise<Coordinator> {
  const { config, scheduler, swarm, events, packed } = core;
  const log = pino({ level: options.logLevel }, pino.destination({ dest: 2, sync: false }));
  const registry = new Registry();
  registerMetrics(registry, core);
  registerAccessMetrics(registry, access);
  const histogram = lapHistogram(registry);
  core.lapMs.observe = (lapMs) => histogram.observe(lapMs / 1000);
  let draining = false;
  const http = await buildHttpServer({
    generation: scheduler,
    codec: tokenizerCodec(core.tokenizer),
    log,
    registry,
    defaults: await samplingDefaults(packed.dir),
    shard: (sha256) => {
      const path = packed.shardPath(sha256);
      return path === undefined ? undefined : { path, bytes: packed.manifest.shardBytes };
    },
    readiness: () => ({
      ready: !draining,
      detail: { model: scheduler.modelId, tabs: [...swarm.serving()].length, uncoveredExperts: swarm.uncovered() },
    }),
    staticRoots: builtPages(),
    access: httpAccess(access),
  });
  const guard = new SocketGuard(access);
  const sockets = new Server(http.server, {
    maxHttpBufferSize: MAX_SIGNALLING_FROM_DONOR_BYTES,
    serveClient: false,
    allowRequest: guard.allowRequest,
  });
  guard.watch(sockets);
  serveDonors(sockets.of('/donor'), {
    swarm,
    access,
    rtc,
    log,
    iceServers: options.iceServers as RTCIceServer[],
    heartbeatMs: HEARTBEAT_MS,
    lapConnections: lapConnectionsOf(options.lapConnections, config.hiddenSize, options.rowFormat),
    model: {
      id: scheduler.modelId,
      hiddenSize: config.hiddenSize,
      moeIntermediateSize: config.moeIntermediateSize,
      quant: packed.manifest.shape.quant,
      shardBytes: packed.manifest.shardBytes,
    },
  });
  const snapshots = new SnapshotBuilder({
    ...core,
    version: packageJson.version,
    quant: packed.manifest.shape.quant,
    isDraining: () => draining,
  });
  const console = serveConsole(sockets.of('/console'), { access, snapshots, events, swarm });
  try {
    await http.listen({ host: options.host, port: options.port });
  } catch (error) {
    console.close();
    await sockets.close();
    throw error;
  }
  const { port } = http.server.address() as AddressInfo;
  events.add({ level: 'info', kind: 'server', text: `Serving ${scheduler.modelId} on port ${port}` });
  const stopWatching = watchAccess(access, events, log);

  let closing: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    draining = true;
    stopWatching();
    events.add({ level: 'warning', kind: 'server', text: 'Shutting down' });
    await scheduler.drain(options.drainTimeoutMs);
    swarm.close();
    console.close();
    // A moment for farewells to leave.
    await new Promise((resolve) => setTimeout(resolve, 250));
    // Answers have ended; only a reader that doesn't read can still hold its connection.
    const impatience = setTimeout(() => http.server.closeAllConnections(), CLOSE_TIMEOUT_MS);
    // Together: the sockets' server waits for all connections, and it is the HTTP edge that ends the idle ones.
    await Promise.all([sockets.close(), http.close()]);
    clearTimeout(impatience);
    await core.close();
    rtc.close();
  };
  const url = urlOf(options.host, port);
  return { ...core, url, adminToken, access, snapshots, close: () => (closing ??= close()) };
}

/** An address that a browser on this machine can open, and takes for a secure context (WebGPU needs one). */
export function urlOf(host: string, port: number): string {
  const isEverywhere = host === '0.0.0.0' || host === '::';
  const name = isEverywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

function openAccess({ accessFile: file, adminToken, trustProxy }: CoordinatorOptions) {
  const given = new Access({ file, adminToken, trustProxy });
  if (adminToken !== undefined || given.policy.admins.length > 0) return { access: given, adminToken };
  const generated = newToken();
  return { access: new Access({ file, adminToken: generated, trustProxy }), adminToken: generated };
}

/** The rules as the HTTP edge asks for them. */
function httpAccess(access: Access): HttpAccess {
  const limit = (): number => access.policy.limits.shardBytesPerHourPerAddress;
  const allowances = new KeyedBuckets(limit(), HOUR_MS);
  const guard = new SignInGuard(access);
  const addressOf = (request: IncomingMessage): string => addressKey(access.addressOf(request));
  return {
    keys: new ApiKeys(access),
    addressOf,
    takeShardBytes(request, bytes) {
      allowances.setCapacity(limit());
      const waitMs = allowances.of(addressOf(request)).take(bytes);
      if (waitMs > 0) access.refusals.shard++;
      return waitMs;
    },
    refuseMetrics(request, token) {
      if (!access.policy.metricsNeedAdmin) return undefined;
      if (token === undefined) return METRICS_NEED_ADMIN;
      const signIn = guard.signIn(access.addressOf(request), token);
      return signIn.ok ? undefined : signIn.message;
    },
  };
}

/** Reload on every change of the file, and say so in the log and the console. Returns the call that ends it. */
function watchAccess(access: Access, events: EventLog, log: Logger): () => void {
  access.report = (level, text) => {
    events.add({ level, kind: 'server', text });
    log[level === 'warning' ? 'warn' : level](text);
  };
  for (const warning of access.warnings) access.report('warning', warning);
  return access.watch();
}

async function samplingDefaults(modelDir: string): Promise<{ temperature: number; topP: number }> {
  const { doSample, temperature, topP } = await loadGenerationConfig(modelDir);
  return doSample ? { temperature: temperature ?? 1, topP: topP ?? 1 } : { temperature: 1, topP: 1 };
}

function builtPages(): { donor?: string; console?: string } {
  const donor = join(ROOT_DIR, 'apps/donor/dist');
  const console = join(ROOT_DIR, 'apps/console/dist');
  return { ...(existsSync(donor) && { donor }), ...(existsSync(console) && { console }) };
}
