import type { TabView } from '../tab-board.ts';

/** A view of a tab that has just joined. */
export function tabView(given: Partial<TabView> & { peerId: string }): TabView {
  return {
    donorId: `donor of ${given.peerId}`,
    tab: 0,
    visit: 1,
    address: '127.0.0.1',
    adapter: {
      vendor: 'fake',
      architecture: '',
      description: '',
      isFallbackAdapter: true,
      maxBufferBytes: 2 ** 30,
      maxStorageBindingBytes: 2 ** 30,
    },
    rowFormat: 'f16',
    maxExperts: 4,
    maxExpertsPerLayer: Number.MAX_SAFE_INTEGER,
    pledgeBytes: 5 * 2 ** 20,
    maxCoordinators: 8,
    state: 'loading',
    epoch: 0,
    assigned: new Set(),
    live: new Set(),
    target: new Set(),
    kept: [],
    order: 0,
    connected: true,
    doubtful: false,
    retires: false,
    share: 1,
    trust: { phase: 'probation', consecutiveRight: 0, verifiedRows: 0 },
    rttMs: undefined,
    assignmentsPerSecond: undefined,
    ...given,
  };
}
