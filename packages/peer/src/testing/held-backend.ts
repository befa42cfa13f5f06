import type { ExpertBackend, WorkItem } from '@shoal/kernels';
import { SHAPE } from './tiny-peer.ts';

/** A backend whose laps finish when the test says so. */
export function heldBackend(backend: ExpertBackend): {
  backend: ExpertBackend;
  started: number[];
  release: () => void;
} {
  const gates: (() => void)[] = [];
  const started: number[] = [];
  const held: ExpertBackend = Object.assign(Object.create(backend) as ExpertBackend, {
    run: async (lap: WorkItem) => {
      started.push(started.length);
      await new Promise<void>((resolve) => gates.push(resolve));
      return backend.run(lap);
    },
    shape: SHAPE,
  });
  const release = () => {
    for (const open of gates.splice(0)) open();
  };
  return { backend: held, started, release };
}
