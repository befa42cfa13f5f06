import type { RtcImplementation } from '@shoal/transport/node';

type Classes = RtcImplementation['classes'];

/** The same WebRTC, which tells of each control channel that simple-peer makes: only its text messages reach the other side. */
export function withControlChannels(classes: Classes, onChannel: (channel: RTCDataChannel) => void): Classes {
  class Watched extends classes.RTCPeerConnection {
    override createDataChannel(label: string, init?: RTCDataChannelInit): RTCDataChannel {
      const channel = super.createDataChannel(label, init);
      if (label === 'control') onChannel(channel);
      return channel;
    }
  }
  return { ...classes, RTCPeerConnection: Watched };
}
