import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { type Challenge, type Proof, type ProofPurpose, proofText } from '@shoal/protocol';

/** A point's first byte says that both coordinates follow, of 32 bytes each. */
const COORDINATE_BYTES = 32;

/** A fresh challenge for one socket. Whoever makes it lets one message answer it. */
export const newChallenge = (): Challenge => ({ nonce: randomBytes(32).toString('base64url') });

/** The public key (65 bytes) whose owner has signed the challenge for this purpose; undefined if it has not. */
export function provenKey(
  { key, signature }: Proof,
  { nonce }: Challenge,
  purpose: ProofPurpose,
  about?: string,
): Buffer | undefined {
  const point = Buffer.from(key, 'base64url');
  const [x, y] = [point.subarray(1, 1 + COORDINATE_BYTES), point.subarray(1 + COORDINATE_BYTES)];
  const jwk = { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') };
  try {
    const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
    const by = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
    const isTrue = verify('sha256', proofText(purpose, nonce, about), by, Buffer.from(signature, 'base64url'));
    return isTrue ? point : undefined;
  } catch {
    // Not a point of the curve.
    return undefined;
  }
}
