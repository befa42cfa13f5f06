import { createSocket, type Socket } from 'node:dgram';
import type { Page } from 'playwright';
import { closeRtc, loadRtc } from '@shoal/transport/node';
import { launchChromium } from '../../tools/browser/chromium.ts';
import { formatTable, median } from './table.ts';

const RTT_MS = 20;
const STRIPES = [1, 2, 4];
const FRAME_BYTES = [4_096, 14_336, 65_536, 262_144];
const REPEATS = 9;
const MESSAGE_BYTES = 16_384;
const PAUSE_MS = 60;

type Direction = 'to the tab' | 'to the coordinator';
interface Transfer {
  direction: Direction;
  frameBytes: number;
  /** By number of connections: median milliseconds from the request until all of it is there, and the way back of the other. */
  ms: number[];
}

/**
 * Whether a large frame is faster in stripes over several PeerConnections: real Chromium, node-datachannel, a UDP relay that holds
 * every packet for half a round trip. A frame and an answer of 8 B; one round trip is the floor.
 */
export async function benchStripes({ json }: { json: boolean }): Promise<void> {
  const browser = await launchChromium({ extraFlags: ['--disable-features=WebRtcHideLocalIpsWithMdns'] });
  const relays: Relay[] = [];
  try {
    const page = await browser.newPage();
    const transfers = await measure(page, relays);
    if (json) return void process.stdout.write(`${JSON.stringify({ rttMs: RTT_MS, transfers }, null, 2)}\n`);
    const rows = transfers.map(({ direction, frameBytes, ms }) => [
      `${frameBytes / 1024} KiB ${direction}`,
      ...ms.map((each) => each.toFixed(1)),
    ]);
    const head = ['ms', ...STRIPES.map((count) => `${count} ${count === 1 ? 'connection' : 'connections'}`)];
    process.stdout.write(`${formatTable([head, ...rows])}\n\n`);
    process.stdout.write(`Medians of ${REPEATS}, a round trip of ${RTT_MS} ms, frame and answer.\n`);
  } finally {
    await browser.close();
    for (const relay of relays) relay.close();
    await closeRtc();
  }
}

async function measure(page: Page, relays: Relay[]): Promise<Transfer[]> {
  await page.goto('about:blank');
  await page.evaluate(PAGE);
  const channels: RTCDataChannel[] = [];
  for (let i = 0; i < Math.max(...STRIPES); i++) channels.push(await connect(page, i, relays));
  const transfers: Transfer[] = [];
  for (const direction of ['to the tab', 'to the coordinator'] as const) {
    for (const frameBytes of FRAME_BYTES) {
      const samples = STRIPES.map(() => [] as number[]);
      // Alternating, so that all meet the same disturbances; the first round widens the windows.
      for (let round = 0; round <= REPEATS; round++) {
        for (const [i, count] of STRIPES.entries()) {
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
          const ms = await transfer(channels.slice(0, count), direction, frameBytes);
          if (round > 0) samples[i]!.push(ms);
        }
      }
      transfers.push({ direction, frameBytes, ms: samples.map(median) });
    }
  }
  return transfers;
}

/** The frame one way, 8 B the other. */
function transfer(channels: readonly RTCDataChannel[], direction: Direction, frameBytes: number): Promise<number> {
  const startedMs = performance.now();
  let left = direction === 'to the tab' ? 8 : frameBytes;
  return new Promise((resolve) => {
    const done = ({ data }: MessageEvent<ArrayBuffer>): void => {
      left -= data.byteLength;
      if (left > 0) return;
      for (const channel of channels) channel.removeEventListener('message', done);
      resolve(performance.now() - startedMs);
    };
    for (const channel of channels) channel.addEventListener('message', done);
    if (direction === 'to the coordinator') {
      channels[0]!.send(words(frameBytes, channels.length));
      return;
    }
    // A message of 8 B asks; what follows it is the frame, of which the tab is told beforehand.
    channels[0]!.send(words(0, frameBytes));
    const part = Math.ceil(frameBytes / channels.length);
    for (let at = 0; at < part; at += MESSAGE_BYTES) {
      for (const channel of channels) channel.send(new Uint8Array(Math.min(MESSAGE_BYTES, part - at)));
    }
  });
}

const words = (...values: number[]): Uint8Array<ArrayBuffer> => new Uint8Array(Uint32Array.from(values).buffer);

/** What the tab does: answers a frame with 8 B, and 8 B with a frame. Parts are whole bytes of each connection's share. */
const PAGE = `
  window.pcs = []; window.channels = []; let announced = 0, received = 0;
  const answerWhole = () => {
    if (announced === 0 || received < announced) return;
    announced = received = 0;
    channels[0].send(new Uint8Array(8));
  };
  const onMessage = ({ data }) => {
    if (data.byteLength === 8) {
      const [bytes, stripes] = new Uint32Array(data);
      if (bytes === 0) { announced = stripes; return answerWhole(); }
      let left = bytes;
      const part = Math.ceil(bytes / stripes);
      for (let at = 0; at < part; at += ${MESSAGE_BYTES})
        for (const channel of channels.slice(0, stripes)) {
          const size = Math.min(${MESSAGE_BYTES}, part - at, left); left -= size;
          if (size > 0) channel.send(new Uint8Array(size));
        }
      return;
    }
    received += data.byteLength;
    answerWhole();
  };
  window.offer = async (i) => {
    const pc = pcs[i] = new RTCPeerConnection();
    const channel = channels[i] = pc.createDataChannel('laps', { negotiated: true, id: 2, ordered: false });
    channel.binaryType = 'arraybuffer';
    channel.onmessage = onMessage;
    await pc.setLocalDescription(await pc.createOffer());
    await new Promise((done) => { if (pc.iceGatheringState === 'complete') done(); else pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done(); });
    return pc.localDescription.sdp;
  };
  window.answer = (i, sdp) => pcs[i].setRemoteDescription({ type: 'answer', sdp });
`;

async function connect(page: Page, i: number, relays: Relay[]): Promise<RTCDataChannel> {
  const { classes } = await loadRtc(['node-datachannel']);
  const pc = new classes.RTCPeerConnection() as RTCPeerConnection;
  const channel = pc.createDataChannel('laps', { negotiated: true, id: 2, ordered: false });
  channel.binaryType = 'arraybuffer';
  const opened = new Promise<void>((resolve) => channel.addEventListener('open', () => resolve()));
  const offer = (await page.evaluate(`offer(${i})`)) as string;
  const relay = await Relay.between(udpCandidate(offer));
  relays.push(relay);
  await pc.setRemoteDescription({ type: 'offer', sdp: throughPort(offer, relay.portForNode) });
  const candidates: string[] = [];
  pc.addEventListener('icecandidate', ({ candidate }) => {
    if (candidate?.candidate) candidates.push(candidate.candidate);
  });
  const answer = await pc.createAnswer();
  await pc.setLocalDescription(answer);
  const gathered = await until(() => candidates.find(isIpv4Host));
  relay.node = addressOf(gathered);
  const sdp = `${answer.sdp!.replaceAll(/a=(candidate|end-of-candidates).*\r\n/g, '')}a=${withPort(gathered, relay.portForBrowser).replace(/^a=/, '')}\r\n`;
  await page.evaluate(`answer(${i}, ${JSON.stringify(sdp)})`);
  await opened;
  return channel;
}

interface Address {
  host: string;
  port: number;
}

/** Holds packets both ways. The browser takes one of its ports for the coordinator, and the coordinator the other for the browser. */
class Relay {
  node: Address | undefined;
  readonly #browser: Address;
  readonly #sockets: [forBrowser: Socket, forNode: Socket];

  private constructor(browser: Address, sockets: [Socket, Socket]) {
    this.#browser = browser;
    this.#sockets = sockets;
    const [forBrowser, forNode] = sockets;
    forBrowser.on('message', (packet) => this.#hold(() => this.node && this.#send(forNode, packet, this.node)));
    forNode.on('message', (packet) => this.#hold(() => this.#send(forBrowser, packet, this.#browser)));
  }

  static async between(browser: Address): Promise<Relay> {
    const bound = (): Promise<Socket> =>
      new Promise((resolve) => {
        const socket = createSocket('udp4');
        socket.bind(0, browser.host, () => resolve(socket));
      });
    return new Relay(browser, [await bound(), await bound()]);
  }

  get portForBrowser(): number {
    return this.#sockets[0].address().port;
  }

  get portForNode(): number {
    return this.#sockets[1].address().port;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }

  #hold(send: () => void): void {
    setTimeout(send, RTT_MS / 2);
  }

  #send(socket: Socket, packet: Buffer, { host, port }: Address): void {
    socket.send(packet, port, host);
  }
}

const isIpv4Host = (candidate: string): boolean => / udp \d+ \d+\.\d+\.\d+\.\d+ \d+ typ host/i.test(candidate);

function addressOf(candidate: string): Address {
  const [, host, port] = / udp \d+ (\S+) (\d+) typ host/i.exec(candidate)!;
  return { host: host!, port: Number(port) };
}

function udpCandidate(sdp: string): Address {
  const line = sdp.split('\r\n').find(isIpv4Host);
  if (line === undefined) throw new Error('The browser has no IPv4 address of its own to relay to.');
  return addressOf(line);
}

const withPort = (candidate: string, port: number): string =>
  candidate.replace(/( udp \d+ \S+ )\d+( typ host)/i, `$1${port}$2`);

/** The description with one candidate, that of the relay. */
function throughPort(sdp: string, port: number): string {
  let kept = false;
  return sdp
    .split('\r\n')
    .filter((line) => !line.startsWith('a=candidate') || (isIpv4Host(line) && !kept && (kept = true)))
    .map((line) => (line.startsWith('a=candidate') ? withPort(line, port) : line))
    .join('\r\n');
}

async function until<T>(find: () => T | undefined): Promise<T> {
  const deadlineMs = Date.now() + 10_000;
  for (let found = find(); ; found = find()) {
    if (found !== undefined) return found;
    if (Date.now() > deadlineMs) throw new Error('No candidate within 10 s.');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
