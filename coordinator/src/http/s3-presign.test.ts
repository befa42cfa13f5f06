import { expect, it } from 'vitest';
import { presignS3 } from './s3-presign.ts';

/** The example of Amazon's S3 API reference, "Authenticating Requests: Using Query Parameters". */
const credentials = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const options = { credentials, region: 'us-east-1', expiresS: 86_400, now: new Date('2013-05-24T00:00:00Z') };

it("signs Amazon's published example as published", () => {
  const signed = new URL(presignS3('https://examplebucket.s3.amazonaws.com/test.txt', options));
  expect(signed.searchParams.get('X-Amz-Signature')).toBe(
    'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
  );
  expect(signed.searchParams.get('X-Amz-Credential')).toBe('AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request');
});

it('keeps path, port and query, and signs them with the token of temporary credentials', () => {
  const url = 'http://localhost:9000/bucket/a%20b/sha+1?versionId=7';
  const signed = presignS3(url, { ...options, credentials: { ...credentials, sessionToken: 'a/b=' } });
  expect(signed).toMatch(/^http:\/\/localhost:9000\/bucket\/a%20b\/sha%2B1\?/);
  expect(signed).toContain('&X-Amz-Security-Token=a%2Fb%3D&');
  expect(signed).toContain('&versionId=7&');
  const signatures = [signed, presignS3(url, options), presignS3(`${url}0`, options)].map((one) => one.slice(-64));
  expect(new Set(signatures).size).toBe(3);
});
