"use strict";
// What is known of the images comes as scripts, since a page on a disk may load no other data: each
// calls ws3.load. Every name is shown as text, never as HTML.
const PER_PAGE = 48;
const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const percent = (thousandths) => (thousandths / 10).toFixed(1) + "\u00a0%";
const lead = (thousandths, other) =>
  thousandths === 0
    ? `as ${other}`
    : `${Math.abs(thousandths / 10).toFixed(1)} points ${thousandths > 0 ? "over" : "below"} ${other}`;

let index = null;
let found = [];
let page = 0;
let looked = -1;
const facts = new Map();
const waiting = new Map();

const ws3 = {
  load(data) {
    if ("names" in data) {
      index = data;
      begin();
    } else {
      facts.set(data.number, data.shares);
      for (const call of waiting.get(data.number) ?? []) call();
      waiting.delete(data.number);
    }
  },
};
window.ws3 = ws3;

function withShares(image, call) {
  const number = Math.floor(image / index.page);
  const tell = () => call(facts.get(number)[image % index.page]);
  if (facts.has(number)) {
    tell();
    return;
  }
  if (waiting.has(number)) {
    waiting.get(number).push(tell);
    return;
  }
  waiting.set(number, [tell]);
  const script = make("script");
  script.src = `images/facts-${number}.js`;
  document.head.append(script);
}

// The pictures.

function address(image, kind) {
  const ending = { photo: "jpg", maps: "jpg", masks: "png", regions: "png" }[kind];
  const file = index.files[image] ?? index.names[image];
  return `images/${encodeURIComponent(file)}.${kind}.${ending}`;
}

function picture(source, lazy) {
  const element = make("img");
  element.alt = "";
  element.decoding = "async";
  if (lazy) element.loading = "lazy";
  element.src = source;
  return element;
}

// A photograph, and over it one tile of a sheet whose tiles lie one below the other.
function stack(image, words, sheet, tile, tiles, lazy) {
  const element = make("div", undefined, "stack");
  element.style.aspectRatio = index.ratio[image];
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", words);
  const base = picture(address(image, "photo"), lazy);
  base.className = sheet ? "base" : "base plain";
  element.append(base);
  if (sheet) {
    const over = picture(address(image, sheet), lazy);
    over.className = "over";
    over.style.height = `${100 * tiles}%`;
    over.style.top = `${-100 * tile}%`;
    element.append(over);
  }
  return element;
}

const maskTiles = (image) => index.truth[image] + index.layers.length;
const maskTile = (image, layer) => index.truth[image] + layer;
const title = (layer) => layer.recipe + (layer.stage === 1 ? " \u00b7 network" : "");
const base = (layer) =>
  index.layers.find((other) => other.stage === 0 && other.recipe === index.reference);
const gain = (layer, image) => {
  const [own, other] = [layer.iou[image], base(layer)?.iou[image]];
  return own == null || other == null || layer === base(layer) ? null : own - other;
};

// The list.

const SORTS = {
  dataset: ["as in the dataset", null],
  name: ["by name", null],
  worst: ["IoU, lowest first", (layer, image) => layer.iou[image], 1],
  best: ["IoU, highest first", (layer, image) => layer.iou[image], -1],
  gain: ["gain over the reference, largest first", gain, -1],
  loss: ["loss against the reference, largest first", gain, 1],
  contradictions: ["contradicts labels, most first", (layer, image) => layer.contradictions[image], -1],
  disagreement: ["recipes disagree, most first", (layer, image) => index.disagreement[image], -1],
  confidence: ["confidence, lowest first", (layer, image) => layer.confidence?.[image], 1],
};
const SHOWS = {
  all: ["all", () => true],
  better: ["better than the reference", (layer, image) => gain(layer, image) > 0],
  worse: ["worse than the reference", (layer, image) => gain(layer, image) < 0],
  contradicting: ["contradicts labels", (layer, image) => layer.contradictions[image] > 0],
  low: ["IoU below 25 %", (layer, image) => layer.iou[image] != null && layer.iou[image] < 250],
  unknown: ["without an IoU", (layer, image) => layer.iou[image] == null],
};

function options(select, pairs) {
  select.replaceChildren(
    ...pairs.map(([value, text]) => {
      const option = make("option", text);
      option.value = value;
      return option;
    }),
  );
}

function begin() {
  options(at("class"), [["", "any"], ["none", "none of them"], ...index.classes.map((name, place) => [String(place), name])]);
  options(at("split"), [["", "any"], ...index.splits.map((name, place) => [String(place), name])]);
  at("split-field").hidden = index.splits.length < 2;
  options(at("layer"), index.layers.map((layer, place) => [String(place), title(layer)]));
  options(at("show"), Object.entries(SHOWS).map(([key, [text]]) => [key, text]));
  const stored = index.layers.some((layer) => layer.confidence);
  const sorts = Object.entries(SORTS).filter(([key]) => key !== "confidence" || stored);
  options(at("sort"), sorts.map(([key, [text]]) => [key, text]));
  for (const id of ["class", "split", "layer", "show", "sort"]) at(id).addEventListener("change", () => list(0));
  at("name").addEventListener("input", () => list(0));
  at("tools").addEventListener("submit", (event) => event.preventDefault());
  at("before").addEventListener("click", () => show(page - 1));
  at("after").addEventListener("click", () => show(page + 1));
  at("page").addEventListener("change", () => show(Number(at("page").value) - 1));
  at("v-before").addEventListener("click", () => step(-1));
  at("v-after").addEventListener("click", () => step(1));
  at("v-close").addEventListener("click", () => at("viewer").close());
  at("viewer").addEventListener("close", leave);
  at("opacity").addEventListener("input", fade);
  document.addEventListener("keydown", key);
  list(0);
  const asked = new URLSearchParams(location.hash.slice(1)).get("image");
  const place = asked === null ? -1 : index.names.indexOf(asked);
  if (place >= 0) look(place);
}

function list(start) {
  const [name, type, split] = [at("name").value.trim().toLowerCase(), at("class").value, at("split").value];
  const layer = index.layers[Number(at("layer").value)];
  const fits = SHOWS[at("show").value][1];
  found = [];
  for (let image = 0; image < index.names.length; image += 1) {
    const labels = index.labels[image];
    if (name && !index.names[image].toLowerCase().includes(name)) continue;
    if (type !== "" && !(type === "none" ? labels.length === 0 : labels.includes(Number(type)))) continue;
    if (split !== "" && index.split[image] !== Number(split)) continue;
    if (fits(layer, image)) found.push(image);
  }
  const sort = at("sort").value;
  const [, value, sign] = SORTS[sort];
  if (sort === "name") {
    const order = new Intl.Collator(undefined, { numeric: true }).compare;
    found.sort((a, b) => order(index.names[a], index.names[b]));
  } else if (value) {
    const values = new Map(found.map((image) => [image, value(layer, image) ?? null]));
    found.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (x - y) || a - b;
    });
  }
  show(start);
}

function words(layer, image) {
  const parts = [layer.iou[image] == null ? "IoU unknown" : `IoU ${percent(layer.iou[image])}`];
  const more = gain(layer, image);
  if (more !== null) parts.push(lead(more, index.reference));
  if (layer.contradictions[image] > 0) parts.push(`contradicts ${layer.contradictions[image] === 1 ? "a label" : layer.contradictions[image] + " labels"}`);
  return parts.join(", ");
}

function show(wanted) {
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  page = Math.min(pages - 1, Math.max(0, Number.isFinite(wanted) ? Math.trunc(wanted) : 0));
  const place = Number(at("layer").value);
  const layer = index.layers[place];
  const all = index.names.length.toLocaleString("en");
  at("count").textContent = found.length === index.names.length
    ? `${all} images`
    : `${found.length.toLocaleString("en")} of ${all} images`;
  at("page").value = page + 1;
  at("page").max = pages;
  at("pages").textContent = `of ${pages}`;
  at("before").disabled = page === 0;
  at("after").disabled = page === pages - 1;
  at("grid").replaceChildren(
    ...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map((image) => {
      const item = make("li");
      const button = make("button", undefined, "thumb");
      button.type = "button";
      const frame = make("span", undefined, "frame");
      const drawn = stack(image, "", "masks", maskTile(image, place), maskTiles(image), true);
      drawn.removeAttribute("role");
      drawn.setAttribute("aria-hidden", "true");
      drawn.removeAttribute("aria-label");
      drawn.style.width = `min(100%, calc(var(--frame) * ${index.ratio[image]}))`;
      frame.append(drawn);
      const text = make("span", undefined, "words");
      text.append(make("span", index.names[image], "name"), make("span", words(layer, image), "fine"));
      button.append(frame, text);
      button.addEventListener("click", () => look(image));
      item.append(button);
      return item;
    }),
  );
}

// One image.

function figure(image, text, ...rest) {
  const element = make("figure");
  element.append(stack(image, `${text} of ${index.names[image]}`, ...rest), make("figcaption", text));
  return element;
}

function look(image) {
  looked = image;
  const labels = index.labels[image];
  at("v-name").textContent = index.names[image];
  at("v-facts").replaceChildren(
    document.createTextNode(`${index.splits[index.split[image]]}; recipes disagree on ${percent(index.disagreement[image])} of the pixels  `),
    ...labels.map((label) => {
      const chip = make("span", undefined, "chip");
      const swatch = make("span", undefined, "swatch");
      swatch.style.background = index.colours[label];
      chip.append(swatch, document.createTextNode(index.classes[label]));
      return chip;
    }),
  );
  const originals = [figure(image, "Photograph")];
  if (index.truth[image]) originals.push(figure(image, "Ground truth", "masks", 0, maskTiles(image)));
  at("v-originals").replaceChildren(...originals);
  at("v-recipes").replaceChildren(
    ...index.recipes.flatMap((recipe, place) => {
      const row = make("div", undefined, "v-row");
      labels.forEach((label, number) => {
        const tile = place * labels.length + number;
        row.append(figure(image, `Map: ${index.classes[label]}`, "maps", tile, index.recipes.length * labels.length));
      });
      const heading = make("h3", recipe);
      const scores = [];
      index.layers.forEach((layer, number) => {
        if (layer.recipe !== recipe) return;
        const text = layer.stage === 0 ? "Pseudo-mask" : "Prediction of the network";
        row.append(figure(image, text, "masks", maskTile(image, number), maskTiles(image)));
        scores.push(`${text}: ${words(layer, image)}`);
      });
      heading.append(make("span", scores.join("; "), "fine"));
      row.dataset.recipe = recipe;
      return [heading, row];
    }),
  );
  const known = new Set(index.recipes);
  index.layers.forEach((layer, number) => {
    if (known.has(layer.recipe)) return;
    const row = make("div", undefined, "v-row");
    row.append(figure(image, "Prediction of the network", "masks", maskTile(image, number), maskTiles(image)));
    const heading = make("h3", layer.recipe);
    heading.append(make("span", words(layer, image), "fine"));
    row.dataset.recipe = layer.recipe;
    at("v-recipes").append(heading, row);
  });
  at("v-legend").replaceChildren();
  withShares(image, (shares) => {
    if (looked === image && shares.length) regions(image, shares);
  });
  const place = found.indexOf(image);
  at("v-before").disabled = place <= 0;
  at("v-after").disabled = place < 0 || place === found.length - 1;
  fade();
  if (!at("viewer").open) at("viewer").showModal();
  at("viewer").scrollTop = 0;
  at("v-name").focus();
  history.replaceState(null, "", `#${new URLSearchParams({ image: index.names[image] })}`);
}

function regions(image, shares) {
  const compared = index.layers.filter((layer) => layer !== base(layer));
  compared.forEach((layer, tile) => {
    const row = [...at("v-recipes").querySelectorAll(".v-row")].find((each) => each.dataset.recipe === layer.recipe);
    const what = layer.stage === 1 ? "network" : "mask";
    const names = ["both", `${index.reference} alone`, `this ${what} alone`, "missed"];
    const said = names.map((name, place) => `${name} ${Math.round(100 * (shares[tile][place] ?? 0))}\u00a0%`).join(", ");
    const element = figure(image, `Object pixels found by: ${said}`, "regions", tile, compared.length);
    row.append(element);
  });
  const texts = ["found by both", `found by ${index.reference} alone`, "found by the recipe alone", "missed by both"];
  at("v-legend").replaceChildren(
    ...texts.map((text, place) => {
      const item = make("li");
      item.append(make("span", undefined, `swatch r${place}`), document.createTextNode(text));
      return item;
    }),
  );
  fade();
}

function fade() {
  const share = at("opacity").value / 100;
  for (const over of at("viewer").querySelectorAll("img.over")) over.style.opacity = share;
}

function step(by) {
  const place = found.indexOf(looked) + by;
  if (found.indexOf(looked) < 0 || place < 0 || place >= found.length) return;
  if (Math.floor(place / PER_PAGE) !== page) show(Math.floor(place / PER_PAGE));
  look(found[place]);
}

function leave() {
  history.replaceState(null, "", location.pathname + location.search);
  const place = found.indexOf(looked) - page * PER_PAGE;
  at("grid").children[place]?.firstChild.focus();
  looked = -1;
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "/" && !typing && !at("viewer").open) {
    event.preventDefault();
    at("name").focus();
    return;
  }
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by === undefined || typing) return;
  event.preventDefault();
  if (at("viewer").open) step(by);
  else show(page + by);
}
