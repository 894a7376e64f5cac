// A classifier: bars that move with each word, the curve over the beginnings of the text, and what moved it.

import { find, percent, post, showError, shown } from "./common.js";
import { draw } from "./curve.js";

const PAUSE = 120; // milliseconds without typing before the server is asked
const QUIET = 1000; // and before a screen reader hears the answer
const FAINT = 0.04; // share of the strongest influence below which a word has no colour
const rows = [...find("bars").children];
const names = rows.map((row) => row.querySelector(".name").textContent);
let asking = new AbortController();
let timer, speaking, last;

find("form").addEventListener("submit", (event) => event.preventDefault());
find("text").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
});
find("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
addEventListener("resize", () => last && show(last));
if (find("text").value) ask(); // the browser kept it over a reload

async function ask() {
  clearTimeout(timer);
  asking.abort();
  asking = new AbortController();
  const text = find("text").value;
  if (!text.trim()) {
    last = undefined;
    clearTimeout(speaking);
    showError();
    find("answer").hidden = true;
    find("status").textContent = "";
    return;
  }
  try {
    const answer = await post("explain", { text }, asking.signal);
    last = await answer.json();
    showError();
    show(last);
  } catch (error) {
    if (error.name !== "AbortError") showError(error.message);
  }
}

function show({ prediction, labels, pieces, probabilities, influence }) {
  const best = labels.indexOf(prediction.label);
  const name = names[best];
  find("answer").hidden = false;
  find("verdict").textContent = `${name}, ${percent(prediction.probability)}`;
  rows.forEach((row, index) => {
    const share = probabilities.at(-1)[index];
    row.classList.toggle("first", index === best);
    row.querySelector(".bar").style.width = `${100 * share}%`;
    row.querySelector(".value").textContent = percent(share);
  });
  find("read").textContent = `Tokens read: ${prediction.tokens}, of them unknown to the model: ${prediction.unknown}.`;
  say(`${name}, ${percent(prediction.probability)}.`);
  const several = pieces.some((piece) => /\S\s+\S/.test(piece));
  find("pieces").textContent = several ? "This text is long: several words are left out at a time." : "";
  draw(find("curve"), probabilities.map((row) => row[best]), pieces.map((piece) => shown(piece.trim())), name,
    several ? "pieces of several words" : "words");
  colour(pieces, influence);
}

function colour(pieces, influence) {
  const most = Math.max(...influence.map(Math.abs), 1e-9);
  find("words").replaceChildren(...pieces.flatMap((piece, index) => {
    const word = document.createElement("span");
    const strength = Math.abs(influence[index]) / most;
    if (strength >= FAINT) word.className = influence[index] > 0 ? "for" : "against";
    word.style.setProperty("--strength", strength);
    word.textContent = shown(piece.trimEnd());
    word.title = `${influence[index] >= 0 ? "+" : "−"}${Math.abs(influence[index]).toFixed(2)} in log-odds`;
    return [word, piece.slice(piece.trimEnd().length)];
  }));
}

/** Let a screen reader say a line. It does so whenever the status changes, so that has to wait until the typing pauses. */
function say(line) {
  clearTimeout(speaking);
  speaking = setTimeout(() => { find("status").textContent = line; }, QUIET);
}
