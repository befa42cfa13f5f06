import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type AccessFileError, readAccessFile } from './access-file.ts';
import { OPEN_POLICY } from './policy.ts';
import { digestOf } from './token.ts';

const folder = mkdtempSync(join(tmpdir(), 'shoal-access-'));
const sha256 = digestOf('a token').toString('hex');
const other = digestOf('another').toString('hex');

function file(contents: unknown): string {
  const path = join(folder, 'access.json');
  writeFileSync(path, typeof contents === 'string' ? contents : JSON.stringify(contents), { mode: 0o600 });
  return path;
}

function complaint(contents: unknown): AccessFileError {
  try {
    readAccessFile(file(contents));
  } catch (error) {
    return error as AccessFileError;
  }
  return expect.unreachable('the file should have been refused');
}

describe('readAccessFile', () => {
  it('fills in the defaults', () => {
    const { policy, warnings } = readAccessFile(
      file({
        invites: [{ name: 'class-3b', sha256, expires: '2030-01-31T12:00:00Z', maxPeers: 20 }],
        apiKeys: [{ name: 'ann', sha256, requestsPerMinute: 60 }],
        admins: [{ name: 'bob', sha256, role: 'viewer' }],
        limits: { peersPerAddress: 3 },
      }),
    );
    expect(warnings).toEqual([]);
    expect(policy).toEqual({
      invites: [{ name: 'class-3b', digest: digestOf('a token'), expiresMs: Date.UTC(2030, 0, 31, 12), maxPeers: 20 }],
      inviteOnly: true,
      apiKeys: [{ name: 'ann', digest: digestOf('a token'), requestsPerMinute: 60 }],
      admins: [{ name: 'bob', digest: digestOf('a token'), role: 'viewer' }],
      metricsNeedAdmin: true,
      limits: {
        peersPerAddress: 3,
        tabsPerDonor: 8,
        joinsPerMinutePerAddress: 128,
        shardBytesPerHourPerAddress: 64 * 2 ** 30,
      },
    });
  });

  it.each([
    [{}, false],
    [{ metrics: 'admins' }, true],
    [{ admins: [{ name: 'bob', sha256, role: 'viewer' }], metrics: 'open' }, false],
  ])('decides who may read the metrics of %j', (content, metricsNeedAdmin) => {
    expect(readAccessFile(file(content)).policy).toMatchObject({ metricsNeedAdmin });
  });

  it('opens everything for an empty file', () => {
    const { policy } = readAccessFile(file({}));
    expect(policy).toEqual(OPEN_POLICY);
    expect(policy).toMatchObject({
      inviteOnly: false,
      apiKeys: undefined,
      admins: [],
      limits: { peersPerAddress: 64 },
    });
  });

  it.each([
    ['{', 'not-json', 'is not valid JSON'],
    ['[]', 'invalid', 'the file'],
    [{ apikeys: [] }, 'invalid', 'unknown key "apikeys"'],
    [{ apiKeys: [{ name: 'a', sha256, perMinute: 1 }] }, 'invalid', 'apiKeys[0] has an unknown key "perMinute"'],
    [{ apiKeys: [{ name: 'a' }] }, 'invalid', 'apiKeys[0].sha256 is missing'],
    [{ apiKeys: [{ name: 'a', sha256: 'secret' }] }, 'invalid', 'npx shoal token'],
    [{ apiKeys: [{ name: 'a b', sha256 }] }, 'invalid', 'apiKeys[0].name'],
    [{ apiKeys: [{ name: 'a', sha256, maxConcurrent: 0 }] }, 'invalid', 'apiKeys[0].maxConcurrent must be 1 or more'],
    [{ admins: [{ name: 'a', sha256, role: 'root' }] }, 'invalid', 'admins[0].role must be viewer or operator'],
    [{ invites: [{ name: 'a', sha256, expires: 'tomorrow' }] }, 'invalid', 'invites[0].expires must be a time like'],
    [{ limits: { peersPerAddress: 1.5 } }, 'invalid', 'limits.peersPerAddress must be a whole number'],
    [
      {
        invites: [
          { name: 'a', sha256 },
          { name: 'a', sha256: other },
        ],
      },
      'invalid',
      'invites[1].name is used by another',
    ],
    [
      {
        admins: [
          { name: 'a', sha256, role: 'viewer' },
          { name: 'b', sha256, role: 'viewer' },
        ],
      },
      'invalid',
      'admins[1].sha256',
    ],
  ] as const)('refuses %j as %s, with a remedy', (contents, reason, words) => {
    const error = complaint(contents);
    expect(error).toMatchObject({ name: 'AccessFileError', reason });
    expect(error.message).toContain(words);
    expect(error.message).toContain('access.json');
  });

  it('refuses a missing or too large file', () => {
    expect(() => readAccessFile(join(folder, 'none.json'))).toThrow(/none\.json cannot be read \(ENOENT\)/);
    expect(complaint(' '.repeat(2 ** 20 + 1)).reason).toBe('too-large');
  });

  it('warns of what is probably a mistake', () => {
    const warnings = (contents: unknown): string => readAccessFile(file(contents)).warnings.join();
    expect(warnings({ invites: [{ name: 'a', sha256 }], inviteOnly: false })).toContain('anyone may join');
    expect(warnings({ inviteOnly: true })).toContain('no tab can join');
    expect(warnings({ apiKeys: [] })).toContain('every API request is refused');
    const path = file({});
    chmodSync(path, 0o644);
    expect(readAccessFile(path).warnings.join()).toContain('chmod 600');
  });
});
