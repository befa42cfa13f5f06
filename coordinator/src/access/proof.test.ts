import { webcrypto } from 'node:crypto';
import { type Proof, type ProofPurpose, proofSchema, proofText } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { newChallenge, provenKey } from './proof.ts';

const { subtle } = webcrypto;

/** As a browser makes them. */
async function newBrowser() {
  const { publicKey, privateKey } = await subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, [
    'sign',
    'verify',
  ]);
  const key = Buffer.from(await subtle.exportKey('raw', publicKey)).toString('base64url');
  const prove = async (purpose: ProofPurpose, nonce: string, about?: string): Promise<Proof> => {
    const signature = await subtle.sign(
      { name: 'ECDSA', hash: 'SHA-256' },
      privateKey,
      proofText(purpose, nonce, about),
    );
    return proofSchema.parse({ key, signature: Buffer.from(signature).toString('base64url') });
  };
  return { key, prove };
}

describe('a proof', () => {
  it('is of the key that signed this challenge for this purpose, with these words', async () => {
    const challenge = newChallenge();
    const { key, prove } = await newBrowser();
    const join = await prove('join', challenge.nonce);
    expect(provenKey(join, challenge, 'join')?.toString('base64url')).toBe(key);
    // Replayed on another socket, and passed off as something else.
    expect(provenKey(join, newChallenge(), 'join')).toBeUndefined();
    expect(provenKey(join, challenge, 'contribution')).toBeUndefined();
    const named = await prove('contribution', challenge.nonce, '{"name":"Ann"}');
    expect(provenKey(named, challenge, 'contribution', '{"name":"Ann"}')).toBeDefined();
    expect(provenKey(named, challenge, 'contribution', '{"name":"Bob"}')).toBeUndefined();
  });

  it('is not made by somebody who knows a public key, or names what is none', async () => {
    const challenge = newChallenge();
    const [ann, mallory] = await Promise.all([newBrowser(), newBrowser()]);
    const { signature } = await mallory.prove('join', challenge.nonce);
    expect(provenKey({ key: ann.key, signature }, challenge, 'join')).toBeUndefined();
    const offCurve = Buffer.concat([Buffer.of(4), Buffer.alloc(64, 7)]).toString('base64url');
    expect(provenKey(proofSchema.parse({ key: offCurve, signature }), challenge, 'join')).toBeUndefined();
    expect(provenKey({ key: ann.key, signature: Buffer.alloc(64).toString('base64url') }, challenge, 'join')).toBe(
      undefined,
    );
  });
});
