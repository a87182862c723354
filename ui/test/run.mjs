// Bundles each test to one file and runs them with Node's own runner: `npm test`, or `npm test -- wire` for some.

import { build } from 'esbuild';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const wanted = process.argv[2] ?? '';
const tests = fs
  .readdirSync(here)
  .filter((name) => name.endsWith('.test.ts') && name.includes(wanted))
  .sort();
if (!tests.length) throw new Error(`no test in ${here} has '${wanted}' in its name`);

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'monitor-ui-'));
try {
  await build({
    entryPoints: tests.map((name) => path.join(here, name)),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'es2022',
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  const files = fs.readdirSync(folder).map((name) => path.join(folder, name));
  process.exitCode = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], {
    stdio: 'inherit',
    env: { ...process.env, FIXTURES: path.join(here, 'fixtures') },
  }).status ?? 1;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
