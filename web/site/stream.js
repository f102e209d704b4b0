// JSON lines that go on until somebody leaves. When the daemon's engine is
// replaced the stream ends; it is opened anew and begin is called, so that the
// view starts over instead of showing lines twice.
export function lines(url, begin, line, trouble) {
  const stop = new AbortController();
  let over = false;
  const read = async () => {
    const answer = await fetch(url, { signal: stop.signal });
    if (!answer.ok) throw new Error((await answer.json()).error);
    begin();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const p of parts) line(JSON.parse(p));
    }
  };
  (async () => {
    while (!over) {
      try { await read(); } catch (e) { if (!over) trouble(e.message); }
      if (!over) await new Promise((go) => setTimeout(go, 1000));
    }
  })();
  return () => { over = true; stop.abort(); };
}
