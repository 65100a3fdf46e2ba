// Asks the service what is on the paper: one question at a time, always about the newest drawing.

import {call} from "./service.js";

// A question about an older drawing that takes longer than this is given up for the newest one.
const PATIENCE_MS = 1000;
const RETRY_MS = 1500;

export class Reader {
	#body = null;
	#number = 0;
	#answered = 0;
	#explained = 0;
	#idle = false;
	#running = null;
	#show;
	#fail;
	#busy;

	/**
	 * show(reply): called with each answer. fail(problem): called where there is none; with a problem that passes, the
	 * reader asks again by itself. busy(yes): called before the first question and after the last answer.
	 */
	constructor(show, fail, busy) {
		this.#show = show;
		this.#fail = fail;
		this.#busy = busy;
	}

	/** There is something new to read. body(): what to send, made when it is sent. idle: it will not change soon. */
	read(body, idle) {
		this.#body = body;
		this.#number++;
		this.#idle = idle;
		this.#go();
	}

	/** What was to be read will not change soon, so it is worth an explanation. */
	settle() {
		this.#idle = true;
		this.#go();
	}

	/** There is nothing to read any more, and no answer may come. */
	clear() {
		this.#body = null;
		this.#running?.abort.abort();
		this.#answered = this.#explained = ++this.#number;
	}

	/** Another version may answer otherwise. */
	again() {
		if (this.#body) this.read(this.#body, true);
	}

	#next() {
		if (!this.#body) return null;
		if (this.#answered < this.#number) return "predict";
		return this.#idle && this.#explained < this.#number ? "predict?explain=true" : null;
	}

	async #go() {
		if (this.#running) {
			this.#giveUpLate();
			return;
		}
		this.#busy(true);
		for (let path = this.#next(); path; path = this.#next()) await this.#ask(path);
		this.#busy(false);
	}

	#giveUpLate() {
		const running = this.#running;
		const wait = PATIENCE_MS - (performance.now() - running.since);
		setTimeout(() => {
			if (this.#running === running && running.number < this.#number) running.abort.abort();
		}, Math.max(0, wait));
	}

	async #ask(path) {
		const running = {number: this.#number, since: performance.now(), abort: new AbortController()};
		this.#running = running;
		try {
			const reply = await call("POST", path, {body: this.#body(), signal: running.abort.signal});
			if (running.abort.signal.aborted) return;
			this.#answered = Math.max(this.#answered, running.number);
			if (reply.explanation) this.#explained = Math.max(this.#explained, running.number);
			this.#show(reply);
		} catch (error) {
			if (error.name === "AbortError") return;
			this.#fail(error);
			if (error.passing) await new Promise((done) => setTimeout(done, 1000 * (error.retryAfter ?? 0) || RETRY_MS));
			else this.#answered = this.#explained = Math.max(this.#answered, running.number);
		} finally {
			this.#running = null;
		}
	}
}
