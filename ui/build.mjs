// Bundles the page of the monitor into the Python package, where it is committed: whoever installs it needs no Node.
// The same versions give the same bytes, which CI checks; so nothing of the day, the machine or the path goes in.

import { build } from 'esbuild';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const target = process.argv[2]
  ? path.resolve(process.argv[2])
  : path.join(here, '../consumers/beamstream_consumers/monitor/static');

const read = (name) => fs.readFileSync(path.join(here, name), 'utf8');

fs.rmSync(target, { recursive: true, force: true });
fs.mkdirSync(target, { recursive: true });

const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
};
await build({ ...common, format: 'esm', entryPoints: ['src/main.ts'], outfile: path.join(target, 'main.js') });
await build({ ...common, format: 'iife', entryPoints: ['src/wire/worker.ts'], outfile: path.join(target, 'worker.js') });

// The page's own rules come last of all but the pane's: it may override uPlot's, the pane uses its colours.
const sheets = ['node_modules/uplot/dist/uPlot.min.css'];
for (const name of fs.readdirSync(path.join(here, 'public')).sort()) {
  if (name.endsWith('.css')) sheets.push(`public/${name}`);
  else fs.copyFileSync(path.join(here, 'public', name), path.join(target, name));
}
sheets.push('src/image/pane.css');
fs.writeFileSync(path.join(target, 'app.css'), sheets.map(read).join('\n'));

fs.writeFileSync(path.join(target, 'licences.txt'), `uPlot, part of main.js and app.css\n\n${read('node_modules/uplot/LICENSE')}`);

for (const name of fs.readdirSync(target).sort()) {
  console.log(`${name} ${fs.statSync(path.join(target, name)).size} bytes`);
}
