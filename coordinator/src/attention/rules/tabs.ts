import { counted, type Facts, MINUTE_MS, type Rule, SECOND_MS } from '../facts.ts';

/** A tab that left is news for so long; wrong results, which an operator may want to look into, for longer. */
export const LEFT_IS_NEWS_MS = 10 * MINUTE_MS;
const WRONG_IS_NEWS_MS = 60 * MINUTE_MS;
/** Tabs come and go: only a fifth of all at a time is news, and half of them a reason to look at once. */
const MANY_LEFT = 0.2;
const MOST_LEFT = 0.5;

const OPEN_THE_PAGE = 'Open the donor page (/) in a browser with WebGPU and lend a GPU, or give its address to others.';

/** No tab serves: the coordinator computes everything. */
const alone: Rule = {
  name: 'no-tabs',
  about: 'swarm',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  check({ tabs, coverage, nowMs }) {
    if (coverage.experts === 0 || tabs.serving > 0) return undefined;
    const lastLeft = tabs.left.at(-1);
    // They come back by themselves, when their donors said.
    if (tabs.resting > 0) return undefined;
    const found = (text: string, remedy: string) => ({ severity: 'notice', text, remedy, href: '#peers' }) as const;
    const are = (count: number): string => `${counted(count, 'tab')} ${count === 1 ? 'is' : 'are'}`;
    if (tabs.joining > 0)
      return found(`${are(tabs.joining)} joining`, 'Nothing: they serve as soon as they have their experts.');
    if (tabs.paused > 0)
      return found(
        `${are(tabs.paused)} paused by their donors`,
        'Nothing, if that is meant: donors go on when they like.',
      );
    if (tabs.spare > 0)
      return found(`${are(tabs.spare)} connected without experts`, 'See the events for what keeps them from serving.');
    if (lastLeft && nowMs - lastLeft.atMs < LEFT_IS_NEWS_MS) {
      const minutes = Math.floor((nowMs - lastLeft.atMs) / MINUTE_MS);
      const ago = minutes === 0 ? 'less than a minute ago' : `${counted(minutes, 'minute')} ago`;
      return {
        ...found(`The last tab left ${ago}`, 'The events say why. A reloaded tab comes back by itself.'),
        severity: 'warning',
      };
    }
    return found(tabs.left.length > 0 ? 'All tabs have left' : 'No tab has joined', OPEN_THE_PAGE);
  },
};

const manyLeft: Rule = {
  name: 'tabs-left',
  about: 'swarm',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  check({ tabs, nowMs }) {
    const left = tabs.left.filter(({ atMs }) => nowMs - atMs < LEFT_IS_NEWS_MS).length;
    const share = left / (left + tabs.serving);
    // The last tab is the rule above's.
    if (left < 2 || share < MANY_LEFT || tabs.serving === 0) return undefined;
    return {
      severity: share >= MOST_LEFT ? 'warning' : 'notice',
      text: `${counted(left, 'tab')} left within ten minutes; ${counted(tabs.serving, 'tab')} ${tabs.serving === 1 ? 'serves' : 'serve'} now`,
      remedy:
        'The events say why each left. If many left at once, look at the network between them and this coordinator.',
      href: '#events',
    };
  },
};

const wrongResults: Rule = {
  name: 'wrong-results',
  about: 'coordinator',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  check({ tabs, nowMs }) {
    const recent = tabs.wrong.filter(({ atMs }) => nowMs - atMs < WRONG_IS_NEWS_MS);
    const last = recent.at(-1);
    if (!last) return undefined;
    const others = recent.length > 1 ? `, and ${counted(recent.length - 1, 'other')} within the hour` : '';
    return {
      severity: 'warning',
      text: `${last.peerId} gave ${last.what} and is kept out${others}`,
      remedy: 'Its donor is in quarantine already. If it is a donor whom you know, its GPU or driver computes wrongly.',
      href: '#events',
    };
  },
};

const troubled: Rule = {
  name: 'troubled-tabs',
  about: 'coordinator',
  // A tab that lost its GPU has it back within seconds.
  raiseAfterMs: 15 * SECOND_MS,
  clearAfterMs: 0,
  check({ tabs: { troubled: all } }: Facts) {
    const [first] = all;
    if (!first) return undefined;
    const others = all.length > 1 ? `, and ${counted(all.length - 1, 'other tab')} in trouble` : '';
    return {
      severity: 'notice',
      text: `${first.peerId}: ${first.note}${others}`,
      remedy: 'The coordinator sends its work elsewhere meanwhile. Remove the tab if it stays so.',
      href: '#peers',
    };
  },
};

export const TAB_RULES: readonly Rule[] = [alone, manyLeft, wrongResults, troubled];
