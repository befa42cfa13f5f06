import { coordinatorUrl } from '@shoal/protocol/page';

/** The coordinator that the page is of, maybe behind a path prefix. What a page fetches, it names relative to itself (`./v1/…`). */
export const here = coordinatorUrl(document.baseURI);
