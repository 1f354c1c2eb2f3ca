"use strict";

const WAIT = 300; // milliseconds after the last letter
const MOST_CLASSES = 10; // in the table
const MOST_WORDS = 10;
const SHADES = "p"; // of report.css: p0 to p5

const at = id => document.getElementById(id);
const percent = share => `${(100 * share).toFixed(1)}\u00a0%`;
const short = number => String(Number(number.toPrecision(3)));

let found = null; // what the server has said about the text
let asked = new AbortController();
let timer = 0;

/** An element with a class and with text, which is never read as markup. */
function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

/** The space before a word, which is not marked, and the word. */
function piece(text, marked) {
  const word = text.trimStart();
  const parts = document.createDocumentFragment();
  parts.append(text.slice(0, text.length - word.length), marked ? element(...marked, word) : word);
  return parts;
}

function say(message, wrong = false) {
  at("status").textContent = message;
  at("status").classList.toggle("wrong", wrong);
}

async function explain() {
  asked.abort();
  const mine = asked = new AbortController();
  const text = at("text").value;
  say("reading ...");
  at("found").classList.add("old");
  try {
    const answer = await fetch("/explain", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text }),
      signal: mine.signal,
    });
    const content = await answer.json();
    if (mine.signal.aborted) return;
    if (!answer.ok) return refuse(content.error);
    found = content;
    say("");
    show();
  } catch (error) {
    if (!mine.signal.aborted) refuse("the demo does not answer: has it been ended?");
  }
}

function refuse(message) {
  found = null;
  at("found").hidden = true;
  say(message, true);
}

function show() {
  at("epsilon").max = found.epsilons.length - 1;
  at("found").hidden = false;
  at("found").classList.remove("old");
  const first = found.predictions[0];
  at("label").textContent = first.label;
  at("probability").textContent = percent(first.probabilities[first.label]);
  showWords(first);
  showChange(first);
  move();
  remember();
}

function showWords(first) {
  at("words").replaceChildren(...found.words.map(word => {
    const kind = `${SHADES}${word.shade}${word.known ? "" : " unknown"}`;
    return piece(word.text, ["mark", kind]);
  }));
  at("unknown").hidden = found.words.every(word => word.known);
  at("truncated").hidden = !first.truncated;
  const largest = [...found.words].sort((a, b) => b.share - a.share).slice(0, MOST_WORDS);
  at("shares").replaceChildren(...largest.map(word => {
    const row = document.createElement("tr");
    const name = element("th", "", word.text.trim());
    name.scope = "row";
    row.append(name, element("td", "number", percent(word.share)));
    return row;
  }));
}

function showChange(first) {
  const change = found.change;
  at("take").hidden = at("before").hidden = at("after").hidden = !change;
  if (!change) {
    at("effect").textContent = "No replacement was found that makes the classifier less sure.";
    return;
  }
  const marked = (words, name) => words.map((word, i) => piece(word, change.before[i] !== change.after[i] && [name, ""]));
  const count = change.before.filter((word, i) => word !== change.after[i]).length;
  const { label, probabilities } = change.prediction;
  const words = `${count} of ${change.before.length} words replaced: `;
  at("effect").textContent = words + (label === first.label
    ? `the class stays ${label}, at ${percent(probabilities[label])} instead of ${percent(first.probabilities[label])}.`
    : `the class becomes ${label} (${percent(probabilities[label])}).`);
  at("before").replaceChildren(element("strong", "", "Before: "), ...marked(change.before, "del"));
  at("after").replaceChildren(element("strong", "", "After: "), ...marked(change.after, "ins"));
}

/** Show what epsilon does. */
function move() {
  if (!found) return;
  const { epsilons, predictions } = found;
  const step = Number(at("epsilon").value);
  const [first, perturbed] = [predictions[0], predictions[step]];
  at("size").textContent = short(epsilons[step]);
  at("perturbed").textContent = perturbed.label;
  at("remaining").textContent = percent(perturbed.probabilities[perturbed.label]);
  const said = ["size", "perturbed", "remaining"].map(id => at(id).textContent);
  at("epsilon").setAttribute("aria-valuetext", said.join(", "));
  const turning = predictions.findIndex(one => one.label !== first.label);
  at("turning").textContent = turning < 0
    ? `The class stays ${first.label} up to epsilon ${short(epsilons.at(-1))}.`
    : `The class becomes ${predictions[turning].label} at epsilon ${short(epsilons[turning])}.`;
  showClasses(first, perturbed);
}

function showClasses(first, perturbed) {
  const names = Object.keys(first.probabilities).sort((a, b) => first.probabilities[b] - first.probabilities[a]);
  const reached = new Set(found.predictions.map(one => one.label));
  const shown = names.filter((name, i) => i < MOST_CLASSES || reached.has(name));
  at("classes").replaceChildren(...shown.map(name => {
    const row = document.createElement("tr");
    const head = element("th", "", name);
    head.scope = "row";
    const cells = [[first, "typed"], [perturbed, "perturbed"]].map(([prediction, kind]) => {
      const cell = element("td", kind, percent(prediction.probabilities[name]));
      cell.classList.toggle("likely", prediction.label === name);
      const bar = element("div", "bar", "");
      bar.style.width = `${100 * prediction.probabilities[name]}%`;
      cell.append(bar);
      return cell;
    });
    row.append(head, ...cells);
    return row;
  }));
  at("others").textContent = shown.length < names.length ? `${names.length - shown.length} other classes are less probable.` : "";
}

/** The address is a link to this text and this epsilon; what stands behind # is not sent to any server. */
function remember() {
  if (!found) return;
  const link = new URLSearchParams({ text: at("text").value, epsilon: short(found.epsilons[at("epsilon").value]) });
  history.replaceState(null, "", `#${link}`);
}

async function followLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  if (!link.has("text")) return;
  at("text").value = link.get("text");
  at("epsilon").value = 0;
  const epsilon = Number(link.get("epsilon"));
  await explain();
  if (!found) return;
  const distances = found.epsilons.map(one => Math.abs(one - epsilon));
  at("epsilon").value = distances.indexOf(Math.min(...distances));
  move();
  remember();
}

at("text").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(explain, WAIT);
});
at("epsilon").addEventListener("input", move);
at("epsilon").addEventListener("change", remember);
at("take").addEventListener("click", () => {
  at("text").value = found.change.after.join("");
  at("text").focus();
  explain();
});
addEventListener("hashchange", followLink);
followLink();
