import { Args, equal, Namespace, orElse, Undefined, type Value } from './value.ts';

/** What `loop` is in each round of a `for`. */
export function loopState(items: readonly Value[]): { next: () => Namespace } {
  let index = -1;
  let seen: readonly Value[] | undefined;
  const cycle = ({ positional }: Args): Value => positional[index % positional.length] ?? null;
  const changed = ({ positional }: Args): Value => {
    const isSame = seen?.length === positional.length && positional.every((one, at) => equal(one, seen![at]!));
    seen = positional;
    return !isSame;
  };
  const next = (): Namespace => {
    index++;
    const attributes: Record<string, Value> = {
      index: index + 1,
      index0: index,
      revindex: items.length - index,
      revindex0: items.length - index - 1,
      first: index === 0,
      last: index === items.length - 1,
      length: items.length,
      previtem: orElse(items[index - 1], new Undefined('there is no previous item')),
      nextitem: orElse(items[index + 1], new Undefined('there is no next item')),
      cycle,
      changed,
    };
    return new Namespace(new Map(Object.entries(attributes)));
  };
  return { next };
}
