// Calls of the API. Paths are relative, so that the page also works below a path of a proxy.

import {known, text} from "./texts.js";

const TOKEN = "digits-token";

/** A call that failed. status: 0 where the service does not answer. */
export class Problem extends Error {
	constructor(status, body = {}, retryAfter = 0) {
		super(body.detail);
		this.status = status;
		this.kind = body.type?.split(":").pop();
		this.retryAfter = retryAfter;
	}

	/** Whether the same call may succeed in a moment. */
	get passing() {
		return this.status === 0 || this.status === 503 || this.status === 504;
	}

	/** What to show: a text of the page for this kind of problem, else the service's own words. */
	get told() {
		if (!this.status) return text("away");
		const words = known(this.kind);
		if (words) return words;
		return this.message[0].toUpperCase() + this.message.slice(1);
	}
}

// Kept for the tab only: another tab, and the next visit, ask again.
export const token = {
	get: () => sessionStorage.getItem(TOKEN),
	set: (value) => sessionStorage.setItem(TOKEN, value),
	forget: () => sessionStorage.removeItem(TOKEN),
};

/**
 * Call the service. Rejects with a Problem, or an AbortError.
 *
 * body: what becomes JSON, or a form where it has a file. admin: whether the call needs the token.
 */
export async function call(method, path, {body, admin = false, signal} = {}) {
	const headers = {};
	if (admin && token.get()) headers.Authorization = `Bearer ${token.get()}`;
	if (body?.file) {
		const form = new FormData();
		for (const [name, value] of Object.entries(body)) form.append(name, value);
		body = form;
	} else if (body) {
		headers["Content-Type"] = "application/json";
		body = JSON.stringify(body);
	}
	let reply;
	try {
		reply = await fetch(path, {method, headers, body, signal});
	} catch (error) {
		throw error.name === "AbortError" ? error : new Problem(0);
	}
	if (reply.ok) return reply.status === 204 ? null : reply.json();
	const told = await reply.json().catch(() => ({detail: reply.statusText}));
	throw new Problem(reply.status, told, Number(reply.headers.get("retry-after")));
}
