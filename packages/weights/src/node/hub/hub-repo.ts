import { messageOf } from '@shoal/model';
import { z } from 'zod';
import type { HubClient } from './hub-client.ts';
import { HubError, PassingError } from './hub-error.ts';
import { COMMIT, PLAIN_PATH } from './hub-name.ts';

/** Files of a commit, and what their bytes have to be. */
export const listingSchema = z.array(
  z.object({
    /** With its folder, if that is not the top one. */
    name: z.string().regex(PLAIN_PATH),
    bytes: z.int().min(0),
    /** SHA-256 of a large file; of others the id of git's blob. */
    digest: z.object({ kind: z.enum(['sha256', 'git']), hex: z.string().regex(COMMIT) }),
    /** Whether it is in the hub's newer store, which is asked in another way. */
    xet: z.boolean(),
  }),
);
export type HubFile = z.infer<typeof listingSchema>[number];

/** A page of a list of 1,000 files has half a megabyte. */
const MAX_JSON_BYTES = 16 * 1024 * 1024;
/** Far more than any model has. */
const MAX_LISTED = 20_000;
/** Pages that may have few files, or none. Of all others each has ten at least, where the hub's own have 1,000. */
const FREE_PAGES = 16;
const LEAST_PER_PAGE = 10;

const fileSchema = z.object({
  path: z.string(),
  size: z.int().min(0),
  oid: z.string().regex(COMMIT),
  lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).optional(),
  xetHash: z.string().optional(),
});

/** The commit that a revision is at now. Throws HubError. */
export async function findCommit(client: HubClient): Promise<string> {
  const { repo, revision } = client.name;
  const params = { name: repo, revision, additionalFields: ['sha' as const], ...ours(client) };
  const { modelInfo } = await import('@huggingface/hub');
  const { sha } = (await asking(client, () => modelInfo(params))) as { sha?: unknown };
  if (typeof sha === 'string' && COMMIT.test(sha)) return sha;
  throw new HubError('bad-answer', `${client.endpoint} does not say at which commit ${repo}@${revision} is`);
}

/** The files in a folder, by default the top one, at a commit, without those with odd names. Throws HubError. */
export async function listCommit(client: HubClient, commit: string, folder?: string): Promise<HubFile[]> {
  const { repo } = client.name;
  const { listFiles } = await import('@huggingface/hub');
  return asking(client, async () => {
    const files: HubFile[] = [];
    let listed = 0;
    let pages = 0;
    const { hubUrl, fetch } = ours(client);
    const fetchPage: typeof fetch = (input, init) => {
      if (++pages > FREE_PAGES + listed / LEAST_PER_PAGE) {
        throw new HubError('bad-answer', `${repo} lists ${listed} files on ${pages - 1} pages, and still goes on`);
      }
      return fetch(input, init);
    };
    const params = { repo, revision: commit, hubUrl, fetch: fetchPage, ...(folder !== undefined && { path: folder }) };
    const isIn = (path: string): boolean =>
      PLAIN_PATH.test(path) && path.split('/').slice(0, -1).join('/') === (folder ?? '');
    for await (const entry of listFiles(params)) {
      if (++listed > MAX_LISTED) throw new HubError('bad-answer', `${repo} lists more than ${MAX_LISTED} files`);
      if (entry.type === 'file' && isIn(entry.path)) files.push(parseFile(client, entry));
    }
    return files;
  });
}

function parseFile({ endpoint }: HubClient, entry: unknown): HubFile {
  const parsed = fileSchema.safeParse(entry);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new HubError(
      'bad-answer',
      `${endpoint} lists a file in a way that is not understood (${path.join('.')}: ${message})`,
    );
  }
  const { path: name, size, oid, lfs, xetHash } = parsed.data;
  const digest = lfs ? ({ kind: 'sha256', hex: lfs.oid } as const) : ({ kind: 'git', hex: oid } as const);
  return { name, bytes: lfs?.size ?? size, digest, xet: xetHash !== undefined };
}

/** What every call of the library gets. The token is added by the client, which knows whom it is for. */
function ours(client: HubClient) {
  return { hubUrl: client.endpoint, fetch: client.fetchUpTo(MAX_JSON_BYTES) };
}

/** Calls the library. An answer that it cannot read is one of no hub. */
async function asking<T>(client: HubClient, work: () => Promise<T>): Promise<T> {
  return client.retry(async () => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof PassingError || error instanceof HubError || client.signal?.aborted) throw error;
      throw new HubError('bad-answer', `${client.endpoint} does not answer as a hub does (${messageOf(error)})`, {
        cause: error,
      });
    }
  });
}
