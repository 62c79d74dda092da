// The report's error browser. Texts of models come out of the data block and go in by textContent alone: nothing is ever parsed as markup.
//
//   data block -> answers (one for each case and variant) -> filter (form <-> address) -> list of 20 -> one case, differences marked
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const PAGE = 20, CELLS = 4e6; // CELLS: the largest table of a comparison, words x words; above it nothing is marked
  const FIELDS = ["b", "v", "is", "t", "a", "by", "q"];
  const held = JSON.parse(byId("cases").textContent);
  const form = document.querySelector(".filters"), shown = byId("case"), list = byId("list");
  const answers = held.cases.flatMap((one, place) =>
    one.a.map(([variant, verdict, text, answered, likely, alike, images, reference]) =>
      ({ one, place, variant: held.variants[variant], verdict, text, answered, likely, alike, images: images ?? null,
         reference: reference ?? one.r })));
  let found = answers, at = 0;

  function make(name, kind, text) {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // --- the filter

  function filter() {
    const want = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
    const words = want.q.toLowerCase().split(/\s+/).filter(Boolean);
    found = answers.filter((answer) => {
      const read = answer.answered || (answer.verdict === "unparsed" ? "unparsed" : "");
      if (want.b && answer.one.b !== want.b || want.v && answer.variant !== want.v) return false;
      if (want.is && answer.verdict !== want.is || want.t && answer.one.t !== want.t || want.a && read !== want.a) return false;
      if (!words.length) return true;
      const text = `${answer.one.id}\n${answer.one.q}\n${answer.reference}\n${answer.text}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    if (want.by) found = [...found].sort((a, b) => (a.alike ?? 2) - (b.alike ?? 2) || a.place - b.place);
  }

  const key = (answer) => `${answer.one.b}/${answer.one.id}/${answer.variant}`;

  function remember() {
    const state = new URLSearchParams();
    for (const name of FIELDS) if (form.elements[name].value) state.set(name, form.elements[name].value);
    if (found[at]) state.set("at", key(found[at]));
    history.replaceState(null, "", `#${state}`);
  }

  /** The form as the address says; false where the address speaks of something else (an anchor, nothing). */
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (![...FIELDS, "at"].some((name) => state.get(name))) return false;
    for (const name of FIELDS) form.elements[name].value = state.get(name) ?? "";
    filter();
    at = Math.max(0, found.findIndex((answer) => key(answer) === state.get("at")));
    return true;
  }

  // --- the list

  function mark(verdict) {
    return make("span", `tag${["wrong", "unparsed", "failed"].includes(verdict) ? " bad" : ""}`, verdict);
  }

  function line(answer, index) {
    const item = make("li"), button = make("button");
    button.type = "button";
    button.append(make("b", "", answer.one.id), " ", make("span", "note", answer.variant));
    const said = answer.one.t ? `${answer.one.t} → ${answer.answered || "–"}` : answer.text;
    button.append(make("span", "said", said.slice(0, 90)));
    if (answer.verdict) button.append(mark(answer.verdict));
    else if (answer.alike !== null) button.append(make("span", "tag", `${Math.round(100 * answer.alike)} % alike`));
    if (index === at) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => { choose(index); });
    item.append(button);
    return item;
  }

  function drawList() {
    const first = at - at % PAGE, pages = Math.max(1, Math.ceil(found.length / PAGE));
    list.start = first + 1;
    list.replaceChildren(...found.slice(first, first + PAGE).map((answer, i) => line(answer, first + i)));
    const chosen = list.children[at - first]; // the list scrolls, the page does not
    if (chosen && (chosen.offsetTop < list.scrollTop || chosen.offsetTop + chosen.offsetHeight > list.scrollTop + list.clientHeight))
      list.scrollTop = chosen.offsetTop - list.clientHeight / 3;
    const questions = new Set(found.map((answer) => answer.place)).size;
    byId("found").textContent = found.length
      ? `Answer ${at + 1} of ${found.length.toLocaleString("en")} to ${questions.toLocaleString("en")} questions`
      : "No answer fits: clear a filter.";
    byId("pages").textContent = `${first / PAGE + 1} of ${pages}`;
    byId("newer").disabled = first === 0;
    byId("older").disabled = first + PAGE >= found.length;
  }

  // --- one case

  function pictures(answer) {
    const box = make("div", "thumbs"), own = answer.images === null;
    const seen = own ? answer.one.m : answer.images;
    seen.forEach((number, i) => {
      const button = make("button"), image = make("img");
      image.src = held.pictures[number];
      image.alt = `image ${i + 1}`;
      button.type = "button";
      button.setAttribute("aria-label", `image ${i + 1}, larger or smaller`);
      button.append(image);
      button.addEventListener("click", () => button.classList.toggle("large"));
      box.append(button);
    });
    const hidden = answer.one.n - seen.length;
    if (!own) box.append(make("p", "note", seen.length ? "Images of another patient's visit, as this variant saw them."
      : "This variant saw no image."));
    else if (hidden > 0) box.append(make("span", "note", `and ${hidden} more`));
    return box;
  }

  /** Words, numbers, signs and Chinese characters, each with the blanks before it. */
  const cut = (text) => text.match(/\s*(?:[\u3400-\u9fff\uf900-\ufaff]|(?:(?![\u3400-\u9fff\uf900-\ufaff])[\p{L}\p{M}\p{N}])+|\S)/gu) ?? [];
  const same = (word) => word.trim().toLowerCase();

  /** For both sides whether each word stands in the longest common subsequence; null where the texts are too long to compare. */
  function common(left, right) {
    const a = left.map(same), b = right.map(same), width = b.length + 1;
    if ((a.length + 1) * width > CELLS) return null;
    const length = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        length[i * width + j] = a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    const keptLeft = a.map(() => false), keptRight = b.map(() => false);
    for (let i = 0, j = 0; i < a.length && j < b.length;)
      if (a[i] === b[j]) keptLeft[i++] = keptRight[j++] = true;
      else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i++;
      else j++;
    return [keptLeft, keptRight];
  }

  function marked(words, kept, name) {
    const text = make("div", "text");
    for (let i = 0; i < words.length;) {
      let end = i;
      while (end < words.length && (!kept || kept[end]) === (!kept || kept[i])) end++;
      const part = words.slice(i, end).join(""), blank = part.match(/^\s*/)[0];
      if (!kept || kept[i]) text.append(part);
      else text.append(blank, make(name, "", part.slice(blank.length)));
      i = end;
    }
    if (!words.length) text.append(make("span", "note", "(nothing)"));
    return text;
  }

  const HEADING = /^[ \t]*(?:[#>*\-]+[ \t]*)*([\p{L}][\p{L} \/&'-]{0,39}?)[ \t*]*[:：][ \t*]*/u;
  const plain = (name) => name.trim().toLowerCase();

  /** [[heading, text], …] of a report; known: headings that count (all where there is none). Text before the first has heading "". */
  function sections(text, known) {
    const parts = [["", ""]];
    for (const row of text.split("\n")) {
      const head = row.match(HEADING);
      if (head && (!known || known.has(plain(head[1])))) parts.push([head[1].trim(), row.slice(head[0].length)]);
      else parts.at(-1)[1] += (parts.at(-1)[1] ? "\n" : "") + row;
    }
    return parts.filter(([name, body]) => name || body.trim());
  }

  /** The reference's sections with the answer's of the same name beside them; what the answer has beyond them comes last. */
  function aligned(reference, answer) {
    const left = sections(reference), known = new Set(left.map(([name]) => plain(name)).filter(Boolean));
    if (!known.size) return [["", reference, answer]];
    const right = new Map();
    for (const [name, body] of sections(answer, known)) right.set(plain(name), [right.get(plain(name)), body].filter(Boolean).join("\n"));
    const rows = left.map(([name, body]) => {
      const twin = right.get(plain(name));
      right.delete(plain(name));
      return [name, body, twin];
    });
    return [...rows, ...[...right].map(([name, body]) => [name ? name : "outside any section", undefined, body])];
  }

  function compare(answer) {
    const box = make("div", "compare");
    const head = make("div", "pair heads");
    head.append(make("h4", "", "Reference"), make("h4", "", answer.variant));
    box.append(head);
    const failed = answer.verdict === "failed";
    const report = !failed && answer.one.b === "generation";
    const rows = report ? aligned(answer.reference, answer.text) : [["", answer.reference, answer.text]];
    for (const [name, left, right] of rows) {
      const pair = make("div", "pair"), a = cut(left ?? ""), b = cut(right ?? "");
      const kept = report && left !== undefined && right !== undefined ? common(a, b) : null;
      for (const [text, words, part, side] of [[left, a, kept?.[0], "del"], [right, b, kept?.[1], "ins"]]) {
        const half = make("div", "half");
        if (name) half.append(make("h5", "", name));
        half.append(text === undefined ? make("p", "note missing", "section missing") : marked(words, part, side));
        pair.append(half);
      }
      box.append(pair);
    }
    if (report) {
      const legend = make("p", "note");
      legend.append("Marked: ", make("del", "", "in the reference only"), ", ", make("ins", "", "in the answer only"), ".");
      box.append(legend);
    }
    return box;
  }

  function others(answer) {
    const box = make("div", "others");
    const rest = answers.filter((other) => other.place === answer.place);
    if (rest.length < 2) return box;
    box.append(make("h4", "", "All variants on this question"));
    for (const other of rest) {
      const button = make("button");
      button.type = "button";
      if (other === answer) button.setAttribute("aria-current", "true");
      button.append(other.variant, " ");
      if (other.verdict) button.append(mark(other.verdict));
      if (other.answered) button.append(make("span", "note", ` ${other.answered}`));
      if (other.alike !== null) button.append(make("span", "note", ` ${Math.round(100 * other.alike)} % alike`));
      button.addEventListener("click", () => {
        const index = found.indexOf(other);
        if (index >= 0) choose(index);
        else drawCase(other); // not among those found: shown, and the list stays
      });
      box.append(button);
    }
    return box;
  }

  function drawCase(answer) {
    shown.replaceChildren();
    if (!answer) return;
    const steps = make("div", "steps");
    for (const [text, step] of [["‹ Previous", -1], ["Next ›", 1]]) {
      const button = make("button", "", text);
      button.type = "button";
      button.disabled = !found[at + step];
      button.dataset.step = step;
      button.addEventListener("click", () => move(step));
      steps.append(button);
    }
    const title = make("h3", "", answer.one.id);
    title.append(" ", make("span", "note", answer.one.b));
    if (answer.verdict) title.append(" ", mark(answer.verdict));
    const told = make("p", "told");
    if (answer.one.t) told.append("Truth ", make("b", "", answer.one.t), " · read as ", make("b", "", answer.answered || "nothing"));
    if (answer.likely) told.append(" · likeliest class ", make("b", "", answer.likely), make("span", "tag", "constrained"));
    if (answer.alike !== null) told.append(`${Math.round(100 * answer.alike)} % of the words in common (F1 of words, to sort by; not a metric of the tables)`);
    const question = make("details");
    question.append(make("summary", "", "Question"), make("div", "text", answer.one.q));
    shown.append(steps, title, told, pictures(answer), question, compare(answer), others(answer));
  }

  // --- moving

  function choose(index) {
    const focused = document.activeElement, inList = list.contains(focused), step = focused?.dataset?.step;
    at = index;
    drawList();
    drawCase(found[at]);
    remember();
    // what had the focus was drawn anew: who goes by keyboard stays where they were
    if (inList) list.querySelector("[aria-current]")?.focus();
    if (step) (shown.querySelector(`[data-step="${step}"]:enabled`) ?? shown).focus();
  }

  const move = (step) => { if (found[at + step]) choose(at + step); };

  let waiting;
  const refilter = () => { filter(); choose(0); };
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    if (event.target.name === "q") waiting = setTimeout(refilter, 150); // not at every key
    else refilter();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(refilter));
  const firstOf = (step) => Math.min(found.length - 1, Math.max(0, at - at % PAGE + step * PAGE));
  byId("newer").addEventListener("click", () => choose(firstOf(-1)));
  byId("older").addEventListener("click", () => choose(firstOf(1)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, .scroll, pre")) return;
    const box = byId("browser").getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) return; // the rest of the page keeps its keys
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); move(step); }
  });
  addEventListener("hashchange", () => {
    if (!recall()) return;
    choose(at);
    byId("browse").scrollIntoView();
  });

  byId("examples").hidden = true;
  byId("browser").hidden = false;
  if (recall()) { byId("browse").scrollIntoView(); choose(at); }
  else { drawList(); drawCase(found[at]); }
})();
