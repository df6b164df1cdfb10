const byId = (name) => document.getElementById(name);
const form = byId("search"), words = byId("words"), file = byId("file"), to = byId("to"), k = byId("k");
const status = byId("status"), problem = byId("problem"), notes = byId("notes"), hits = byId("hits");
let limits = { bytes: Infinity };
let last = null; // the question that is shown: {q}, {like, name} or {file}
let asking = null; // aborts the request that is under way

/* What a question is called in words. */
function called(question) {
  if (question.file) return `the image ${question.file.name || "that was pasted"}`;
  return question.q === undefined ? `the image ${question.name || question.like}` : `“${question.q}”`;
}

/* Parameters of a question, as the API and the address of this page take them. */
function parameters(question) {
  const given = new URLSearchParams();
  if (question.q !== undefined) given.set("q", question.q);
  if (question.like !== undefined) given.set("like", question.like);
  if (to.value !== "images") given.set("to", to.value);
  if (k.value !== "12") given.set("k", k.value);
  return given;
}

function show(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

/* Say why there is no answer, in the place of one. */
function fail(text) {
  show(problem, text);
  status.textContent = "";
  notes.hidden = true;
  hits.replaceChildren();
}

/* Search, and show what was found. `saved`: the address of this page says what is shown already. */
async function ask(question, saved = false) {
  last = question;
  asking?.abort();
  const mine = (asking = new AbortController());
  showAsked(question);
  const given = parameters(question);
  if (!saved) history.pushState(null, "", given.size ? `?${given}` : location.pathname);
  if (question.file && question.file.size > limits.bytes) {
    fail(`The image has ${question.file.size.toLocaleString("en")} bytes, at most ${limits.bytes.toLocaleString("en")} are taken.`);
    return;
  }
  document.body.classList.add("busy");
  const slow = setTimeout(() => (status.textContent = "Searching …"), 300);
  try {
    const sent = question.file && { method: "POST", body: question.file, headers: { "Content-Type": "application/octet-stream" } };
    const response = await fetch(`api/search?${given}`, { ...sent, signal: mine.signal });
    const answer = await response.json();
    if (response.ok) render(question, answer);
    else fail(answer.error);
  } catch (error) {
    if (error.name !== "AbortError") fail("The server does not answer. Is it still running?");
  } finally {
    clearTimeout(slow);
    if (asking === mine) document.body.classList.remove("busy");
  }
}

function render(question, answer) {
  show(problem, "");
  if (question.like !== undefined && !question.name) {
    question.name = answer.hits.find((hit) => hit.row === Number(question.like))?.id;
    showAsked(question);
  }
  const kind = answer.to === "text" ? "captions" : "images";
  const milliseconds = Math.max(1, Math.round(1000 * answer.seconds));
  status.textContent =
    `${answer.hits.length} of ${answer.rows.toLocaleString("en")} ${kind}, the nearest to ${called(question)} first (${milliseconds} ms).`;
  notes.replaceChildren(...answer.notes.map((note) => element("li", {}, note)));
  notes.hidden = !answer.notes.length;
  hits.className = answer.to === "text" ? "hits texts" : "hits";
  hits.replaceChildren(...answer.hits.map((hit) => card(hit, answer.to)));
  document.title = `${called(question)} · structure`;
}

function element(name, attributes, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

/* One hit: image, rank, score, id, caption, and what has become of its file; of a caption its text is the headline. */
function card(hit, target) {
  const name = hit.caption || hit.id;
  const told = element("div", { class: "told" });
  told.append(
    element("div", { class: "first" },
      element("span", { class: "rank" }, `${hit.rank}.`),
      element("span", { class: "score", title: "score: the aligner's similarity" }, hit.score.toFixed(3))),
    element("span", { class: "id" }, hit.id));
  if (hit.caption) told.append(element("span", { class: "caption" }, hit.caption));
  if (target === "text") told.querySelector(".first").after(told.querySelector(".caption") ?? "");
  if (hit.path && hit.path !== hit.id) told.append(element("span", { class: "muted path" }, hit.path));
  if (hit.note) told.append(element("span", { class: "note" }, hit.note));
  if (hit.row !== null) {
    const like = element("button", { type: "button", class: "like", "aria-label": `More like ${name}` }, "More like this");
    like.addEventListener("click", () => {
      words.value = "";
      ask({ like: hit.row, name: hit.id });
      byId("found").focus();
    });
    told.append(like);
  }
  const item = element("li", { class: "hit" });
  item.append(view(hit, name), told);
  return item;
}

/* The image, as a link to its file; a note in its place where it cannot be shown. */
function view(hit, name) {
  if (hit.thumbnail === null) return element("div", { class: "view blank" }, hit.note || "no image");
  const image = element("img", { src: hit.thumbnail, alt: name, loading: "lazy" });
  const link = element("a", { class: "view", href: hit.file, target: "_blank", rel: "noopener", title: "Open the image" }, image);
  image.addEventListener("error", async () => {
    const response = await fetch(hit.thumbnail).catch(() => null);
    const told = response && !response.ok ? (await response.json()).error : "The image cannot be shown.";
    link.replaceWith(element("div", { class: "view blank" }, told));
  });
  return link;
}

/* The image that is searched with, beside the button that chose it. */
function showAsked(question) {
  const image = byId("asked-image");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  byId("asked").hidden = question.q !== undefined;
  if (question.q !== undefined) return;
  image.src = question.file ? URL.createObjectURL(question.file) : `api/images/${question.like}/thumbnail`;
  byId("asked-name").textContent = question.file ? question.file.name || "pasted image" : question.name || `image ${question.like}`;
}

function askImage(image) {
  if (!image || byId("ask-image").hidden) return;
  words.value = "";
  ask({ file: image });
}

/* What the address of this page asks for. */
function askAddress() {
  const given = new URLSearchParams(location.search);
  if ([...to.options].some((option) => option.value === given.get("to"))) to.value = given.get("to");
  if ([...k.options].some((option) => option.value === given.get("k"))) k.value = given.get("k");
  words.value = given.get("q") ?? "";
  if (given.has("q")) ask({ q: given.get("q") }, true);
  else if (given.has("like")) ask({ like: given.get("like") }, true);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask({ q: words.value });
});
for (const option of [to, k]) option.addEventListener("change", () => last && ask(last));
file.addEventListener("change", () => {
  askImage(file.files[0]);
  file.value = ""; // the same file may be chosen again
});
addEventListener("paste", (event) => {
  const [image] = [...event.clipboardData.files].filter((one) => one.type.startsWith("image/"));
  askImage(image);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.toggle("dragging", event.dataTransfer.types.includes("Files"));
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  askImage(event.dataTransfer.files[0]);
});
addEventListener("popstate", askAddress);

/* What can be asked here. */
async function begin() {
  const about = await (await fetch("api/about")).json();
  limits = about.limits;
  words.maxLength = limits.characters;
  byId("dataset").textContent = about.dataset;
  byId("version").textContent = `structure ${about.structure}`;
  byId("about").textContent =
    `${about.rows.images.toLocaleString("en")} images (${about.splits.join(", ")}), scored by the aligner ${about.aligner}.`;
  byId("ask-words").hidden = !about.queries.includes("words");
  byId("ask-image").hidden = !about.queries.includes("image");
  byId("ask-to").hidden = !about.rows.text;
  askAddress();
}

begin().catch(() => fail("The server does not answer. Is it still running?"));
