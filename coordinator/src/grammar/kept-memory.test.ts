import { describe, expect, it } from 'vitest';
import { type Forgetful, KeptMemory } from './kept-memory.ts';

class Keeper implements Forgetful {
  keptBytes = 0;
  forget(): void {
    this.keptBytes = 0;
  }
}

describe('what automata keep', () => {
  it('is forgotten where it was not used for longest, once all is too much', () => {
    const memory = new KeptMemory(100);
    const [first, second, third] = [new Keeper(), new Keeper(), new Keeper()];
    for (const keeper of [first, second, third, first]) {
      memory.use(keeper);
      keeper.keptBytes += 30;
    }
    expect(memory.bytes).toBe(120);
    memory.use(third);
    expect([first, second, third].map(({ keptBytes }) => keptBytes)).toEqual([60, 0, 30]);
    expect(memory.bytes).toBe(90);
    third.keptBytes = 500;
    memory.use(third);
    expect([first, third].map(({ keptBytes }) => keptBytes)).toEqual([0, 0]);
    memory.drop(third);
    third.keptBytes = 9;
    expect(memory.bytes).toBe(0);
  });
});
