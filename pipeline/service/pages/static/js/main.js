// Which page the address asks for; each is loaded only where it is asked.
import { html, render } from './html.js';
import { Frame, Failed } from './frame.js';

const path = location.pathname;
const id = path.match(/^\/experiment\/(\d+)$/)?.[1];
const root = document.getElementById('app');
if (id) import('./experiment.js').then(({ Experiment }) => render(html`<${Experiment} id=${Number(id)} />`, root));
else if (path === '/sync') import('./sync.js').then(({ Sync }) => render(html`<${Sync} />`, root));
else if (path === '/atlas') import('./atlas.js').then(({ Atlas }) => render(html`<${Atlas} />`, root));
else if (path !== '/') render(html`<${Frame} title="No such page"><${Failed} error=${{ message: `${path}: there is no page of this name. An experiment is at /experiment/ and its number.` }} /><//>`, root);
else import('./home.js').then(({ Home }) => render(html`<${Home} />`, root));
