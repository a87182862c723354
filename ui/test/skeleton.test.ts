import { test } from 'node:test';

test('tests run', () => {});
