import { z } from 'zod';

/**
 * How a donor's browser proves which one it is: with an ECDSA key pair (P-256, SHA-256) of its own, whose private half never leaves
 * it. Its signatures are of one challenge each, which the coordinator makes for one socket, so that none can be used twice.
 */

/** What a signature is for, so that one for joining can't be passed off as one for anything else. */
export type ProofPurpose = 'join' | 'contribution';

/** 256 random bits, base64url. */
export const nonceSchema = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

/** Coordinator → donor, event `challenge`: the first message on a socket. */
export const challengeSchema = z.object({ nonce: nonceSchema });
export type Challenge = z.infer<typeof challengeSchema>;

export const proofSchema = z.object({
  /** The public key as an uncompressed point (65 bytes), base64url. */
  key: z.string().regex(/^B[A-Za-z0-9_-]{86}$/),
  /** The signature's r and s (64 bytes), base64url. */
  signature: z.string().regex(/^[A-Za-z0-9_-]{86}$/),
});
export type Proof = z.infer<typeof proofSchema>;

/** The bytes that are signed. `about`: what is asked with it, if anything, as text. */
export function proofText(purpose: ProofPurpose, nonce: string, about = ''): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`shoal ${purpose}\n${nonce}\n${about}`);
}
