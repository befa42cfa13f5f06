import type { Signal } from '@shoal/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../base/clock.ts';
import { EventLog } from '../base/event-log.ts';
import { MemoryCluster, type MemoryMember } from '../cluster/testing/memory-cluster.ts';
import { MemoryTabBoards } from '../cluster/testing/memory-tab-boards.ts';
import { MemoryTabOrders } from '../cluster/testing/memory-tab-orders.ts';
import { tabView } from '../cluster/testing/tab-view.ts';
import type { TabBoard, TabView } from '../cluster/tab-board.ts';
import { Swarm } from './swarm.ts';
import { EXPERTS, FakeTab, LAYERS, serves, smallSwarm, someLap } from './testing/fake-tab.ts';
import { MemoryGuests } from './testing/memory-guests.ts';

let cluster: MemoryCluster;
let boards: MemoryTabBoards;
let meetings: MemoryGuests;
let swarms: Swarm[];
let events: EventLog[];
/** How far the swarms' clock is ahead. */
let skewMs: number;
const clock = { ...systemClock, now: () => systemClock.now() + skewMs };

beforeEach(() => {
  cluster = new MemoryCluster(3);
  boards = new MemoryTabBoards();
  meetings = new MemoryGuests();
  [swarms, events, skewMs] = [[], [], 0];
  const orders = new MemoryTabOrders();
  for (const member of cluster.members) {
    const { self } = member.members;
    const log = new EventLog();
    const swarm = new Swarm({
      ...smallSwarm(),
      events: log,
      clock,
      timings: { joinDelayMs: 1, leaveDelayMs: 5 },
      cluster: { ...clusterOf(member), board: boards.board(self.id), orders: orders.of(self.id) },
    });
    swarm.guests!.links.connector = meetings.connector(self.id);
    swarms.push(swarm);
    events.push(log);
  }
});
afterEach(() => swarms.forEach((swarm) => swarm.close()));

const clusterOf = ({ members, lease, bus }: MemoryMember) => ({ members, lease, bus });
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), 90_000);
const idOf = (member: number): string => cluster.members[member]!.members.self.id;
const linksOf = (member: number) => swarms[member]!.guests!.links;
const peersOf = (member: number) => [...linksOf(member).peers()];
const texts = (member: number): string[] => events[member]!.all().map(({ text }) => text);
/** What was sent and is due has arrived. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

/** A tab of the first member, which serves. */
async function home(options: Parameters<typeof FakeTab.join>[1] = {}): Promise<FakeTab> {
  const tab = FakeTab.join(swarms[0]!, { guests: meetings, ...options }).connect(swarms[0]!);
  await until(() => serves(tab));
  return tab;
}

/** Lets a member have work until it has a link to each of these tabs. */
async function link(member: number, ...tabs: FakeTab[]): Promise<void> {
  linksOf(member).work();
  await until(() => tabs.every((tab) => tab.guestLinks.has(idOf(member))));
  await until(() => peersOf(member).length >= tabs.length);
}

describe('links to tabs of other coordinators', () => {
  it('are opened over the home when there is work, and their tabs answer like own ones', async () => {
    const tab = await home();
    expect([...swarms[1]!.serving()]).toEqual([]);
    await link(1, tab);
    const [peer] = [...swarms[1]!.serving()];
    expect([peer!.peerId, peer!.live.size]).toEqual([tab.session.peerId, LAYERS.length * EXPERTS]);
    await peer!.laps.ask(someLap(), { meter: { frameBytes: 0 } });
    peer!.helped(3);
    expect(swarms[1]!.wireBytes).toMatchObject({ tests: 0, sent: expect.any(Number) });
    // Its home counts it, once.
    for (let i = 0; i < 6; i++) linksOf(1).tick();
    await settle();
    expect(tab.session).toMatchObject({ rows: 1, tokensHelped: 3, tokensForGuests: 3 });
    expect(tab.session.standing()).toMatchObject({ rows: 1, tokensHelped: 3 });
    const { sent } = swarms[1]!.wireBytes;
    expect(sent).toBeGreaterThan(0);
    linksOf(1).close();
    expect(swarms[1]!.wireBytes.sent).toBe(sent);
  });

  it('are few: two tabs for each expert, and none of a page that serves its home alone', async () => {
    for (const peerId of 'abcde') publish(peerId);
    publish('old', { maxCoordinators: 1 });
    publish('paused', { state: 'paused' });
    publish('empty', { live: new Set() });
    linksOf(1).work();
    await settle();
    const asked = said.map(({ kind, peerId }) => `${kind} ${peerId}`);
    expect(asked).toHaveLength(2);
    expect(asked.join()).toMatch(/^guest-open [a-e],guest-open [a-e]$/);
  });

  it('end when nobody needs them for long, and are kept while they might be', async () => {
    const tabs = [await home({ experts: 4 }), await home({ experts: 4 })];
    await link(1, ...tabs);
    skewMs += 299_000;
    linksOf(1).tick();
    expect(peersOf(1)).toHaveLength(2);
    skewMs += 3_000;
    linksOf(1).work();
    linksOf(1).tick();
    expect(peersOf(1)).toHaveLength(2);
    skewMs += 12_000;
    linksOf(1).tick();
    await until(() => tabs.every(({ guestLinks }) => guestLinks.size === 0));
    expect(peersOf(1)).toEqual([]);
    // The tabs are there as before.
    expect(swarms[0]!.peers).toHaveLength(2);
  });

  it('end when the tab leaves its home, its donor is expelled, or it joins here', async () => {
    const tabs = [await home({ experts: 4, donorToken: 'a' }), await home({ experts: 4, donorToken: 'b' })];
    await link(1, ...tabs);
    await link(2, ...tabs);
    linksOf(1).expel(tabs[0]!.session.donorId);
    expect(peersOf(1).map(({ peerId }) => peerId)).toEqual([tabs[1]!.session.peerId]);
    expect(peersOf(2)).toHaveLength(2);
    swarms[0]!.dismiss(tabs[0]!.session, { code: 'removed', message: '', retry: false });
    // Its next visit, if it has one, is known soon.
    expect(peersOf(2)).toHaveLength(2);
    skewMs += 5_000;
    linksOf(2).tick();
    expect(peersOf(2)).toHaveLength(1);
    const again = FakeTab.join(swarms[2]!, { donorToken: 'b', guests: meetings }).connect(swarms[2]!);
    await until(() => tabs[1]!.dismissed?.code === 'replaced' && serves(again));
    linksOf(2).tick();
    expect(peersOf(2)).toEqual([]);
    // The other one still has its link, to the tab's new visit.
    expect(peersOf(1).map(({ peerId, tab }) => [peerId, tab.home])).toEqual([[again.session.peerId, idOf(2)]]);
  });

  it('outlive the home, with what the tab served, until another has tested it', async () => {
    const tab = await home({ donorToken: 'a' });
    await link(1, tab);
    boards.end(idOf(0));
    const [peer] = peersOf(1);
    expect([peer!.serving, peer!.tab.isHomeless]).toEqual([true, true]);
    await peer!.laps.ask(someLap());
    boards.forget(idOf(0));
    expect(peersOf(1)).toHaveLength(1);
    const { donorId } = tab.session;
    const third = cluster.members[2]!.members.self.id;
    const board = boards.board('c-0000000d');
    const visit = (change: Partial<TabView>): void => {
      const view = tabView({ peerId: 'again', donorId, visit: 9, epoch: 1, trust: peer!.tab.trust, ...change });
      board.publish({ peerId: 'again', view: () => view });
    };
    visit({ state: 'connecting' });
    expect([peer!.peerId, peer!.tab.home !== third, peer!.serving, peer!.live.size]).toEqual(['again', true, true, 8]);
    // Of what it had, it keeps what it is assigned.
    visit({ state: 'loading', assigned: new Set([0, 1]) });
    expect([peer!.serving, [...peer!.live]]).toEqual([true, [0, 1]]);
    visit({ state: 'waiting', assigned: new Set([0, 1]), live: new Set([0, 1]) });
    expect([...peer!.live]).toEqual([0, 1]);
    visit({ state: 'paused', assigned: new Set([0, 1]), live: new Set([0, 1]) });
    expect(peer!.serving).toBe(false);
  });

  it('that fail are tried again later and later, and an operator is told', async () => {
    publish('a');
    const attempts = (): number => said.filter(({ kind }) => kind === 'guest-open').length;
    const rests: number[] = [];
    for (let attempt = 1; attempt <= 5; attempt++) {
      linksOf(1).work();
      const restMs = 2_000 * 2 ** (attempt - 1);
      for (const [waitMs, due] of [
        [0, attempt],
        [restMs - 100, attempt],
        [200, attempt + 1],
      ] as const) {
        skewMs += waitMs;
        linksOf(1).work();
        linksOf(1).tick();
        await settle();
        if (waitMs === 0) await refuse('failed');
        expect(attempts()).toBe(waitMs === 200 ? due : attempt);
      }
      rests.push(restMs);
    }
    expect(texts(1).filter((text) => text.includes('No link to a'))).toHaveLength(1);
  });
});

describe('the home of tabs that serve others', () => {
  it('passes on a tab’s signals to guests that it has announced, within bounds', async () => {
    const tab = await home();
    await link(1, tab);
    const relay = swarms[0]!.guests!.relay;
    const { attempt } = tab.guests[0]!;
    const heard: Signal[] = [];
    cluster.members[1]!.bus.on('guest-signal', (_, { signal }) => heard.push(signal));
    cluster.members[2]!.bus.on('guest-signal', (_, { signal }) => heard.push(signal));
    const offer = (coordinator: string, number = attempt): Signal => ({
      type: 'offer',
      sdp: 'x'.repeat(60_000),
      guest: { coordinator, attempt: number },
    });
    relay.fromTab(tab.session, offer(idOf(2)));
    relay.fromTab(tab.session, offer(idOf(1), attempt + 1));
    relay.fromTab(tab.session, { type: 'offer', sdp: 'v=0' });
    for (let i = 0; i < 10; i++) relay.fromTab(tab.session, offer(idOf(1)));
    const candidate = { candidate: 'x', sdpMid: null, sdpMLineIndex: null };
    const guest = { coordinator: idOf(1), attempt };
    for (let i = 0; i < 100; i++) relay.fromTab(tab.session, { type: 'candidate', candidate, guest });
    await settle();
    expect(heard.filter(({ type }) => type === 'offer')).toHaveLength(2);
    // One was the tab's own offer.
    expect(heard).toHaveLength(31);
    expect(heard[0]).not.toHaveProperty('guest');
    expect(relay.dropped).toBe(3 + 8 + 71);
  });

  it('opens few at a time, and none to a tab that has paused or that it does not know', async () => {
    const tab = await home();
    const { bus } = cluster.members[1]!;
    const refusals: string[] = [];
    bus.on('guest-refused', (_, { code }) => refusals.push(code));
    const ask = (attempt: number, peerId = tab.session.peerId) =>
      bus.send(idOf(0), 'guest-open', { peerId, attempt, iceServers: [], lapConnections: 2 });
    for (let attempt = 1; attempt <= 4; attempt++) ask(attempt);
    ask(5, 'nobody');
    await settle();
    expect([refusals, tab.guests.length]).toEqual([['busy', 'busy', 'gone'], 2]);
    skewMs += 60_000;
    swarms[0]!.intent(tab.session, { intent: 'pause' });
    ask(6);
    await settle();
    expect(refusals.at(-1)).toBe('failed');
  });

  it('lets a tab go whose laps fail for two others, or that broke the protocol with one', async () => {
    const [tab, other] = [await home({ experts: 4 }), await home({ experts: 4 })];
    await link(1, tab, other);
    await link(2, tab, other);
    tab.mode = 'failed';
    const fails = async (member: number): Promise<void> => {
      const peer = peersOf(member).find(({ peerId }) => peerId === tab.session.peerId)!;
      for (let i = 0; i < 3; i++) await peer.laps.ask(someLap()).catch(() => {});
      linksOf(member).tick();
      await settle();
    };
    await fails(1);
    expect([tab.dismissed, peersOf(1).length]).toEqual([undefined, 1]);
    expect(texts(0).join()).toContain(`${idOf(1)} has ended its link to ${tab.session.peerId}`);
    await fails(2);
    expect(tab.dismissed).toMatchObject({ code: 'timeout', retry: true });
    await other.guestLinks.get(idOf(1))!.send(Uint8Array.of(1, 2, 3));
    await until(() => other.dismissed !== undefined);
    expect(other.dismissed).toMatchObject({ code: 'protocol', retry: false });
  });
});

/** What is said to a home that is none of the swarms. */
let said: { kind: string; peerId: string; attempt: number }[];
let fake: TabBoard | undefined;
beforeEach(() => {
  [said, fake] = [[], undefined];
});

/** A tab of that home. */
function publish(peerId: string, change: Partial<TabView> = {}): void {
  if (!cluster.members[3])
    cluster.add().bus.on('guest-open', (_, message) => said.push({ kind: 'guest-open', ...message }));
  const board = (fake ??= boards.board(idOf(3)));
  const live = new Set(Array.from({ length: LAYERS.length * EXPERTS }, (_, i) => i));
  const view = tabView({ peerId, state: 'waiting', live, assigned: live, ...change });
  board.publish({ peerId, view: () => view });
}

async function refuse(code: 'failed'): Promise<void> {
  const { peerId, attempt } = said.at(-1)!;
  cluster.members[3]!.bus.send(idOf(1), 'guest-refused', { peerId, attempt, code });
  await settle();
}
