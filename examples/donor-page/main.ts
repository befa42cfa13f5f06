// The least that a page needs to lend a GPU. What it leaves out, apps/donor has: a worker (a background tab's timers are
// slow), invitations, a processor in place of a GPU, pause and finish, coming back after a failure.
import { connectDonor, createWebGpuBackend, FramedChannel, MemoryShardCache, PeerHost } from '@shoal/peer';
import { type CoordinatorToDonor, type DonorToCoordinator, ROW_FORMATS, SUPPORTED_VERSIONS } from '@shoal/protocol';
import { io, type Socket } from 'socket.io-client';

const PLEDGE_BYTES = 64 * 2 ** 20;
/** The coordinator takes two progress messages a second. */
const PROGRESS_INTERVAL_MS = 500;

const button = document.querySelector('button')!;
const show = (text: string): void => void (document.querySelector('[role=status]')!.textContent = text);

async function lend(): Promise<void> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return show('This browser has no WebGPU.');
  const socket: Socket<CoordinatorToDonor, DonorToCoordinator> = io('/donor', {
    transports: ['websocket'],
    reconnection: false,
  });

  // Holds the experts that the coordinator assigns, and answers laps for them.
  let lastProgressMs = 0;
  const host = new PeerHost({
    createBackend: async (shape) => (await createWebGpuBackend({ gpu: navigator.gpu, shape })).backend,
    // CacheStorageShardCache would keep the weights for the next visit.
    cache: new MemoryShardCache(),
    urlOf: (sha256) => `/shards/${sha256}`,
    fetch: (...request) => fetch(...request),
    events: {
      onProgress: (progress) => {
        if (performance.now() - lastProgressMs < PROGRESS_INTERVAL_MS) return;
        lastProgressMs = performance.now();
        socket.emit('progress', progress);
      },
      onReady: (ready) => socket.emit('ready', ready),
      onTrouble: (trouble) => socket.emit('trouble', trouble),
      onCacheFailure: () => {},
      onLinkClosed: (reason) => show(`The connection has ended: ${reason}.`),
      onBackendGone: ({ message }) => show(message),
    },
  });

  const { vendor, architecture, description, isFallbackAdapter = false } = adapter.info;
  const { maxBufferSize: maxBufferBytes, maxStorageBufferBindingSize: maxStorageBindingBytes } = adapter.limits;
  const gpu = { vendor, architecture, description, isFallbackAdapter, maxBufferBytes, maxStorageBindingBytes };
  const reply = await socket.emitWithAck('hello', {
    protocolVersions: [...SUPPORTED_VERSIONS],
    rowFormats: [...ROW_FORMATS],
    // 128 random bits, the same on every visit: what the coordinator found right of this donor goes on counting.
    donorToken: (localStorage.donorToken ??= crypto.randomUUID().replaceAll('-', '')),
    adapter: gpu,
    pledgeBytes: PLEDGE_BYTES,
  });
  if (!reply.ok) return show(reply.message);
  await host.configure(reply.model, PLEDGE_BYTES);

  // Laps travel over WebRTC; socket.io carries the signalling and all that is not urgent.
  const connection = connectDonor({
    iceServers: reply.iceServers as RTCIceServer[],
    onSignal: (signal) => socket.emit('signal', signal),
    onLapChannel: (channel) => host.attach(new FramedChannel(channel, { heartbeatMs: reply.heartbeatMs })),
  });
  socket.on('signal', (signal) => connection.signal(signal));
  socket.on('assign', (assignment) => host.assign(assignment));
  socket.on('standing', ({ phase, experts, rows }) => show(`${phase}: ${experts} experts, ${rows} rows`));
  socket.on('dismissed', ({ message }) => show(message));
  addEventListener('pagehide', () => connection.sendControl({ control: 'goodbye' }));
}

button.addEventListener('click', () => {
  button.disabled = true;
  lend().catch((error: unknown) => show(String(error)));
});
