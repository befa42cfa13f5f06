import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

/** What tabs know: the NAT's address, whose ports are forwarded to the coordinator. */
export const PUBLIC = '203.0.113.7';
/** The coordinator's own, behind the NAT. */
export const INSIDE = '10.77.0.2';
const NAT_INSIDE = '10.77.0.1';
const TAB = '198.51.100.2';
const NAT_TAB = '198.51.100.1';
const NAMES = { coordinator: 'shoal-nc-c', nat: 'shoal-nc-n', tab: 'shoal-nc-t' } as const;
export type Place = keyof typeof NAMES;

/** A coordinator behind a NAT (or on a container's host), and a tab on the other side of it. Linux, root and iptables. */
export class Namespaces {
  readonly #processes: ChildProcess[] = [];

  constructor() {
    this.#remove();
    for (const name of Object.values(NAMES)) run('ip', 'netns', 'add', name);
    this.#join('coordinator', `${INSIDE}/24`, `${NAT_INSIDE}/24`);
    this.#join('tab', `${TAB}/24`, `${NAT_TAB}/24`);
    this.in('nat', 'ip', 'addr', 'add', `${PUBLIC}/32`, 'dev', 'lo');
    for (const place of ['coordinator', 'nat', 'tab'] as const) this.in(place, 'ip', 'link', 'set', 'lo', 'up');
    this.in('coordinator', 'ip', 'route', 'add', 'default', 'via', NAT_INSIDE);
    this.in('tab', 'ip', 'route', 'add', 'default', 'via', NAT_TAB);
    this.in('nat', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    // Nobody outside knows the inside's network.
    this.in('nat', 'iptables', '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'ESTABLISHED,RELATED', '-j', 'ACCEPT');
    this.in('nat', 'iptables', '-A', 'FORWARD', '-m', 'conntrack', '--ctstate', 'DNAT', '-j', 'ACCEPT');
    this.in('nat', 'iptables', '-A', 'FORWARD', '-s', INSIDE, '-j', 'ACCEPT');
    this.in('nat', 'iptables', '-A', 'FORWARD', '-j', 'DROP');
    this.in('nat', 'iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', INSIDE, '-d', INSIDE, '-j', 'MASQUERADE');
  }

  /** As `docker run -p PORT:PORT/PROTOCOL` does. */
  forward(protocol: 'tcp' | 'udp', port: number): void {
    const to = ['-j', 'DNAT', '--to-destination', `${INSIDE}:${port}`];
    this.in(
      'nat',
      'iptables',
      '-t',
      'nat',
      '-A',
      'PREROUTING',
      '-d',
      PUBLIC,
      '-p',
      protocol,
      '--dport',
      `${port}`,
      ...to,
    );
  }

  /** As a firewall of the donor's network that lets nothing but TCP through. */
  blockUdp(): void {
    for (const chain of ['INPUT', 'OUTPUT']) this.in('tab', 'iptables', '-A', chain, '-p', 'udp', '-j', 'DROP');
  }

  in(place: Place, ...command: string[]): void {
    run('ip', 'netns', 'exec', NAMES[place], ...command);
  }

  start(place: Place, command: readonly string[], env: Record<string, string> = {}): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', NAMES[place], ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#processes.push(child);
    return child;
  }

  close(): void {
    for (const child of this.#processes.splice(0)) child.kill('SIGKILL');
    this.#remove();
  }

  #join(place: 'coordinator' | 'tab', own: string, theirs: string): void {
    const [end, other] = [`${place[0]}0`, `r${place[0]}0`];
    run('ip', 'link', 'add', end, 'netns', NAMES[place], 'type', 'veth', 'peer', 'name', other, 'netns', NAMES.nat);
    this.in(place, 'ip', 'addr', 'add', own, 'dev', end);
    this.in('nat', 'ip', 'addr', 'add', theirs, 'dev', other);
    this.in(place, 'ip', 'link', 'set', end, 'up');
    this.in('nat', 'ip', 'link', 'set', other, 'up');
  }

  #remove(): void {
    for (const name of Object.values(NAMES)) spawnSync('ip', ['netns', 'del', name]);
  }
}

function run(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
}
