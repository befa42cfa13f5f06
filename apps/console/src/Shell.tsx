import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';

const pages = [
  { href: '/console', name: 'Console' },
  { href: '/playground', name: 'Playground' },
  { href: '/lab', name: 'Lab' },
  { href: '/docs', name: 'API' },
  { href: '/swarm', name: 'Swarm' },
  { href: '/', name: 'Lend a GPU' },
];

export function Shell(props: { current: string; aside?: ComponentChildren; children: ComponentChildren }) {
  const title = pages.find((page) => page.href === props.current)?.name ?? '';
  useEffect(() => {
    document.title = `${title} · Shoal`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <header class="top">
        <span class="brand">
          <svg viewBox="0 0 16 16" width="22" height="22" aria-hidden="true">
            <ellipse cx="5" cy="4.6" rx="3.6" ry="1.8" />
            <ellipse cx="11.2" cy="8" rx="3.6" ry="1.8" />
            <ellipse cx="5" cy="11.4" rx="3.6" ry="1.8" />
          </svg>
          Shoal
        </span>
        <nav aria-label="Pages">
          {pages.map((page) => (
            <a href={`.${page.href}`} aria-current={page.href === props.current ? 'page' : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        <div class="aside">{props.aside}</div>
      </header>
      <main id="content" tabIndex={-1}>
        {props.children}
      </main>
    </>
  );
}
