import { BROWSER_SPREAD_ABOVE_BYTES, FramedChannel, MAX_MISSED_OF_COORDINATOR } from '@shoal/transport';

let link: FramedChannel;

/** Echoes every frame. */
self.onmessage = ({ data }: MessageEvent<{ channel: RTCDataChannel; isFurther: boolean }>) => {
  if (data.isFurther) return link.addChannel(data.channel);
  link = new FramedChannel(data.channel, {
    heartbeatMs: 500,
    maxMissedHeartbeats: MAX_MISSED_OF_COORDINATOR,
    spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES,
  });
  // A failed send means that the link is closing, which onClose reports.
  link.onFrame = (frame) => void link.send(frame).catch(() => {});
  link.onClose = (reason) => self.postMessage({ closed: reason });
};
self.postMessage('ready');
