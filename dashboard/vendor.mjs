// Fetches what the page is built on from the npm registry, checks it, and puts it into vendor/; and what its tests need, into
// tests/vendor/.
//
//   node dashboard/vendor.mjs
//
// Imports by name become imports by path, because a browser without a build step knows no names. Nothing else is changed.
// CHECKSUMS in each folder has the SHA-256 of each file; a test holds the files against it.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is fetched: which files of which version (`=`: under another name), and the registry's own checksum of its archive. */
const PACKAGES = [
  {
    name: 'lit',
    version: '3.3.3',
    integrity: 'sha512-fycuvZg/hkpozL00lm1pEJH5nN/lr9ZXd6mJI2HSN4+Bzc+LDNdEApJ6HFbPkdFNHLvOplIIuJvxkS4XUxqirw==',
    files: [
      'index.js',
      'index.d.ts',
      'directives/repeat.js',
      'directives/repeat.d.ts',
      'directives/live.js',
      'directives/live.d.ts',
      'LICENSE',
    ],
  },
  {
    name: 'lit-element',
    version: '4.2.2',
    integrity: 'sha512-aFKhNToWxoyhkNDmWZwEva2SlQia+jfG0fjIWV//YeTaWrVnOxD89dPKfigCUspXFmjzOEUQpOkejH5Ly6sG0w==',
    files: ['lit-element.js', 'lit-element.d.ts', 'LICENSE'],
  },
  {
    name: 'lit-html',
    version: '3.3.3',
    integrity: 'sha512-el8M6jK2o3RXBnrSHX3ZKrsN8zEV63pSExTO1wYJz7QndGYZ8353e2a5PPX+qHe2aGayfnchQmkAojaWAREOIA==',
    files: [
      'lit-html.js',
      'lit-html.d.ts',
      'is-server.js',
      'is-server.d.ts',
      'directive.js',
      'directive.d.ts',
      'directive-helpers.js',
      'directive-helpers.d.ts',
      'directives/repeat.js',
      'directives/repeat.d.ts',
      'directives/live.js',
      'directives/live.d.ts',
      'LICENSE',
    ],
  },
  {
    name: '@lit/reactive-element',
    version: '2.1.2',
    integrity: 'sha512-pbCDiVMnne1lYUIaYNN5wrwQXDtHaYtg7YEFPeW+hws6U47WeFvISGUWekPGKWOP1ygrs0ef0o1VJMk1exos5A==',
    files: [
      'reactive-element.js',
      'reactive-element.d.ts',
      'css-tag.js',
      'css-tag.d.ts',
      'reactive-controller.d.ts',
      'LICENSE',
    ],
  },
  {
    name: 'uplot',
    version: '1.6.32',
    integrity: 'sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==',
    files: ['dist/uPlot.esm.js', 'dist/uPlot.d.ts=dist/uPlot.esm.d.ts', 'dist/uPlot.min.css', 'LICENSE'],
  },
];

/** The same for the tests. */
const OF_TESTS = [
  {
    name: 'axe-core',
    version: '4.14.1',
    integrity: 'sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==',
    files: ['axe.min.js', 'LICENSE', 'LICENSE-3RD-PARTY.txt'],
  },
];

/** The files that names without a path stand for. */
const MAIN = { 'lit-html': 'lit-html.js', '@lit/reactive-element': 'reactive-element.js' };

const here = dirname(fileURLToPath(import.meta.url));

/** Writes the imports by name of a file as imports by path. */
function byPath(text, from) {
  return text.replace(
    /(\bfrom ?|\bimport ?|\bimport\()(["'])((?:@lit\/reactive-element|lit-html|lit-element|lit)(?:\/[^"']*)?)\2/g,
    (_, before, quote, name) => {
      const to = MAIN[name] ? `${name}/${MAIN[name]}` : name;
      const path = posix.relative(posix.dirname(from), to);
      return `${before}${quote}${path.startsWith('.') ? path : `./${path}`}${quote}`;
    },
  );
}

async function fetched({ name, version, integrity }) {
  const registry = execFileSync('npm', ['config', 'get', 'registry']).toString().trim().replace(/\/$/, '');
  const answer = await fetch(`${registry}/${name}/-/${name.split('/').at(-1)}-${version}.tgz`);
  if (!answer.ok) throw new Error(`${name}@${version}: ${answer.status}`);
  const archive = Buffer.from(await answer.arrayBuffer());
  const found = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  if (found !== integrity) throw new Error(`${name}@${version} is not what it was: ${found}`);
  return archive;
}

function walk(folder, within = '') {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? walk(join(folder, entry.name), `${within}${entry.name}/`) : [`${within}${entry.name}`],
  );
}

/** Fills a folder anew. */
async function vendor(folder, packages) {
  rmSync(folder, { recursive: true, force: true });
  for (const one of packages) {
    const unpacked = mkdtempSync(join(tmpdir(), 'vendor-'));
    execFileSync('tar', ['-xz', '-C', unpacked], { input: await fetched(one) });
    for (const file of one.files) {
      const [packed, named = packed] = file.split('=');
      const from = join(unpacked, 'package', packed);
      const to = `${one.name}/${named === 'LICENSE' ? 'LICENSE.txt' : named}`;
      mkdirSync(dirname(join(folder, to)), { recursive: true });
      const text = readFileSync(from, 'utf8').replace(/\n?\/\/# sourceMappingURL=.*\n?$/, '\n');
      writeFileSync(join(folder, to), byPath(text, to));
    }
    rmSync(unpacked, { recursive: true });
    console.log(`${one.name}@${one.version}`);
  }
  const sums = walk(folder)
    .sort()
    .map(
      (file) =>
        `${createHash('sha256')
          .update(readFileSync(join(folder, file)))
          .digest('hex')}  ${file}\n`,
    );
  writeFileSync(join(folder, 'CHECKSUMS'), sums.join(''));
}

await vendor(join(here, 'vendor'), PACKAGES);
await vendor(join(here, '../tests/vendor'), OF_TESTS);
