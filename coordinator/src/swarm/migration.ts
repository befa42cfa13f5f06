import type { ExpertIndex } from '@shoal/placement';

/** A peer on its way from what it holds to what the plan gives it. */
export interface Migrant {
  /** The experts of its newest assignment. */
  readonly assigned: ReadonlySet<ExpertIndex>;
  /** Those of `assigned` that serve. */
  readonly live: ReadonlySet<ExpertIndex>;
  readonly target: ReadonlySet<ExpertIndex>;
  /** Experts that fit in the memory it lends. */
  readonly maxExperts: number;
  /** Experts of one layer that its GPU can bind. */
  readonly maxExpertsPerLayer: number;
}

export interface MigrationOptions<M extends Migrant> {
  migrants: readonly M[];
  expertsPerLayer: number;
  /** Load of an expert: among equals, busy ones are fetched first and idle ones given up first. */
  load: (expert: ExpertIndex) => number;
  /** Whether the plan gives the expert to any peer. If not, there is no heir to wait for. */
  planned: (expert: ExpertIndex) => boolean;
  /** Whether the plan has just changed, so that peers which are still loading take part too. */
  replanned: boolean;
  /** Whether replicas may be dropped before their heirs serve if nothing can move otherwise. */
  mayBreak: boolean;
}

export interface MigrationStep<M extends Migrant> {
  /** Next assignment of each peer whose assignment changes. */
  next: Map<M, Set<ExpertIndex>>;
  /** Experts whose only live replica had to be dropped before its heir serves, because nothing could move otherwise. */
  uncovered: ExpertIndex[];
}

/**
 * One step of all peers towards the plan. A peer loads what its memory allows, and gives up experts that their heirs serve:
 * with room for both, after it has loaded everything; otherwise only as many as it needs room for. So a served expert stays
 * served.
 *
 * If full peers wait for each other in a circle, there is no such step. Then one of them gives up one expert that is served
 * elsewhere too, or else the idlest one: its room lets the next peer move, and so on round the circle.
 *
 * Every step either fetches what the plan wants or gives up what it doesn't, so repeated steps terminate.
 */
export function migrate<M extends Migrant>(options: MigrationOptions<M>): MigrationStep<M> {
  const scene = new Scene(options);
  const next = new Map<M, Set<ExpertIndex>>();
  for (const migrant of options.migrants) {
    if (!options.replanned && isLoading(migrant)) continue;
    const holds = advance(migrant, scene);
    if (holds !== undefined) next.set(migrant, holds);
  }
  const uncovered: ExpertIndex[] = [];
  while (options.mayBreak) {
    const broken = breakCircle(scene, next);
    if (broken === undefined) break;
    next.set(broken.migrant, broken.holds);
    if (broken.uncovers !== undefined) uncovered.push(broken.uncovers);
  }
  return { next, uncovered };
}

const isLoading = ({ assigned, live }: Migrant): boolean => live.size < assigned.size;
const lackingOf = ({ assigned, target }: Migrant): ExpertIndex[] =>
  [...target].filter((expert) => !assigned.has(expert));

/** Which experts are served and by which peers they are to be served, kept up to date during a step. */
class Scene<M extends Migrant> {
  readonly options: MigrationOptions<M>;
  /** Live replicas of each expert. */
  readonly #live = new Map<ExpertIndex, number>();
  /** Live replicas of each expert that the plan keeps. */
  readonly #kept = new Map<ExpertIndex, number>();
  /** The peers that are to serve each expert and don't yet. */
  readonly heirs = new Map<ExpertIndex, Set<M>>();

  constructor(options: MigrationOptions<M>) {
    this.options = options;
    for (const migrant of options.migrants) {
      for (const expert of migrant.live) {
        add(this.#live, expert, 1);
        if (migrant.target.has(expert)) add(this.#kept, expert, 1);
      }
      for (const expert of migrant.target) {
        if (migrant.live.has(expert)) continue;
        const heirs = this.heirs.get(expert) ?? new Set();
        this.heirs.set(expert, heirs.add(migrant));
      }
    }
  }

  isServed(expert: ExpertIndex): boolean {
    return (this.#live.get(expert) ?? 0) > 0;
  }

  /** Whether all peers that are to serve the expert do, so that surplus replicas may be dropped. */
  isTaken(expert: ExpertIndex): boolean {
    if (this.heirs.has(expert)) return false;
    return (this.#kept.get(expert) ?? 0) > 0 || !this.options.planned(expert);
  }

  /** The cost of giving up a replica now: 0 if another is kept, 1 if another is left for the time being, 2 if none is left. */
  cost(expert: ExpertIndex): number {
    if ((this.#kept.get(expert) ?? 0) > 0) return 0;
    return (this.#live.get(expert) ?? 0) > 1 ? 1 : 2;
  }

  /** Records that a surplus replica is given up. */
  released(migrant: M, expert: ExpertIndex): void {
    if (migrant.live.has(expert)) add(this.#live, expert, -1);
  }
}

function add(counts: Map<ExpertIndex, number>, expert: ExpertIndex, by: number): void {
  counts.set(expert, (counts.get(expert) ?? 0) + by);
}

/** A peer's next assignment; undefined if nothing changes. */
function advance<M extends Migrant>(migrant: M, scene: Scene<M>): Set<ExpertIndex> | undefined {
  const { assigned, live, target } = migrant;
  const holds = new Set(assigned);
  const surplus = [...assigned].filter((expert) => !target.has(expert));
  // Experts that it has not loaded yet can be dropped at once.
  for (const expert of surplus) if (!live.has(expert)) holds.delete(expert);
  const serving = surplus.filter((expert) => live.has(expert));
  const lacking = byUrgency(lackingOf(migrant), scene);
  if (lacking.length === 0) {
    const grown = [...target].every((expert) => live.has(expert));
    if (grown && serving.every((expert) => scene.isTaken(expert))) giveUp(migrant, serving, holds, scene);
  } else {
    const taken = serving.filter((expert) => scene.isTaken(expert));
    grow(migrant, lacking, taken, holds, scene);
  }
  return sameExperts(holds, assigned) ? undefined : holds;
}

/**
 * Experts that are not served first; then those whose only replicas are surplus, since loading them frees room there; within
 * a rank the busiest first, then layer by layer.
 */
function byUrgency<M extends Migrant>(experts: ExpertIndex[], scene: Scene<M>): ExpertIndex[] {
  const { load } = scene.options;
  const rank = (expert: ExpertIndex): number => (!scene.isServed(expert) ? 0 : scene.cost(expert) > 0 ? 1 : 2);
  return experts.sort((a, b) => rank(a) - rank(b) || load(b) - load(a) || a - b);
}

/** Adds to `holds` as much of `lacking` as there is room for, giving up no more of `taken` than that needs. */
function grow<M extends Migrant>(
  migrant: M,
  lacking: readonly ExpertIndex[],
  taken: readonly ExpertIndex[],
  holds: Set<ExpertIndex>,
  scene: Scene<M>,
): void {
  const room = new Room(migrant, holds, scene.options.expertsPerLayer);
  const left = new Set(taken);
  for (const expert of lacking) {
    const out = room.has(expert) ? undefined : [...left].find((other) => room.wouldHave(expert, other));
    if (out !== undefined) {
      left.delete(out);
      room.remove(out);
      giveUp(migrant, [out], holds, scene);
    }
    if (!room.has(expert)) continue;
    holds.add(expert);
    room.add(expert);
  }
}

function giveUp<M extends Migrant>(
  migrant: M,
  experts: readonly ExpertIndex[],
  holds: Set<ExpertIndex>,
  scene: Scene<M>,
): void {
  for (const expert of experts) {
    holds.delete(expert);
    scene.released(migrant, expert);
  }
}

/** Room that a peer has beside what it holds. */
class Room {
  readonly #migrant: Migrant;
  readonly #expertsPerLayer: number;
  readonly #perLayer = new Map<number, number>();
  #size = 0;

  constructor(migrant: Migrant, holds: Iterable<ExpertIndex>, expertsPerLayer: number) {
    this.#migrant = migrant;
    this.#expertsPerLayer = expertsPerLayer;
    for (const expert of holds) this.add(expert);
  }

  has(expert: ExpertIndex): boolean {
    return this.#size < this.#migrant.maxExperts && this.#of(expert) < this.#migrant.maxExpertsPerLayer;
  }

  /** Whether there is room for `expert` once `other` is given up. */
  wouldHave(expert: ExpertIndex, other: ExpertIndex): boolean {
    const { maxExperts, maxExpertsPerLayer } = this.#migrant;
    const same = this.#layerOf(expert) === this.#layerOf(other);
    return this.#size - 1 < maxExperts && this.#of(expert) - Number(same) < maxExpertsPerLayer;
  }

  add(expert: ExpertIndex): void {
    this.#size++;
    this.#perLayer.set(this.#layerOf(expert), this.#of(expert) + 1);
  }

  remove(expert: ExpertIndex): void {
    this.#size--;
    this.#perLayer.set(this.#layerOf(expert), this.#of(expert) - 1);
  }

  #layerOf(expert: ExpertIndex): number {
    return Math.floor(expert / this.#expertsPerLayer);
  }

  #of(expert: ExpertIndex): number {
    return this.#perLayer.get(this.#layerOf(expert)) ?? 0;
  }
}

/** The cheapest replica to give up among peers that wait for each other; undefined if none do. */
function breakCircle<M extends Migrant>(
  scene: Scene<M>,
  moving: ReadonlyMap<M, unknown>,
): { migrant: M; holds: Set<ExpertIndex>; uncovers: ExpertIndex | undefined } | undefined {
  const { expertsPerLayer, load } = scene.options;
  let best: { migrant: M; out: ExpertIndex; cost: number } | undefined;
  for (const migrant of stuck(scene, moving)) {
    const lacking = lackingOf(migrant);
    const room = new Room(migrant, migrant.assigned, expertsPerLayer);
    for (const out of migrant.assigned) {
      if (migrant.target.has(out) || !lacking.some((expert) => room.wouldHave(expert, out))) continue;
      const cost = scene.cost(out);
      if (best && (cost > best.cost || (cost === best.cost && load(out) >= load(best.out)))) continue;
      best = { migrant, out, cost };
    }
  }
  if (best === undefined) return undefined;
  const { migrant, out, cost } = best;
  const holds = new Set(migrant.assigned);
  grow(migrant, byUrgency(lackingOf(migrant), scene), [out], holds, scene);
  return { migrant, holds, uncovers: cost === 2 ? out : undefined };
}

/** Peers that lack an expert, have no room, and don't wait for a peer that is moving. */
function stuck<M extends Migrant>(scene: Scene<M>, moving: ReadonlyMap<M, unknown>): M[] {
  const waiting = new Set(
    scene.options.migrants.filter(
      (migrant) => !moving.has(migrant) && !isLoading(migrant) && lackingOf(migrant).length > 0,
    ),
  );
  const heirsOf = (migrant: M): M[] =>
    [...migrant.assigned]
      .filter((expert) => !migrant.target.has(expert))
      .flatMap((expert) => [...(scene.heirs.get(expert) ?? [])]);
  for (let freed = true; freed;) {
    freed = false;
    for (const migrant of waiting) {
      if (heirsOf(migrant).every((heir) => waiting.has(heir))) continue;
      waiting.delete(migrant);
      freed = true;
    }
  }
  return [...waiting];
}

export function sameExperts(a: ReadonlySet<ExpertIndex>, b: ReadonlySet<ExpertIndex>): boolean {
  return a.size === b.size && [...a].every((expert) => b.has(expert));
}
