/** Twice the size on the page, so that it stays sharp in print; less where a browser's canvas would be too large. */
const SCALE = 2;
const MAX_SIDE_PX = 16_000;

/** Saves an SVG document as a PNG. */
export async function downloadPng(name: string, svg: string, size: { width: number; height: number }): Promise<void> {
  const scale = Math.min(SCALE, MAX_SIDE_PX / size.width, MAX_SIDE_PX / size.height);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(size.width * scale);
  canvas.height = Math.round(size.height * scale);
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (blob) downloadBlob(name, blob);
}

function downloadBlob(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
