// The page that holds its scene: the field is in its own text.
const embedded = {
  head: async () => JSON.parse(element("head").textContent),
  stream: async () => {
    const packed = Uint8Array.from(atob(element("stream").textContent), (letter) => letter.charCodeAt(0));
    const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(inflated).arrayBuffer());
  },
};
const ready = begin(embedded).catch(failed);
