import type { PeerHostStats, PeerModel } from '@shoal/peer';
import type {
  Adapted,
  AdapterInfo,
  AdapterShards,
  Assign,
  Fetched,
  Progress,
  Ready,
  Seek,
  SeekReply,
  Trouble,
} from '@shoal/protocol';
import type { Device } from './device.ts';

/** Messages to the worker, which does everything except WebRTC connections: only the page can open those. */
export type ToWorker =
  /** Selects the device to lend and looks for it. */
  | { type: 'probe'; device: Device }
  | {
      type: 'configure';
      model: PeerModel;
      pledgeBytes: number;
      heartbeatMs: number;
      /** Where the coordinator has shards, and where else they are. */
      shardsAt: string;
      shardUrls: readonly string[];
    }
  /**
   * A lap channel, or a port to which the page relays one that can't be transferred. Further channels join the link of the
   * coordinator's first one: the home (HOME), or a guest's name.
   */
  | { type: 'channel'; channel: RTCDataChannel; isFurther: boolean; coordinator: string }
  | { type: 'relay'; port: MessagePort; isFurther: boolean; coordinator: string }
  | { type: 'detach'; coordinator: string }
  | { type: 'assign'; assignment: Assign }
  | { type: 'adapters'; message: AdapterShards }
  | { type: 'pause'; paused: boolean }
  /** Exchange shards with other tabs from now on, or no longer. */
  | { type: 'exchange'; uploadBitsPerSecond: number | undefined }
  | { type: 'tab-channel'; tab: string; channel: RTCDataChannel }
  | { type: 'tab-relay'; tab: string; port: MessagePort }
  | { type: 'tab-gone'; tab: string }
  /** Undefined if the coordinator did not answer. */
  | { type: 'seek-reply'; id: number; reply: SeekReply | undefined };

export type ProbeFailure = 'insecure' | 'no-webgpu' | 'no-adapter' | 'no-wasm';

/** The coordinator's progress figures, and those for the page alone. */
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
  | { type: 'adapted'; adapted: Adapted }
  | { type: 'backend-gone'; message: string }
  | { type: 'cache-failed'; reason: 'quota' | 'unavailable' }
  | { type: 'seek'; id: number; seek: Seek }
  | { type: 'link-closed'; reason: string; coordinator: string }
  | { type: 'stats'; stats: PeerHostStats; mirrorFaults: Fetched['mirrorFaults'] };
