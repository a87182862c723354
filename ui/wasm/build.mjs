// Compiles bslz4.ts and writes it as text into src/wire/bslz4_wasm.ts, which is committed.

import asc from 'assemblyscript/asc';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ? path.resolve(process.argv[2]) : path.join(here, '../src/wire/bslz4_wasm.ts');

let binary = null;
const { error, stderr } = await asc.main(
  ['bslz4.ts', '--outFile', 'out.wasm', '-O3', '--runtime', 'stub', '--noAssert', '--enable', 'simd', '--bindings', 'none'],
  {
    readFile: (name) => {
      const file = path.join(here, name);
      return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
    },
    writeFile: (_name, contents) => {
      binary = contents;
    },
    listFiles: () => [],
  },
);
if (error) throw new Error(`${error.message}\n${stderr}`);

const text = Buffer.from(binary).toString('base64').match(/.{1,110}/g);
fs.writeFileSync(
  target,
  `// Made from wasm/bslz4.ts by \`npm run wasm\`; ${binary.length} bytes.\n\n` +
    `export const BSLZ4_WASM =\n  ${text.map((line) => `'${line}'`).join(' +\n  ')};\n`,
);
console.log(`${path.relative(process.cwd(), target)}: ${binary.length} bytes of WASM`);
