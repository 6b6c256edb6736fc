// Opens the stream while the page's modules are still loading; stream.js goes on with it.
{
  const address = document.currentScript.dataset.events;
  const early = { address, source: new EventSource(address), messages: [], open: false };
  early.source.onopen = () => { early.open = true; };
  early.source.onmessage = (event) => early.messages.push(event.data);
  window.earlyStream = early;
}
