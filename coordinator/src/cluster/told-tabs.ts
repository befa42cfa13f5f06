import { z } from 'zod';
import type { Cluster } from './cluster.ts';
import { ToldMap } from './told-map.ts';

/** Of one place, as of a network address; what is beyond is not counted elsewhere. */
const MAX_TABS = 500;
const tabsSchema = z.array(z.string().max(128)).max(MAX_TABS);

/** Which tabs the others have let in, by place: `network`, `donor` or `invite`, and its key. */
export class ToldTabs {
  readonly #map: ToldMap<string[]>;

  constructor(cluster: Cluster) {
    this.#map = new ToldMap(cluster, 'tabs', tabsSchema);
  }

  *in(place: string): Iterable<string> {
    for (const tabs of this.#map.of(place)) yield* tabs;
  }

  tell(place: string, tabs: readonly string[]): void {
    this.#map.set(place, tabs.length === 0 ? undefined : tabs.slice(0, MAX_TABS));
  }
}

/** Answers under way of each API key. */
export class ToldAnswers {
  readonly #map: ToldMap<number>;

  constructor(cluster: Cluster) {
    this.#map = new ToldMap(cluster, 'answers', z.number().int().min(0));
  }

  /** At the other members. */
  of(key: string): number {
    let answers = 0;
    for (const told of this.#map.of(key)) answers += told;
    return answers;
  }

  tell(key: string, answers: number): void {
    this.#map.set(key, answers === 0 ? undefined : answers);
  }
}
