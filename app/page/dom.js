export const by = (id) => document.getElementById(id);

/** An element with its properties and children. */
export function make(name, properties = {}, ...children) {
	const made = document.createElement(name);
	Object.assign(made, properties);
	made.append(...children);
	return made;
}

export function makeSvg(name, attributes = {}, ...children) {
	const made = document.createElementNS("http://www.w3.org/2000/svg", name);
	for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
	made.append(...children);
	return made;
}
