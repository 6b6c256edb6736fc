// What people have chosen, kept in the page's address.

export function read() {
  return Object.fromEntries(new URLSearchParams(location.search));
}

/** Change some of the choices; null takes one away.  No entry in the browser's history. */
export function write(changes) {
  const choices = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") choices.delete(name);
    else choices.set(name, value);
  }
  const query = choices.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}
