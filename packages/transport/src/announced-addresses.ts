import type { Signal } from '@shoal/protocol';

/** candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ TYPE, RFC 8839. */
const CANDIDATE = /^(?:a=)?candidate:(\S+) (\d+) (\S+) (\d+) (\S+) (\d+) typ (\S+)(.*)$/i;

/**
 * Puts the addresses under which this machine can be reached from outside (`--announce`) in place of its own, in the signals of one
 * peer's connections. The port stays, so whatever is in front must forward the same one. Candidates that a STUN server told stay.
 */
export class AnnouncedAddresses {
  readonly #addresses: readonly string[];
  /** What was told, by connection: `ADDRESS PORT`. Each of this machine's addresses would lead to the same candidates. */
  readonly #told = new Map<number, Set<string>>();

  /** IPv4 or IPv6 addresses, the preferred one first. */
  constructor(addresses: readonly string[]) {
    this.#addresses = addresses;
  }

  /** The signals to send in place of this one; none if they were sent before. */
  rewrite(signal: Signal): Signal[] {
    if (signal.type !== 'candidate') {
      const lines = signal.sdp.split(/\r?\n/).flatMap((line) => {
        if (!line.startsWith('a=candidate:')) return [line];
        return this.#candidates(line.slice('a='.length), signal.connection).map((candidate) => `a=${candidate}`);
      });
      return [{ ...signal, sdp: lines.join('\r\n') }];
    }
    const candidates = this.#candidates(signal.candidate.candidate, signal.connection);
    return candidates.map((candidate) => ({ ...signal, candidate: { ...signal.candidate, candidate } }));
  }

  #candidates(text: string, connection = 0): string[] {
    const parts = CANDIDATE.exec(text);
    if (parts?.[7] !== 'host') return [text];
    const [, foundation, component, transport, priority, , port, type, rest] = parts;
    let told = this.#told.get(connection);
    if (!told) this.#told.set(connection, (told = new Set()));
    const fresh = this.#addresses.filter((address) => !told.has(`${address} ${port}`));
    return fresh.map((address, index) => {
      told.add(`${address} ${port}`);
      // Candidates of different addresses have foundations of their own (RFC 8445, 5.1.1.3), and their order is their priority's.
      const [own, ranked] = [`${foundation}${index === 0 ? '' : index}`, Number(priority) - index];
      return `candidate:${own} ${component} ${transport} ${ranked} ${address} ${port} typ ${type}${rest}`;
    });
  }
}
