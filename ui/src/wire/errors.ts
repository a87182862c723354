// What is wrong with a message from the server. It says what was found, and where.

export class WireError extends Error {
  override readonly name = 'WireError';
}

export function refuse(what: string): never {
  throw new WireError(what);
}
