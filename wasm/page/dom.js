// Building elements. Text becomes text nodes and nothing else: no string is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    // Custom properties go through the object model: the policy allows no style attributes.
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const $ = (id) => document.getElementById(id);

export const replace = (place, ...children) => place.replaceChildren(...children.flat(Infinity).filter(Boolean));

/** A number with four decimals, as the command line prints it to people; a dash where there is none. */
export const four = (value) => (value === null || value === undefined ? "–" : value.toFixed(4));
export const two = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
export const many = (number, one, more) => `${count(number)} ${number === 1 ? one : more}`;
export const count = (value) => value.toLocaleString("en-GB");

/** One tab stop for many: arrows, Home and End go from one `selector` in `place` to another, `across()` of them a line;
 * PageUp and PageDown go ten lines, or where `turn(pages)` takes them. */
export function rove(place, selector, across = () => 1, turn = null) {
  const items = () => [...place.querySelectorAll(selector)];
  const stop = (chosen) => items().forEach((item) => (item.tabIndex = item === chosen ? 0 : -1));
  new MutationObserver(() => stop(items()[0])).observe(place, { childList: true });
  place.addEventListener("focusin", ({ target }) => stop(target.closest(selector)));
  place.addEventListener("keydown", (event) => {
    const all = items();
    const [at, last, line] = [all.indexOf(event.target), all.length - 1, across()];
    if (at < 0) return;
    const within = (to) => Math.min(last, Math.max(0, to));
    const to = {
      ArrowDown: at + line, ArrowUp: at - line, ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last,
      PageDown: within(at + 10 * line), PageUp: within(at - 10 * line),
    }[event.key];
    if (turn && event.key.startsWith("Page")) turn(event.key === "PageDown" ? 1 : -1);
    else if (all[at].localName !== "button" && ["Enter", " "].includes(event.key)) all[at].click();
    else if (to === undefined) return;
    else if (all[to]) {
      stop(all[to]);
      all[to].focus();
    }
    event.preventDefault();
  });
}
