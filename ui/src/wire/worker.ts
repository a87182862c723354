// Owns the connection to the server.

export {};
