import { UsageError } from './usage-error.ts';

/** What a URL says of a Postgres server, its password apart. */
export interface ServerName {
  /** `HOST:PORT`, or the directory of a socket. */
  host: string;
  user: string;
  /** Of the database. */
  name: string;
}

const SHAPE =
  'takes postgres://USER:PASSWORD@HOST:PORT/NAME, with characters like @ and / of the password as %40 and %2F';

/** Throws a UsageError, which does not quote the URL: it may hold a password. */
export function parseDatabaseUrl(url: string): ServerName {
  if (!/^postgres(ql)?:\/\//.test(url)) throw new UsageError(`${SHAPE}; or none`);
  if (!URL.canParse(url)) throw new UsageError(SHAPE);
  const { hostname, port, username, pathname, searchParams } = new URL(url);
  try {
    const user = decodeURIComponent(username) || 'postgres';
    const name = decodeURIComponent(pathname.slice(1)) || user;
    // A socket's directory is given as ?host=.
    return { host: `${searchParams.get('host') ?? (hostname || 'localhost')}:${port || 5432}`, user, name };
  } catch {
    throw new UsageError(SHAPE);
  }
}
