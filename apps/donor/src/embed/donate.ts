// The script that sites include: <script type="module" src="https://coordinator/donate.js"></script>. It stays one small file, and
// needs nothing of a site's content policy but that this script and a frame of the coordinator are allowed.
import type { EmbedMessage } from './embed-messages.ts';

/** The frame's word for its state; this script knows no list of them, so that it shares no code with the frame. */
const STATE = /^[a-z]{1,20}$/;
const FIRST_HEIGHT_PX = 360;
const MIN_HEIGHT_PX = 120;
const MAX_HEIGHT_PX = 1200;
/** After a frame has loaded, whatever was loaded into it. The coordinator's page tells its state before. */
const SILENCE_MS = 3_000;

/** What is allowed to the frame: neither navigating the site nor downloading. */
const SANDBOX = 'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-forms';

const STYLE = `
:host { display: block; max-width: 30rem; }
:host([hidden]) { display: none; }
iframe { display: block; width: 100%; border: 0; border-radius: 12px; }
p { margin: 0; padding: 1rem; border: 1px solid; border-radius: 12px; font: 1rem/1.5 system-ui, sans-serif; }
`;

/**
 * `<shoal-donate coordinator="https://coordinator/">`: a frame in which visitors may lend their GPU. It dispatches `shoal-state`
 * with `detail.state`, one of EMBED_STATES. Taking the element out of the page ends the lending.
 */
class ShoalDonate extends HTMLElement {
  static readonly observedAttributes = ['coordinator'];
  #frame: HTMLIFrameElement | undefined;
  #origin = '';
  #isHeard = false;
  #silence: ReturnType<typeof setTimeout> | undefined;

  connectedCallback(): void {
    addEventListener('message', this.#receive);
    this.#open();
  }

  disconnectedCallback(): void {
    removeEventListener('message', this.#receive);
    this.#close();
  }

  attributeChangedCallback(): void {
    if (!this.isConnected || !this.#frame) return;
    this.#close();
    this.#open();
  }

  #open(): void {
    const root = this.shadowRoot ?? this.attachShadow({ mode: 'open' });
    if (root.adoptedStyleSheets.length === 0) {
      // A constructed style sheet is no inline style for a content policy.
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
    }
    const url = coordinatorOf(this.getAttribute('coordinator'));
    if (!url) {
      root.replaceChildren(paragraph(`<shoal-donate>: coordinator="…" must be an http or https address.`));
      return;
    }
    const frame = document.createElement('iframe');
    frame.title = 'Lend your GPU to a shared language model';
    frame.setAttribute('sandbox', SANDBOX);
    // Threads for donors without a GPU, where the site is isolated itself.
    frame.allow = 'cross-origin-isolated';
    frame.referrerPolicy = 'origin';
    frame.height = String(FIRST_HEIGHT_PX);
    frame.addEventListener('load', () => {
      clearTimeout(this.#silence);
      if (!this.#isHeard) this.#silence = setTimeout(() => this.#refused(url), SILENCE_MS);
    });
    this.#isHeard = false;
    this.#origin = url.origin;
    this.#frame = frame;
    frame.src = new URL('embed', url).href;
    root.replaceChildren(frame);
  }

  #close(): void {
    clearTimeout(this.#silence);
    this.#frame?.remove();
    this.#frame = undefined;
  }

  readonly #receive = ({ source, origin, data }: MessageEvent): void => {
    if (!this.#frame || source !== this.#frame.contentWindow || origin !== this.#origin) return;
    const message = data as Partial<EmbedMessage> | null;
    if (message?.shoal === 'height') {
      const heightPx = Math.ceil(Number(message.heightPx));
      if (heightPx > 0) this.#frame.height = String(Math.min(MAX_HEIGHT_PX, Math.max(MIN_HEIGHT_PX, heightPx)));
    } else if (message?.shoal === 'state' && STATE.test(String(message.state))) {
      this.#isHeard = true;
      clearTimeout(this.#silence);
      const detail = { state: message.state };
      this.dispatchEvent(new CustomEvent('shoal-state', { detail, bubbles: true, composed: true }));
    }
  };

  /** The coordinator refuses this site, is not there, or the site's policy forbids the frame. */
  #refused(url: URL): void {
    this.#close();
    const line = paragraph('Shoal can’t be shown here. You can lend your GPU on its own page: ');
    const link = document.createElement('a');
    link.href = url.href;
    link.target = '_blank';
    link.rel = 'noopener';
    link.textContent = url.host;
    line.append(link);
    this.shadowRoot!.replaceChildren(line);
    this.dispatchEvent(new CustomEvent('shoal-state', { detail: { state: 'problem' }, bubbles: true, composed: true }));
  }
}

/** By default where this script came from. */
function coordinatorOf(given: string | null): URL | undefined {
  const text = given ?? new URL('./', import.meta.url).href;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return undefined;
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function paragraph(text: string): HTMLElement {
  const line = document.createElement('p');
  line.textContent = text;
  return line;
}

if (!customElements.get('shoal-donate')) customElements.define('shoal-donate', ShoalDonate);
