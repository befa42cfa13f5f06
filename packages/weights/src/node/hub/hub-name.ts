import { HubError } from './hub-error.ts';

/** A model of a hub, as people name it: `ORG/NAME`, with `@REVISION` for another than main. */
export interface HubName {
  /** `ORG/NAME` */
  repo: string;
  org: string;
  name: string;
  /** A branch, a tag or a commit. */
  revision: string;
}

/** The last part is other programs' way to name a GGUF file of a repository, which is refused. */
const PATTERN = /^([\w.-]{1,96})\/([\w.-]{1,96}?)(?:@([\w./-]{1,200}))?(?::([\w./ -]{1,200}\.gguf))?$/;
/** A full id, of SHA-1 or SHA-256. */
export const COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Whether a text could be the name of a hub's model. Most relative paths of two parts could be, too. */
export function looksLikeHubName(text: string): boolean {
  const found = PATTERN.exec(text);
  return found !== null && found.slice(1).every((part) => part === undefined || isPlain(part));
}

/** No part may lead out of a folder, as `..` would. */
function isPlain(path: string): boolean {
  return path.split('/').every((part) => part !== '' && !part.startsWith('.') && !/[. -]$/.test(part));
}

/** Throws HubError `bad-name`. */
export function parseHubName(text: string): HubName {
  if (!looksLikeHubName(text)) {
    const problem = `${JSON.stringify(text)} is not the name of a model on a hub`;
    throw new HubError('bad-name', `${problem}: write ORG/NAME, or ORG/NAME@REVISION`);
  }
  const [, org, name, revision = 'main', file] = PATTERN.exec(text) as unknown as [
    string,
    string,
    string,
    string?,
    string?,
  ];
  if (file !== undefined) {
    const remedy = `download ${file} from ${org}/${name} and give its path`;
    throw new HubError('bad-name', `${text}: GGUF files are not fetched from a hub; ${remedy}`);
  }
  return { repo: `${org}/${name}`, org, name, revision };
}

/** Names of files, and of the folder if it isn't the top one, that are looked at at all. Others, which a repository may have, are ignored. */
export const PLAIN_PATH = /^(?:[\w][\w.-]{0,199}\/)?[\w][\w.-]{0,199}$/;
