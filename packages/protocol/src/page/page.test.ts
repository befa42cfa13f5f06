import { describe, expect, it } from 'vitest';
import { coordinatorUrl, openStorage, placeOf, socketAt } from './index.ts';

describe('a coordinator’s URL', () => {
  it.each([
    ['https://example.org/', 'https://example.org/'],
    ['https://example.org/console#token=a/b', 'https://example.org/'],
    ['https://example.org:8443/shoal/?auto=1', 'https://example.org:8443/shoal/'],
    ['https://example.org/a/b/playground', 'https://example.org/a/b/'],
  ])('of the page %s is %s', (page, coordinator) => {
    expect(coordinatorUrl(page)).toBe(coordinator);
  });

  it('leads to its paths and sockets', () => {
    const coordinator = coordinatorUrl('https://example.org/shoal/console');
    expect(placeOf(coordinator, '/shards/00')).toBe('https://example.org/shoal/shards/00');
    // A mirror is elsewhere, and its template has braces.
    expect(placeOf(coordinator, 'https://cdn.example/{sha256}')).toBe('https://cdn.example/{sha256}');
    expect(placeOf(coordinator, '/mirrors/0/{sha256}')).toBe('https://example.org/shoal/mirrors/0/{sha256}');
    expect(socketAt(coordinator, '/donor')).toEqual(['https://example.org/donor', { path: '/shoal/socket.io/' }]);
  });
});

describe('a page’s storage', () => {
  function memory(rooms = Number.POSITIVE_INFINITY): Storage {
    const entries = new Map<string, string>();
    return {
      getItem: (key: string) => entries.get(key) ?? null,
      setItem(key: string, value: string) {
        if (entries.size >= rooms && !entries.has(key)) throw new DOMException('full', 'QuotaExceededError');
        entries.set(key, value);
      },
      removeItem: (key: string) => void entries.delete(key),
    } as unknown as Storage;
  }

  it('is the browser’s', () => {
    const browser = memory();
    const storage = openStorage(() => browser);
    storage.setItem('a', '1');
    expect([storage.isLost, browser.getItem('a'), storage.getItem('a')]).toEqual([false, '1', '1']);
    storage.removeItem('a');
    expect([browser.getItem('a'), storage.getItem('a')]).toEqual([null, null]);
  });

  it('is the page’s own where the browser blocks it', () => {
    const storage = openStorage(() => {
      throw new DOMException('denied', 'SecurityError');
    });
    expect([storage.isLost, storage.getItem('a')]).toEqual([true, null]);
    storage.setItem('a', '1');
    expect(storage.getItem('a')).toBe('1');
    storage.removeItem('a');
    expect(storage.getItem('a')).toBeNull();
  });

  it('is the page’s own where it has no room at all', () => {
    const storage = openStorage(() => memory(0));
    storage.setItem('a', '1');
    expect([storage.isLost, storage.getItem('a')]).toEqual([true, '1']);
  });

  it('keeps what no longer fits for as long as the page is open', () => {
    const storage = openStorage(() => memory(1));
    storage.setItem('a', '1');
    storage.setItem('b', '2');
    expect([storage.isLost, storage.getItem('a'), storage.getItem('b')]).toEqual([false, '1', '2']);
    storage.removeItem('b');
    expect(storage.getItem('b')).toBeNull();
  });
});
