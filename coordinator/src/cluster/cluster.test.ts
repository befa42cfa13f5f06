import { expect, test } from 'vitest';
import { ALL } from './cluster.ts';
import { MemoryCluster, type MemoryMember } from './testing/memory-cluster.ts';

test('members know each other, one leads, and another takes over in a new term', () => {
  const cluster = new MemoryCluster(3);
  const [first, second, third] = cluster.members as [MemoryMember, MemoryMember, MemoryMember];
  const said: string[] = [];
  const { events } = second.members;
  events.on('left', ({ id }) => said.push(`left ${id}`));
  events.on('joined', ({ id }) => said.push(`joined ${id}`));
  expect(first.lease.held).toEqual({ term: 1 });
  first.cut();
  expect(first.lease.held).toBeUndefined();
  cluster.expire();
  expect(second.lease.held).toEqual({ term: 2 });
  expect(third.lease.leader).toBe('c-00000002');
  expect(first.members.alive()).toHaveLength(3);
  let returned = 0;
  first.members.events.on('returned', () => returned++);
  first.mend();
  expect(returned).toBe(1);
  expect(said).toEqual(['left c-00000001', 'joined c-00000001']);
  expect(first.lease.leader).toBe('c-00000002');
});

test('a message reaches one or all others, parsed by its schema', async () => {
  const { members } = new MemoryCluster(3);
  const [first, second, third] = members;
  const heard: string[] = [];
  for (const { bus } of members) bus.on('look', (from, { what }) => heard.push(`${bus.self}: ${what} of ${from}`));
  first!.bus.send(second!.bus.self, 'look', { what: 'plan' });
  first!.bus.send(ALL, 'look', { what: 'tabs' });
  third!.bus.send(ALL, 'look', { what: 7 as never });
  await new Promise(setImmediate);
  const from = 'of c-00000001';
  expect(heard).toEqual([`c-00000002: plan ${from}`, `c-00000002: tabs ${from}`, `c-00000003: tabs ${from}`]);
});
