// Talks to the daemon. All URLs are relative: the page works below any path.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(method, path, body) {
  const options = { method, headers: {}, credentials: 'same-origin' };
  if (body instanceof FormData) {
    options.body = body;
  } else if (body !== undefined) {
    options.headers['content-type'] = 'application/json';
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`api/v1/${path}`, options);
  } catch {
    throw new ApiError(0, 'The daemon does not answer.');
  }
  const text = await response.text();
  let value = null;
  try {
    value = text === '' ? null : JSON.parse(text);
  } catch {
    value = null;
  }
  if (!response.ok) throw new ApiError(response.status, value?.error ?? `${response.status}: ${text.slice(0, 200)}`);
  return value;
}

export const get = (path) => request('GET', path);
export const post = (path, body = {}) => request('POST', path, body);
export const patch = (path, body) => request('PATCH', path, body);
export const remove = (path) => request('DELETE', path);

// Follows all changes. Calls `hear(list, session)` for each, and `tell(isOnline)` when the daemon
// comes or goes. A hidden page follows nothing. Returns a function that ends it.
export function follow(hear, tell) {
  let source = null;
  let sequence = null;
  const open = () => {
    const since = sequence === null ? '' : `?since=${sequence}`;
    source = new EventSource(`api/v1/events${since}`);
    source.onopen = () => tell(true);
    source.onmessage = (event) => {
      const { list, session } = JSON.parse(event.data);
      sequence = list.sequence;
      hear(list, session);
      tell(true);
    };
    source.onerror = () => {
      tell(false);
      close();
      timer = setTimeout(open, 2000);
    };
  };
  let timer = null;
  const close = () => {
    source?.close();
    source = null;
    clearTimeout(timer);
  };
  const turn = () => {
    if (document.hidden) close();
    else if (!source) open();
  };
  document.addEventListener('visibilitychange', turn);
  turn();
  return () => {
    document.removeEventListener('visibilitychange', turn);
    close();
  };
}
