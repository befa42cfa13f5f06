import { BROWSER_SPREAD_ABOVE_BYTES, FramedChannel } from '@shoal/transport';

let link: FramedChannel;

/** Answers each frame with one whose length in bytes is the frame's first word (u32). */
self.onmessage = ({ data }: MessageEvent<{ channel: RTCDataChannel; isFurther: boolean }>) => {
  if (data.isFurther) return link.addChannel(data.channel);
  link = new FramedChannel(data.channel, { spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES });
  link.onFrame = (frame) => {
    const answerBytes = new DataView(frame.buffer, frame.byteOffset).getUint32(0, true);
    void link.send(new Uint8Array(answerBytes));
  };
};
