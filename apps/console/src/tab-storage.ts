import { openStorage } from '@shoal/protocol/page';

/** Survives a reload of the tab and nothing else; only the page itself where the browser blocks its data. */
export const tabStorage = openStorage(() => sessionStorage);
