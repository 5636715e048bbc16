// Server-sent events of a request, one after another.
export async function* events(path, asked, signal) {
  const response = await fetch(path, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked), signal,
  });
  if (!response.ok) throw new Error((await response.json()).error.message);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the connection broke off");
    const blocks = (held + value).split("\n\n");
    held = blocks.pop();
    for (const data of blocks.filter((block) => block.startsWith("data: ")).map((block) => block.slice(6))) {
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}
