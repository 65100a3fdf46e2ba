// Signing in, teaching, and what was taught.

import {by, make} from "./dom.js";
import {call, token} from "./service.js";
import {number, text} from "./texts.js";

const NEWEST = `feedback?before=${2 ** 31 - 1}&limit=200`;

export class Teaching {
	#wanted;
	#onTaught;
	#since = null;

	/** wanted(): what is on the paper, as a call sends it: {image} or {file}; null where it is empty. */
	constructor(wanted, onTaught) {
		this.#wanted = wanted;
		this.#onTaught = onTaught;
		for (let digit = 0; digit < 10; digit++) {
			const button = make("button", {
				type: "button",
				textContent: digit,
				ariaLabel: text("teachLabel", {digit}),
				onclick: () => this.#try(() => this.#teach(digit)),
			});
			button.dataset.testid = `teach-${digit}`;
			by("labels").append(button);
		}
		by("sign-in").onsubmit = (event) => {
			event.preventDefault();
			this.#try(() => this.#list());
		};
		by("token").oninput = (event) => token.set(event.target.value.trim());
		by("sign-out").onclick = () => this.#signOut();
		if (token.get()) this.#try(() => this.#list());
	}

	/** When the last training began that has learned from what was kept then; null where there was none. */
	waitingSince(time) {
		this.#since = time;
		this.#count();
	}

	/** Whether a call was refused for want of the token; then it is asked for. */
	refused(problem) {
		if (problem.status !== 401) return false;
		const words = text(token.get() ? "unauthorized" : "tokenFirst");
		this.#signOut();
		tell(words, true);
		by("token").focus();
		return true;
	}

	async #try(action) {
		try {
			await action();
		} catch (problem) {
			if (!this.refused(problem)) tell(problem.told, true);
		}
	}

	#signOut() {
		token.forget();
		by("token").value = "";
		by("sign-in").hidden = false;
		by("signed-in").hidden = by("kept").hidden = true;
		tell("");
	}

	async #teach(label) {
		const wanted = this.#wanted();
		if (!wanted) return tell(text("drawFirst"), true);
		const kept = await call("POST", "feedback", {body: {...wanted, label}, admin: true});
		const words = kept.labels.length > 1 ? "taughtAgain" : kept.held_back ? "taughtHeldOut" : "taught";
		tell(text(words, {label}), false, () => this.#try(() => this.#remove(kept)));
		this.#onTaught();
		await this.#list();
	}

	async #remove(kept) {
		try {
			await call("DELETE", `feedback/${kept.id}`, {admin: true});
		} catch (problem) {
			if (problem.status !== 404) throw problem; // somebody else has taken it back
		}
		tell("");
		await this.#list();
	}

	/** Show the newest of what is kept. */
	async #list() {
		const found = await call("GET", NEWEST, {admin: true});
		by("sign-in").hidden = true;
		by("signed-in").hidden = false;
		by("corrections").replaceChildren(...found.feedback.map((kept) => this.#item(kept)));
		by("kept").hidden = !found.total;
		by("kept").dataset.total = found.total;
		this.#count();
	}

	#count() {
		const items = [...by("corrections").children];
		const waiting = items.filter((item) => !this.#since || item.dataset.created > this.#since).length;
		const {total = 0} = by("kept").dataset;
		const count = number(waiting) + (waiting === items.length && total > waiting ? "+" : ""); // more than are shown
		by("kept-title").textContent = text("kept", {total: number(total), count});
	}

	#item(kept) {
		const words = text("correction", kept) + (kept.held_back ? `, ${text("heldOut")}` : "");
		const item = make(
			"li",
			{className: kept.held_back ? "held-out" : "", title: words},
			make("img", {src: kept.seen, alt: words}),
			make("b", {textContent: kept.label}),
			make("button", {
				type: "button",
				textContent: "×",
				ariaLabel: text("takeBackOf", kept),
				onclick: () => this.#try(() => this.#remove(kept)),
			}),
		);
		item.dataset.created = kept.created;
		return item;
	}
}

/** A message below the labels. undo: what a button beside it does. */
function tell(words, isProblem = false, undo = null) {
	by("taught").replaceChildren(words);
	by("taught").classList.toggle("problem", isProblem);
	if (undo) by("taught").append(" ", make("button", {type: "button", className: "link", textContent: text("takeBack"), onclick: undo}));
}
