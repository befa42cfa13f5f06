import { FramedChannel } from '@shoal/transport';

/** Echoes every frame. */
self.onmessage = ({ data }: MessageEvent<{ channel: RTCDataChannel }>) => {
  const link = new FramedChannel(data.channel);
  // A send that fails means that the link is closing, which onClose tells.
  link.onFrame = (frame) => void link.send(frame).catch(() => {});
  link.onClose = (reason) => self.postMessage({ closed: reason });
};
