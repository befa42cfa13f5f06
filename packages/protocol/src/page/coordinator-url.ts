/**
 * Where a coordinator is, as one of its pages sees it: an absolute URL with a slash at its end. A reverse proxy may have put it
 * behind a path prefix that it removes (`https://example.org/shoal/`), of which the coordinator knows nothing.
 */
export type CoordinatorUrl = `${string}/`;

/** The coordinator of the page with this address. All pages lie directly under its URL. */
export function coordinatorUrl(pageUrl: string): CoordinatorUrl {
  const { origin, pathname } = new URL('./', pageUrl);
  return `${origin}${pathname}` as CoordinatorUrl;
}

/** The address of a path of the coordinator's, which begins with a slash (`/v1/models`). Other URLs are left as they are. */
export function placeOf(coordinator: CoordinatorUrl, path: string): string {
  return path.startsWith('/') ? `${coordinator}${path.slice(1)}` : path;
}

/** A namespace of socket.io at the coordinator (`/donor`): the first argument of `io`, and what belongs into the second. */
export function socketAt(coordinator: CoordinatorUrl, namespace: string): [url: string, options: { path: string }] {
  const { origin, pathname } = new URL(coordinator);
  return [`${origin}${namespace}`, { path: `${pathname}socket.io/` }];
}
