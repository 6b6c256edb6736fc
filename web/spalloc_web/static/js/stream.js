// The stream of frames from spalloc-web; the browser reconnects by itself.

/**
 * Follow the stream at an address.
 *
 * `onState` is called with true when the stream is open and with false when it is not.
 */
export function follow(address, store, onState) {
  let source = null;
  let retry = null;

  const take = (data) => {
    onState(true);
    if (!store.take(JSON.parse(data))) reopen(0);
  };
  const open = () => {
    const early = window.earlyStream?.address === address ? window.earlyStream : null;
    delete window.earlyStream;
    source = early?.source ?? new EventSource(address);
    source.onopen = () => onState(true);
    source.onmessage = (event) => take(event.data);
    // The session has ended: the page is another now, or the one to log in.
    source.addEventListener("over", () => location.reload());
    source.onerror = () => {
      onState(false);
      // After an answer that is no stream, the browser gives up; we do not.
      if (source.readyState === EventSource.CLOSED) reopen(3000);
    };
    if (early) goOn(early);
  };
  /** Go on with a stream that was opened before the modules were there. */
  const goOn = ({ messages, open: isOpen }) => {
    if (isOpen) onState(true);
    else if (source.readyState === EventSource.CLOSED) source.onerror();
    for (const data of messages) take(data);
  };
  const reopen = (delay) => {
    source.close();
    clearTimeout(retry);
    retry = setTimeout(open, delay);
  };
  // A page that sleeps in the browser's history keeps no stream.
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
  open();
}
