/** What pages need of a `Storage`. */
export type PageTexts = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

export interface PageStorage extends PageTexts {
  /** Whether nothing outlives the page, since the browser blocks its data. */
  readonly isLost: boolean;
}

/**
 * The page's `localStorage` or `sessionStorage`, as `find` gives it, or texts in memory where the browser blocks the page's data:
 * asking for a storage throws then, as writing does where there is no room (private windows of some browsers). Never throws.
 */
export function openStorage(find: () => Storage): PageStorage {
  const own = new Map<string, string>();
  let storage: Storage | undefined;
  try {
    storage = find();
    // Some give a storage of no size.
    storage.setItem(PROBE, '');
    storage.removeItem(PROBE);
  } catch {
    storage = undefined;
  }
  return {
    isLost: storage === undefined,
    // What could not be stored is the newest.
    getItem: (key) => own.get(key) ?? storage?.getItem(key) ?? null,
    setItem(key, value) {
      try {
        if (!storage) throw new Error('There is no storage');
        storage.setItem(key, value);
        own.delete(key);
      } catch {
        own.set(key, value);
      }
    },
    removeItem(key) {
      own.delete(key);
      storage?.removeItem(key);
    },
  };
}

const PROBE = 'shoal.probe';
