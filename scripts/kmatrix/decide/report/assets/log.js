// Searches in the lines of a log; without it the browser's own search finds them.
"use strict";
const form = document.querySelector("form.search");
const field = document.getElementById("search");
const output = form.querySelector("output");
const only = form.querySelector(".only");
const lines = [...document.querySelectorAll(".lines > li")];
let hits = [];
let current = -1;

function unmark(line) {
  for (const mark of line.querySelectorAll("mark")) {
    mark.replaceWith(...mark.childNodes);
  }
  line.normalize();
  line.classList.remove("hit", "current");
}

function mark(line, word) {
  for (const node of [...line.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE)) {
    let rest = node;
    let at = rest.data.toLowerCase().indexOf(word);
    while (at >= 0) {
      const found = rest.splitText(at);
      // Some capitals have small letters of another length.
      rest = found.splitText(Math.min(word.length, found.data.length));
      const mark = document.createElement("mark");
      found.replaceWith(mark);
      mark.append(found);
      at = rest.data.toLowerCase().indexOf(word);
    }
  }
  line.classList.add("hit");
}

function search() {
  const word = field.value.toLowerCase();
  hits.forEach(unmark);
  hits = word ? lines.filter((line) => line.textContent.toLowerCase().includes(word)) : [];
  hits.forEach((line) => mark(line, word));
  current = -1;
  filter();
  report();
}

function filter() {
  const on = only.checked && field.value !== "";
  for (const line of lines) {
    line.hidden = on && !line.classList.contains("hit");
  }
}

function report() {
  const count = (number) => number.toLocaleString("en");
  // What the page leaves out cannot be searched here.
  const here = form.dataset.partial === "yes" ? " on this page" : "";
  if (field.value === "") {
    output.textContent = "";
  } else if (hits.length === 0) {
    output.textContent = here ? `No line${here}` : "No line has it";
  } else if (current < 0) {
    output.textContent = `${count(hits.length)} line${hits.length === 1 ? "" : "s"}${here}`;
  } else {
    output.textContent = `${count(current + 1)} of ${count(hits.length)}${here}, line ${hits[current].id.slice(1)}`;
  }
}

function go(step) {
  if (hits.length === 0) {
    return;
  }
  hits[current]?.classList.remove("current");
  current = current < 0 ? (step > 0 ? 0 : hits.length - 1) : (current + step + hits.length) % hits.length;
  hits[current].classList.add("current");
  hits[current].scrollIntoView({ block: "center" });
  report();
}

field.addEventListener("input", search);
only.addEventListener("change", filter);
form.querySelector(".next").addEventListener("click", () => go(1));
form.querySelector(".previous").addEventListener("click", () => go(-1));
form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    go(event.shiftKey ? -1 : 1);
  }
});
// A click on a line's number names the line in the address, to be sent to somebody.
document.addEventListener("click", (event) => {
  const line = event.target;
  if (line.matches(".lines > li[id]") && event.clientX < line.getBoundingClientRect().left + parseFloat(getComputedStyle(line).paddingLeft)) {
    location.hash = line.id;
  }
});
form.hidden = false;
