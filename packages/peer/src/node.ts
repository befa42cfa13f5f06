// What a donor outside a browser needs besides the package's own: kernels and WebRTC for Node.
export { createDawnBackend, openDawn } from '@shoal/kernels/dawn';
export { createWasmBackend } from '@shoal/kernels/node';
export { loadRtc, type RtcImplementation } from '@shoal/transport/node';
