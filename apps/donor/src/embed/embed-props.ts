import type { DonorInfo } from '@shoal/protocol';
import type { Signal } from '@preact/signals';
import type { DonorSession } from '../donor-session.ts';

/** What the frame's views share. */
export interface EmbedViewProps {
  session: DonorSession;
  info: Signal<DonorInfo | undefined>;
  /** The site that shows the frame, and the coordinator. */
  site: string;
  host: string;
}
