import type { ExpertIndex } from '@shoal/placement';

/** A peer on its way from what it holds to what the plan wants of it. */
export interface Migrant {
  /** What it was told to hold last. */
  readonly assigned: ReadonlySet<ExpertIndex>;
  /** What of it serves. */
  readonly live: ReadonlySet<ExpertIndex>;
  readonly target: ReadonlySet<ExpertIndex>;
  readonly maxExperts: number;
  /** What its GPU can bind of one layer. */
  readonly maxExpertsPerLayer: number;
}

export interface MigrationOptions<M extends Migrant> {
  migrants: readonly M[];
  expertsPerLayer: number;
  /** How busy an expert is: among equals, busy ones are fetched first and idle ones given up first. */
  load: (expert: ExpertIndex) => number;
  /** Whether the plan gives the expert to anybody; what it gives to nobody has no heir to wait for. */
  planned: (expert: ExpertIndex) => boolean;
  /** The plan has just changed: peers that are still loading are looked at too. */
  replanned: boolean;
  /** Whether replicas may go before their heirs serve if nothing moves otherwise. */
  mayBreak: boolean;
}

export interface MigrationStep<M extends Migrant> {
  /** What peers are to hold next; those for whom nothing changes are not in it. */
  next: Map<M, Set<ExpertIndex>>;
  /** Experts whose only live replica had to go before its heir serves, since nothing would move otherwise. */
  uncovered: ExpertIndex[];
}

/**
 * One step of all peers towards the plan. Peers grow as far as their memory allows, and give up what their heirs serve: with
 * room for both, when they have grown; with none, as much as growing needs. So an expert that is served stays served.
 *
 * Where full peers wait for each other in a circle no such step exists. Then one of them gives up one expert that is served
 * elsewhere too, or else the idlest: its room lets the next one move, and so on round the circle.
 *
 * Every step either fetches what the plan wants or gives up what it doesn't, so that repeated steps come to an end.
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

/** Who serves what and who is to, kept true while a step is made. */
class Scene<M extends Migrant> {
  readonly options: MigrationOptions<M>;
  /** Live replicas of an expert, and of these the ones that the plan keeps. */
  readonly #live = new Map<ExpertIndex, number>();
  readonly #kept = new Map<ExpertIndex, number>();
  /** Who is to serve an expert and doesn't yet. */
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

  /** Whether all that are to serve the expert do, so that what the plan has no use for may go. */
  isTaken(expert: ExpertIndex): boolean {
    if (this.heirs.has(expert)) return false;
    return (this.#kept.get(expert) ?? 0) > 0 || !this.options.planned(expert);
  }

  /** What it costs to give up a replica now: 0, another is kept; 1, another is left for the time being; 2, none is left. */
  cost(expert: ExpertIndex): number {
    if ((this.#kept.get(expert) ?? 0) > 0) return 0;
    return (this.#live.get(expert) ?? 0) > 1 ? 1 : 2;
  }

  /** A surplus replica is given up. */
  released(migrant: M, expert: ExpertIndex): void {
    if (migrant.live.has(expert)) add(this.#live, expert, -1);
  }
}

function add(counts: Map<ExpertIndex, number>, expert: ExpertIndex, by: number): void {
  counts.set(expert, (counts.get(expert) ?? 0) + by);
}

/** What a peer is to hold next; undefined if it is to stay as it is. */
function advance<M extends Migrant>(migrant: M, scene: Scene<M>): Set<ExpertIndex> | undefined {
  const { assigned, live, target } = migrant;
  const holds = new Set(assigned);
  const surplus = [...assigned].filter((expert) => !target.has(expert));
  // What it was only about to load, nobody relies on.
  for (const expert of surplus) if (!live.has(expert)) holds.delete(expert);
  const serving = surplus.filter((expert) => live.has(expert));
  const lacking = byUrgency(
    [...target].filter((expert) => !assigned.has(expert)),
    scene,
  );
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
 * What nobody serves first; then what is only served where it is to go from, since its coming frees a place there; then what
 * is busiest; of equals, layer by layer.
 */
function byUrgency<M extends Migrant>(experts: ExpertIndex[], scene: Scene<M>): ExpertIndex[] {
  const { load } = scene.options;
  const rank = (expert: ExpertIndex): number => (!scene.isServed(expert) ? 0 : scene.cost(expert) > 0 ? 1 : 2);
  return experts.sort((a, b) => rank(a) - rank(b) || load(b) - load(a) || a - b);
}

/** Take in as much as there is room for, giving up of `taken` no more than that needs. */
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

/** What a peer can still take beside what it holds. */
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

  /** Whether there is room for `expert` once `other` has gone. */
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

/** Of all peers that wait for each other, the one whose replica is given up at the least cost, if there are any. */
function breakCircle<M extends Migrant>(
  scene: Scene<M>,
  moving: ReadonlyMap<M, unknown>,
): { migrant: M; holds: Set<ExpertIndex>; uncovers: ExpertIndex | undefined } | undefined {
  const { expertsPerLayer, load } = scene.options;
  let best: { migrant: M; out: ExpertIndex; cost: number } | undefined;
  for (const migrant of stuck(scene, moving)) {
    const lacking = [...migrant.target].filter((expert) => !migrant.assigned.has(expert));
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
  const lacking = byUrgency(
    [...migrant.target].filter((expert) => !migrant.assigned.has(expert)),
    scene,
  );
  grow(migrant, lacking, [out], holds, scene);
  return { migrant, holds, uncovers: cost === 2 ? out : undefined };
}

/** Peers that lack something, have no room, and wait for nobody who is on the way. */
function stuck<M extends Migrant>(scene: Scene<M>, moving: ReadonlyMap<M, unknown>): M[] {
  const waiting = new Set(
    scene.options.migrants.filter(
      (migrant) =>
        !moving.has(migrant) &&
        !isLoading(migrant) &&
        [...migrant.target].some((expert) => !migrant.assigned.has(expert)),
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

function sameExperts(a: ReadonlySet<ExpertIndex>, b: ReadonlySet<ExpertIndex>): boolean {
  return a.size === b.size && [...a].every((expert) => b.has(expert));
}
