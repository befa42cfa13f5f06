import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { Client, ScriptedServers, type Servers } from './servers.ts';
import { BEHAVIOURS, TOPICS } from './table.ts';

/** Of the behaviours that other servers' tests ask for. */
const LEAST_SHARE = 0.9;

const scripted = new ScriptedServers();
let coordinator: Coordinator;
let servers: Servers;
beforeAll(async () => {
  coordinator = await startTinyCoordinator();
  servers = { tiny: new Client(coordinator.url), scripted: (script) => scripted.start(script) };
});
afterEach(() => scripted.endOthers());
afterAll(async () => {
  await scripted.end();
  await coordinator?.close();
});

describe.each(Object.entries(TOPICS))('%s', (_topic, behaviours) => {
  for (const { says, differs, run } of behaviours) {
    if (differs === undefined) it(says, () => run(servers));
    // The documentation says that these differ.
    else it(`does not hold: ${says}`, () => expect(run(servers)).rejects.toThrow());
  }
});

it('holds for most behaviours', () => {
  const holding = BEHAVIOURS.filter(({ differs }) => differs === undefined);
  expect(holding.length / BEHAVIOURS.length).toBeGreaterThanOrEqual(LEAST_SHARE);
});
