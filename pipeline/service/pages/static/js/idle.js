// Whether all that the page has received is drawn and its address is written: for tests, and for whoever takes
// pictures.
const checks = new Set();

// Has `check` decide, too; returns how to leave it out again.
export function idleWhen(check) {
  checks.add(check);
  return () => checks.delete(check);
}

globalThis.ishIdle = () => [...checks].every(check => check());
