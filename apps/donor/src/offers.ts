/** What the operator offers besides lending, as the coordinator has written into the page. */
export function offersTabToTab(page: Document): boolean {
  return page.querySelector('meta[name="shoal-offers"]')?.getAttribute('content') === 'tab-to-tab';
}

/** Upload to other tabs, in Mbit/s: most lines at home have a multiple of the first. */
export const DEFAULT_EXCHANGE_MBIT = 20;
export const MAX_EXCHANGE_MBIT = 10_000;
