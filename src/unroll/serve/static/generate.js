// A language model: text that appears as it is written, each character coloured by its surprise.

import { find, post, showError, shown } from "./common.js";

const LEVELS = [8, 6, 4, 2, 1, 0]; // bits at which a stronger colour begins
let writing = null; // an AbortController while text is being written

find("temperature").addEventListener("input", () => {
  find("degree").textContent = Number(find("temperature").value).toFixed(2).replace(/0$/, "");
});
find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
find("stop").addEventListener("click", () => writing?.abort());
addEventListener("keydown", (event) => {
  if (event.key === "Escape") writing?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("form").requestSubmit();
});

async function write() {
  writing?.abort();
  const mine = writing = new AbortController();
  const prompt = find("prompt").value;
  let text = "", bits = 0, counted = 0, ended = "";
  let pending = 0; // bits of tokens that add no text yet, such as the first byte of a character
  showError();
  find("answer").hidden = false;
  find("written").replaceChildren(span(prompt, "given", "the prompt"));
  find("plain").textContent = "";
  find("status").textContent = "Writing…";
  find("stop").disabled = false;
  try {
    const answer = await post("generate", request(prompt), mine.signal);
    for await (const line of linesOf(answer.body)) {
      if (line.error) throw new Error(`The text ends here: ${line.error}.`);
      if (line.done) ended = "Done";
      pending += line.bits ?? 0;
      if (!line.text) continue;
      text += line.text;
      const own = line.bits === null ? null : pending;
      if (own !== null) [bits, counted, pending] = [bits + own, counted + 1, 0];
      find("written").append(span(line.text, level(own), own === null ? "the first" : `${own.toFixed(2)} bits`));
    }
    if (!ended) throw new Error("The connection broke before the text was complete.");
  } catch (error) {
    if (mine !== writing) return; // a new text has begun
    ended = "Stopped";
    if (error.name !== "AbortError") showError(error.message);
  }
  writing = null;
  find("stop").disabled = true;
  const mean = counted ? `, ${(bits / counted).toFixed(2)} bits of surprise on average` : "";
  find("status").textContent = `${ended} after ${text.length.toLocaleString("en")} characters${mean}.`;
  find("plain").textContent = prompt + text; // for screen readers, which would spell the coloured one
}

function request(prompt) {
  const body = { prompt };
  for (const name of ["temperature", "length", "seed", "top_k", "top_p"]) {
    if (find(name).value !== "") body[name] = Number(find(name).value);
  }
  return body;
}

/** Yield the JSON of each line of a stream. */
async function* linesOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

const level = (bits) => `s${LEVELS.find((least) => (bits ?? 0) >= least)}`;

function span(text, className, title) {
  const made = document.createElement("span");
  made.className = className;
  made.textContent = shown(text);
  made.title = title;
  return made;
}
