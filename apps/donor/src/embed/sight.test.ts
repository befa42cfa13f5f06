import { expect, it } from 'vitest';
import { MIN_SEEN_MS, type Sight, SightWatch, type SightWatchOptions } from './sight.ts';

function watch() {
  let take: (entries: { intersectionRatio: number; isVisible?: boolean }[]) => void = () => {};
  let nowMs = 0;
  const sights: Sight[] = [];
  let asked: unknown;
  const observer = class {
    constructor(given: typeof take, options: unknown) {
      take = given;
      asked = options;
    }
    observe(): void {}
    disconnect(): void {}
  } as unknown as SightWatchOptions['observer'];
  const sight = new SightWatch({} as Element, {
    onChange: (seen) => sights.push(seen),
    observer,
    now: () => nowMs,
  });
  return {
    sight,
    sights,
    asked: () => asked,
    see: (intersectionRatio: number, isVisible?: boolean) =>
      take([{ intersectionRatio, ...(isVisible !== undefined && { isVisible }) }]),
    pass: (ms: number) => (nowMs += ms),
  };
}

it('SightWatch is certain once the whole element has been in view for long enough, and anew after it was covered', () => {
  const { sight, sights, see, pass, asked } = watch();
  expect(asked()).toMatchObject({ trackVisibility: true, delay: 100 });
  see(1, true);
  pass(MIN_SEEN_MS - 1);
  expect(sight.isCertain).toBe(false);
  see(0.99, true);
  pass(1);
  expect(sight.isCertain).toBe(true);
  see(1, false);
  expect(sight.isCertain).toBe(false);
  see(1, true);
  expect(sight.isCertain).toBe(false);
  pass(MIN_SEEN_MS);
  expect(sight.isCertain).toBe(true);
  see(0.9, true);
  expect(sight.isCertain).toBe(false);
  expect(sights).toEqual(['seen', 'seen', 'hidden', 'seen', 'hidden']);
});

it('SightWatch is never certain in a browser that does not tell what is visible', () => {
  const { sight, sights, see, pass } = watch();
  see(1);
  pass(60_000);
  expect([sight.isCertain, sights]).toEqual([false, ['unknown']]);
});
