import { type Proof, type ProofPurpose, proofText } from '@shoal/protocol';

const DATABASE = 'shoal';
const STORE = 'keys';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };
/** A browser that is asked for storage by a person may take seconds; one that never answers must not hold up the tab. */
const STORAGE_TIMEOUT_MS = 5_000;

/** Signs a coordinator's challenge. Rejects if the browser can't. */
export type Prove = (purpose: ProofPurpose, nonce: string, about?: string) => Promise<Proof>;

/**
 * The key pair by which a coordinator knows this browser again, made when it is first needed. Its private half can't be read, not
 * even by this page. Each coordinator's address has a key of its own, so that none can pass a signature on to another, and two
 * can't tell that they know the same browser. Undefined where the browser has no Web Crypto (a page without HTTPS) or no storage.
 */
export async function openBrowserKey(coordinator: string): Promise<Prove | undefined> {
  try {
    const { publicKey, privateKey } = await withTimeout(keyOf(coordinator));
    const key = base64Url(await crypto.subtle.exportKey('raw', publicKey));
    return async (purpose, nonce, about) => {
      const signature = await crypto.subtle.sign(SIGNATURE, privateKey, proofText(purpose, nonce, about));
      return { key, signature: base64Url(signature) };
    };
  } catch {
    return undefined;
  }
}

async function keyOf(coordinator: string): Promise<CryptoKeyPair> {
  const database = await openDatabase();
  try {
    const known = await answer(keysOf(database, 'readonly').get(coordinator));
    if (isKeyPair(known)) return known;
    // Made before the transaction, which would end while the key is awaited.
    const made = await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
    const keys = keysOf(database, 'readwrite');
    // Another tab may have been faster.
    const meanwhile = await answer(keys.get(coordinator));
    if (isKeyPair(meanwhile)) return meanwhile;
    await answer(keys.put(made, coordinator));
    return made;
  } finally {
    database.close();
  }
}

function openDatabase(): Promise<IDBDatabase> {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  return answer(opening);
}

const keysOf = (database: IDBDatabase, mode: IDBTransactionMode): IDBObjectStore =>
  database.transaction(STORE, mode).objectStore(STORE);

function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('The browser keeps nothing.'));
  });
}

function isKeyPair(value: unknown): value is CryptoKeyPair {
  return (value as CryptoKeyPair | undefined)?.privateKey instanceof CryptoKey;
}

async function withTimeout<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('The browser did not answer.')), STORAGE_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function base64Url(bytes: ArrayBuffer): string {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}
