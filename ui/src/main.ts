// The page of the monitor. `?renderer=webgl2` or `canvas2d` draws by that one, for tests and for screens with bad drivers.

import { makeImagePane } from './image/pane';
import { App } from './page/app';
import { WorkerConnection } from './wire/connection';

const wanted = new URLSearchParams(location.search).get('renderer');
const renderer = wanted === 'webgl2' || wanted === 'canvas2d' ? wanted : 'auto';
new App(document.body, new WorkerConnection(), makeImagePane, renderer);
