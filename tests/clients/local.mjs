// Stacks of their own, for the scripts that restart one or need other options.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Starts a program of the repository, and ends it at the latest with the test. */
export function start(test, program, options, settings) {
  const child = spawn(join(root, program), options, { stdio: ['pipe', 'pipe', 'inherit'], ...settings });
  const stop = () => child.kill();
  process.once('exit', stop);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const end = async () => {
    stop();
    process.off('exit', stop);
    return ended;
  };
  test.after(end);
  return { child, end };
}

/** Starts `local` in memory. It ends at the latest with the test. */
export async function startLocal(test, options, environment) {
  const directory = await mkdtemp(join(tmpdir(), 'clients-'));
  const ready = join(directory, 'ready');
  const { child, end } = start(test, 'target/debug/local', ['--ready-file', ready, ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let [log, url] = ['', ''];
  child.stderr.on('data', (lines) => (log += lines));
  try {
    while (!url) {
      assert.equal(child.exitCode, null, log);
      await sleep(50);
      url = await readFile(ready, 'utf8').catch(() => '');
    }
  } finally {
    await rm(directory, { recursive: true });
  }
  return {
    url: url.trim(),
    async stop() {
      assert.equal(await end(), 0);
    },
  };
}
