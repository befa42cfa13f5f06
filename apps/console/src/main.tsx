import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './styles/base.css';
import './styles/tables.css';
import './styles/board.css';
import './styles/govern.css';
import './styles/playground.css';
import './styles/lab.css';
import './styles/docs.css';
import './styles/watch.css';
import './styles/swarm.css';
import './styles/narrow.css';

// The pages share this document; each loads only its own code.
const root = document.getElementById('root');
if (!root) throw new Error('index.html has no element #root');

const page = location.pathname.split('/').at(-1);
if (page === 'playground') {
  const { PlaygroundPage } = await import('./playground/PlaygroundPage.tsx');
  render(<PlaygroundPage />, root);
} else if (page === 'lab') {
  const { LabPage } = await import('./lab/LabPage.tsx');
  render(<LabPage />, root);
} else if (page === 'swarm') {
  const { SwarmPage } = await import('./swarm/SwarmPage.tsx');
  render(<SwarmPage />, root);
} else if (page === 'docs') {
  const { DocsPage } = await import('./docs/DocsPage.tsx');
  render(<DocsPage />, root);
} else {
  const { ConsolePage } = await import('./console/ConsolePage.tsx');
  render(<ConsolePage />, root);
}
