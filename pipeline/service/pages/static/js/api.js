// Asking the service: JSON answers, errors in one line, and one request in flight.
export const V1 = '/ish/v1';

export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function address(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

const MOST_TRIES = 40; // of what the server is still making ready

// waiting: called with what the server says while it asks to be asked again; without it that is a failure.
async function answered(path, options, waiting, tries = 0) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure('the server does not answer; is `ish view` still running?', 0);
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    if (answer.status === 503 && waiting && tries < MOST_TRIES) {
      waiting(said?.msg ?? '');
      await new Promise(resolve => setTimeout(resolve, 1000 * (Number(answer.headers.get('Retry-After')) || 1)));
      return answered(path, options, waiting, tries + 1);
    }
    throw new Failure(said?.msg ?? `the server answered ${answer.status}`, answer.status);
  }
  return answer;
}

export async function get(path, parameters = {}, waiting = null) {
  const answer = await answered(address(V1 + path, parameters), {}, waiting);
  return (await answer.json()).msg;
}

export async function getText(url) {
  return (await answered(url)).text();
}

// An answer of any other kind, with its headers.
export const getAnswer = (path, parameters = {}) => answered(address(V1 + path, parameters));

export async function getBytes(path, parameters = {}) {
  return (await getAnswer(path, parameters)).arrayBuffer();
}

// Calls `ask` with the newest arguments, one call at a time; answers between are handed on in order.
export function oneAtATime(ask, done, failed = () => {}) {
  let busy = false;
  let next = null;
  async function run(given) {
    busy = true;
    try {
      done(await ask(...given), ...given);
    } catch (error) {
      failed(error, ...given);
    }
    busy = false;
    if (next) {
      const newest = next;
      next = null;
      run(newest);
    }
  }
  return (...given) => {
    if (busy) next = given;
    else run(given);
  };
}
