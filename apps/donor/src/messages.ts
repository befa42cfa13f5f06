import type { PeerHostStats, PeerModel } from '@shoal/peer';
import type { AdapterInfo, Assign, Progress, Ready, Trouble } from '@shoal/protocol';
import type { Device } from './device.ts';

/** Between the page, which alone may open connections to people's networks, and its worker, which does everything else. */
export type ToWorker =
  /** Look for the device that is lent, and use it from then on. */
  | { type: 'probe'; device: Device }
  | { type: 'configure'; model: PeerModel; pledgeBytes: number; heartbeatMs: number }
  /**
   * The lap channel itself, or where a browser cannot transfer one, a port that the page relays it to. A further one adds to the
   * link that the one before began.
   */
  | { type: 'channel'; channel: RTCDataChannel; isFurther: boolean }
  | { type: 'relay'; port: MessagePort; isFurther: boolean }
  | { type: 'detach' }
  | { type: 'assign'; assignment: Assign }
  | { type: 'pause'; paused: boolean };

export type ProbeFailure = 'insecure' | 'no-webgpu' | 'no-adapter' | 'no-wasm';

/** The loading figures beside what the coordinator is told. */
export interface DownloadFigures extends Progress {
  bytesPerSecond: number | undefined;
  secondsLeft: number | undefined;
}

export type FromWorker =
  | { type: 'probed'; adapter: AdapterInfo }
  | { type: 'probe-failed'; reason: ProbeFailure }
  | { type: 'configured' }
  | { type: 'configure-failed'; reason: string; message: string }
  | { type: 'progress'; progress: DownloadFigures }
  | { type: 'ready'; ready: Ready }
  | { type: 'trouble'; trouble: Trouble }
  | { type: 'backend-gone'; message: string }
  | { type: 'cache-failed'; reason: 'quota' | 'unavailable' }
  | { type: 'link-closed'; reason: string }
  | { type: 'stats'; stats: PeerHostStats };
