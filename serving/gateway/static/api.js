// Requests to the gateway's API, with its error messages.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON answer of a request; `body` is sent as JSON. */
export async function request(path, { method = 'GET', body, signal } = {}) {
  const answer = await send(path, {
    method,
    signal,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return answer.json();
}

/**
 * An image, with the version of the model that made it, if a model did, and the values behind its
 * grey levels, if they have more bits.
 */
export async function requestImage(path, signal) {
  const { headers, ...answer } = await imageAnswer(path, signal);
  return { ...answer, version: headers.get('X-Model-Version'), values: values(headers) };
}

async function imageAnswer(path, signal) {
  const answer = await send(path, { signal });
  return { blob: await answer.blob(), headers: answer.headers };
}

function values(headers) {
  const [black, white, lowest, highest] = ['X-Window', 'X-Values']
    .flatMap((name) => headers.get(name)?.split(' ').map(Number) ?? []);
  return Number.isFinite(white - black + highest - lowest) && white !== black
    ? { black, white, lowest, highest } : null;
}

async function send(path, options) {
  let answer;
  try {
    answer = await fetch(path, { cache: 'no-store', ...options });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'The service does not answer. Is the network there?');
  }
  if (answer.status === 401) signIn();
  if (!answer.ok) throw new ApiError(answer.status, message(await answer.text(), answer.status));
  return answer;
}

/** Leads to the form for a token, and from there back to this page. */
export function signIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** The message for people in the text of an answer that is an error. */
export function message(text, status) {
  try {
    const { detail } = JSON.parse(text);
    if (typeof detail === 'string') return detail;
    // FastAPI's list of what is wrong with a request.
    if (Array.isArray(detail)) return detail.map((problem) => problem.msg).join('; ');
  } catch {
    // A proxy answered, not the gateway.
  }
  return status === 413 ? 'The files are too large.' : `The service answered with status ${status}.`;
}
