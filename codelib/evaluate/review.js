// The form of a blinded review, put inline by review_page.py: keeps what is ticked, counts what is complete, saves a CSV file.
const told = TOLD, place = "review-" + told.sheet;
const named = name => document.getElementsByName(name);
const value = name => { const found = [...named(name)].find(i => i.type !== "radio" || i.checked); return found ? found.value : ""; };
const names = told.cases.flatMap(c => [...c.letters.flatMap(l => told.criteria.map(k => `${c.number},${l},${k}`)), `${c.number},best`, `${c.number},comment`]);
function keep() {
  const state = Object.fromEntries(names.map(n => [n, value(n)]).filter(([, v]) => v));
  try { localStorage.setItem(place, JSON.stringify(state)); }
  catch { document.getElementById("kept").textContent = "This browser keeps nothing: save before you close it."; }
}
function restore() {
  let state = {};
  try { state = JSON.parse(localStorage.getItem(place) || "{}"); } catch {}
  for (const [name, given] of Object.entries(state)) for (const input of named(name)) {
    if (input.type === "radio") input.checked = input.value === given; else input.value = given;
  }
}
function count() {
  let done = 0;
  for (const c of told.cases) {
    const all = names.filter(n => n.startsWith(c.number + ",") && !n.endsWith(",comment")).every(value);
    document.querySelector(`section[data-case="${c.number}"]`).classList.toggle("done", all);
    done += all;
  }
  document.getElementById("count").textContent = `${done} of ${told.cases.length}`;
}
const cell = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
function save() {
  const rows = [["sheet", "case", "report", ...told.criteria, "best", "comment"]];
  for (const c of told.cases) c.letters.forEach((l, i) => rows.push([told.sheet, String(c.number), l,
    ...told.criteria.map(k => value(`${c.number},${l},${k}`)), value(`${c.number},best`), i ? "" : value(`${c.number},comment`)]));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff" + rows.map(r => r.map(cell).join(",")).join("\r\n") + "\r\n"], {type: "text/csv"}));
  link.download = told.file;
  link.click();
}
addEventListener("input", () => { keep(); count(); });
document.getElementById("save").addEventListener("click", save);
for (const image of document.querySelectorAll(".images img")) {
  image.addEventListener("click", () => image.classList.toggle("large"));
  image.addEventListener("keydown", event => { if (event.key === "Enter") image.classList.toggle("large"); });
}
restore(); count();
