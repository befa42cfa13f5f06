/* One coordinator of `npm run bench coordinators`, in a process of its own behind a line of a stated rate. */
import { RTCPeerConnection } from 'node-datachannel/polyfill';
import { migrate, openDatabase } from '../../../coordinator/src/database/index.ts';
import { startCoordinator } from '../../../coordinator/src/index.ts';
import { answer } from '../../integration/answers.ts';
import { GOLDEN } from '../../integration/golden.ts';
import { tinyConfig } from '../../integration/tiny-coordinator.ts';
import type { FromMember, MemberFigures, ToMember } from './member-process.ts';
import { RatedChannel, RatedLine } from './rated-line.ts';

const [databaseUrl, port, bytesPerSecond] = process.argv.slice(2) as [string, string, string];
/** Of lap channels, as PROTOCOL.md says. */
const LAPS = 'laps';
const tell = (message: FromMember): void => void process.send?.(message);

const line = new RatedLine(Number(bytesPerSecond));
const { createDataChannel } = RTCPeerConnection.prototype;
RTCPeerConnection.prototype.createDataChannel = function (label, init) {
  const channel = createDataChannel.call(this, label, init);
  return label === LAPS ? (new RatedChannel(channel as never, line) as never) : channel;
};

const database = await openDatabase({ kind: 'server', url: databaseUrl });
await migrate(database);
// Drafts would make tokens per byte differ from text to text.
const config = tinyConfig({ port: Number(port), replicas: 2, maxBatch: 16, speculate: 'off', logLevel: 'silent' });
const coordinator = await startCoordinator(config, { sharedDatabase: database });
const { swarm, dispatcher, scheduler } = coordinator;

let isAsking = false;

/** One answer after another. */
async function stream(number: number): Promise<void> {
  for (let round = 0; isAsking; round++) {
    const { prompt_ids: prompt } = GOLDEN[(number + round) % GOLDEN.length]!;
    await answer(coordinator, prompt, { maxTokens: 200, temperature: 0.8, seed: 1000 * number + round });
  }
}

function figures(): MemberFigures {
  const { tabAssignments, fallbackAssignments, hedges, standIns, trials } = dispatcher.figures;
  const { sent, received } = swarm.wireBytes;
  return {
    atMs: performance.now(),
    tokens: scheduler.tokens,
    tabAssignments,
    fallbackAssignments,
    repeated: hedges + standIns + trials,
    sent,
    received,
    ownTabs: swarm.peers.filter(({ serving }) => serving).length,
    remoteTabs: swarm.guests?.links.size ?? 0,
    uncovered: swarm.uncovered(),
  };
}

process.on('message', (message: ToMember) => {
  if (message.type === 'ask') {
    isAsking = true;
    for (let i = 0; i < message.streams; i++) void stream(message.first + i);
  } else if (message.type === 'figures') tell({ type: 'figures', figures: figures() });
});
process.once('disconnect', () => process.exit());

tell({ type: 'open', url: coordinator.url });
