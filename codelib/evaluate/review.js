// The form of a blinded review, put inline by review_page.py: keeps what is ticked, counts what is complete, saves a CSV file.
const told = TOLD;
const named = name => document.getElementsByName(name);
const value = name => { const found = [...named(name)].find(i => i.type !== "radio" || i.checked); return found ? found.value : ""; };
const names = told.cases.flatMap(c => [...c.letters.flatMap(l => told.criteria.map(k => `${c.number},${l},${k}`)), `${c.number},best`, `${c.number},comment`]);
const asked = request => new Promise((yes, no) => { request.onsuccess = () => yes(request.result); request.onerror = () => no(request.error); });
// IndexedDB, an answer a record: localStorage can read as empty where Chromium is short of memory, and the next tick would then replace it all
const opened = new Promise((yes, no) => {
  const request = indexedDB.open("reviews", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("answers");
  asked(request).then(yes, no);
});
const touched = new Set();
const say = text => { document.getElementById("kept").textContent = text; };
const lost = () => say("This browser keeps nothing: save before you close it.");
async function keep(name) {
  touched.add(name);
  try {
    const change = (await opened).transaction("answers", "readwrite");
    change.objectStore("answers").put(value(name), [told.sheet, name]);
    change.commit();  // at once, so that a page that is closed at once has kept it
    await new Promise((yes, no) => { change.oncomplete = yes; change.onabort = () => no(change.error); });
    say("kept in this browser");
  } catch { lost(); }
}
async function restore() {
  try {
    const store = (await opened).transaction("answers").objectStore("answers"), mine = IDBKeyRange.bound([told.sheet], [told.sheet, []]);
    const [keys, values] = await Promise.all([asked(store.getAllKeys(mine)), asked(store.getAll(mine))]);
    keys.forEach(([, name], i) => { if (!touched.has(name)) for (const input of named(name)) {
      if (input.type === "radio") input.checked = input.value === values[i]; else input.value = values[i];
    } });
    if (keys.length) say("kept in this browser");
  } catch { lost(); }
  count();
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
addEventListener("input", event => { keep(event.target.name); count(); });
document.getElementById("save").addEventListener("click", save);
for (const image of document.querySelectorAll(".images img")) {
  image.addEventListener("click", () => image.classList.toggle("large"));
  image.addEventListener("keydown", event => { if (event.key === "Enter") image.classList.toggle("large"); });
}
count(); restore();
