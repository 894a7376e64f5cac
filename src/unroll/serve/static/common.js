// What both pages need: requests, errors in words, and a status that screen readers hear now and then.

export const find = (id) => document.getElementById(id);

find("address").textContent = new URL(".", location.href).href.replace(/\/$/, "");

/** Send JSON and return the answer. An answer that refuses is thrown as an Error with the server's reason. */
export async function post(path, body, signal) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server can’t be reached. Is it still running?");
  }
  if (!answer.ok) throw new Error(await reasonOf(answer));
  return answer;
}

async function reasonOf(answer) {
  try {
    return `The server says: ${(await answer.json()).detail}.`;
  } catch {
    return `The server answered with the error ${answer.status}.`;
  }
}

/** Show an error in words; nothing takes it away. */
export function showError(message) {
  find("error").textContent = message ?? "";
  find("error").hidden = !message;
}

/** A text with a visible sign for each control character and each character that turns the direction of writing. */
export function shown(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0);
    if (character === "\n" || character === "\t" || code === 0x200c || code === 0x200d) return character;
    return code < 32 ? String.fromCodePoint(0x2400 + code) : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;
