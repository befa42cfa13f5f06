import { signal } from '@preact/signals';
import { useLayoutEffect, useState } from 'preact/hooks';
import type { RefObject } from 'preact';
import type { Scheme } from './palette.ts';

const darkQuery = matchMedia('(prefers-color-scheme: dark)');

/** The system's colour scheme; canvases are redrawn when it changes. */
export const scheme = signal<Scheme>(darkQuery.matches ? 'dark' : 'light');
darkQuery.addEventListener('change', (event) => {
  scheme.value = event.matches ? 'dark' : 'light';
});

const narrowQuery = matchMedia('(max-width: 760px)');

/** Whether tables show their rows as cards (styles/narrow.css). */
export const isNarrow = signal(narrowQuery.matches);
narrowQuery.addEventListener('change', (event) => {
  isNarrow.value = event.matches;
});

/** Value of a colour token of styles/base.css, for canvases. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** An element's content width in CSS pixels; 0 until it is known. */
export function useWidth(ref: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver((entries) => {
      const box = entries[0]?.contentRect;
      if (box) setWidth(Math.floor(box.width));
    });
    observer.observe(element);
    setWidth(Math.floor(element.clientWidth));
    return () => observer.disconnect();
  }, [ref]);
  return width;
}

/** Sizes and clears a canvas for the screen's resolution; returns a context that draws in CSS pixels. */
export function prepareCanvas(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Copies text to the clipboard; returns false if the browser refuses, as it does outside HTTPS and localhost. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function download(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // By the next task, the download holds its own reference.
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
