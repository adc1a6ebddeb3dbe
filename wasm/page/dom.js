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
