// Retraining: the job and its curves, the verdict, and the versions.

import {by, make, makeSvg} from "./dom.js";
import {call} from "./service.js";
import {decimal, exactShare, number, text, time} from "./texts.js";

const OVER = ["published", "rejected", "failed", "cancelled"];
const LEARNED = ["published", "rejected"];
const LONG_IN_QUEUE_MS = 8000;
const POLL_MS = 2000;

export class Training {
	#teaching;
	#onVersion;
	#source = null;
	#job = null;
	#steps = [];
	#serving = null;
	#listed = "";
	#since = 0;

	/** onVersion(): called when another version serves than before. */
	constructor(teaching, onVersion) {
		this.#teaching = teaching;
		this.#onVersion = onVersion;
		by("retrain").onclick = () => this.#try(async () => this.#follow(await call("POST", "retrain", {admin: true, body: {}})));
		by("cancel").onclick = () => this.#try(async () => this.#update(await call("DELETE", `jobs/${this.#job.id}`, {admin: true})));
		this.#look();
		setInterval(() => document.hidden || this.#look(), POLL_MS);
	}

	async #try(action) {
		try {
			await action();
		} catch (problem) {
			this.#teaching.refused(problem);
			by("job").replaceChildren(make("p", {className: "notice problem", textContent: problem.status === 401 ? text("tokenFirst") : problem.told}));
		}
	}

	/** Show the versions and the newest job, also what somebody else has done. */
	async #look() {
		this.#listVersions();
		if (this.#source) return;
		try {
			const {jobs} = await call("GET", "jobs?limit=20");
			this.#remember(jobs);
			const job = jobs.find(({status}) => !OVER.includes(status)) ?? jobs[0];
			if (job && job.id !== this.#job?.id) this.#follow(job);
		} catch {
			// the next look may succeed
		}
	}

	#remember(jobs) {
		const learned = jobs.find(({status}) => LEARNED.includes(status));
		if (!learned) return;
		this.#teaching.waitingSince(learned.started);
		by("duration").textContent = text("lastTook", {time: time(seconds(learned))});
	}

	/** Show a job from its first event on. */
	#follow(job) {
		this.#source?.close();
		this.#steps = [];
		this.#since = performance.now();
		const source = (this.#source = new EventSource(`jobs/${job.id}/events`));
		this.#update(job);
		source.addEventListener("progress", (event) => {
			this.#steps.push(JSON.parse(event.data));
			this.#show();
		});
		for (const kind of ["queued", "running", "measuring", ...OVER]) {
			source.addEventListener(kind, async () => {
				const over = OVER.includes(kind);
				if (over) source.close();
				const found = await call("GET", `jobs/${job.id}`).catch(() => null); // the next event tells
				if (this.#source !== source) return;
				if (found) this.#update({...found, measuring: kind === "measuring"});
				if (!over) return;
				this.#source = null;
				if (found) this.#remember([found]);
			});
		}
		setTimeout(() => this.#source === source && this.#show(), LONG_IN_QUEUE_MS + 100);
	}

	#update(job) {
		this.#job = job;
		this.#show();
	}

	#show() {
		const job = this.#job;
		const over = OVER.includes(job.status);
		by("retrain").disabled = by("duration").hidden = !over;
		by("cancel").hidden = over || job.cancel_requested;
		by("job").dataset.status = job.status;
		const head = make("p", {}, make("b", {textContent: text("job", job)}), " ", make("span", {className: job.status, textContent: this.#state()}));
		const parts = [head];
		if (job.status === "running" && !job.measuring) parts.push(this.#left());
		if (this.#steps.length) {
			const accuracy = this.#curve("accuracyChart", "accuracy", exactShare);
			parts.push(make("div", {className: "curves"}, accuracy, this.#curve("lossChart", "loss", decimal)));
		}
		if (job.verdict) parts.push(...this.#verdict());
		if (job.reason && job.status !== "published") {
			parts.push(make("p", {className: job.status === "failed" ? "notice problem" : "small", textContent: job.reason}));
		}
		by("job").replaceChildren(...parts);
	}

	#state() {
		const {status, measuring, version} = this.#job;
		if (status === "queued" && performance.now() - this.#since > LONG_IN_QUEUE_MS) return text("queuedLong");
		return text(measuring && status === "running" ? "measuring" : `job-${status}`, {version});
	}

	#left() {
		const step = this.#steps.at(-1);
		const line = make("p", {className: "small", textContent: step ? "" : text("starting")});
		if (step) line.append(make("progress", {value: done(step), ariaLabel: text("job", this.#job)}), ` ${text("epoch", step)}, ${text("left", {time: time(step.seconds_left ?? 0)})}`);
		return line;
	}

	/** A line of what was learned and points of the validation, with the newest values in words. */
	#curve(title, learned, shown) {
		const validation = `val_${learned}`;
		const steps = this.#steps.filter((step) => step[learned] !== null);
		const validated = steps.filter((step) => step[validation] !== null);
		const found = [...steps.map((step) => step[learned]), ...validated.map((step) => step[validation])];
		const [low, high] = [Math.min(...found), Math.max(...found)];
		const place = (step, name) => `${(1 + 96 * done(step)).toFixed(2)},${(37 - (34 * (step[name] - low)) / (high - low || 1)).toFixed(2)}`;
		const words = make("figcaption", {}, make("b", {textContent: text(title)}));
		for (const [name, those] of [["learned", steps], ["validation", validated]]) {
			if (those.length) words.append(make("span", {className: name, textContent: `${text(name)} ${shown(those.at(-1)[name === "learned" ? learned : validation])}`}));
		}
		const label = [...words.children].map((part) => part.textContent).join(", ");
		const chart = makeSvg(
			"svg",
			{viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": label},
			makeSvg("polyline", {points: steps.map((step) => place(step, learned)).join(" ")}),
			...validated.map((step) => makeSvg("path", {d: `M${place(step, validation)}h0`})),
		);
		return make("figure", {}, words, chart);
	}

	#verdict() {
		const {mnist, feedback} = this.#job.verdict;
		const heads = [text("read"), text("version", {version: this.#job.parent ?? ""}), text("after")];
		const table = make("table", {}, make("tr", {}, ...heads.map((textContent) => make("th", {scope: "col", textContent}))));
		for (const [name, paired] of [["onMnist", mnist], ["onFeedback", feedback]]) {
			if (!paired) continue;
			const of = (right) => make("td", {textContent: text("of", {right: number(right), images: number(paired.images)})});
			table.append(make("tr", {}, make("th", {scope: "row", textContent: text(name)}), of(paired.current), of(paired.candidate)));
		}
		const used = feedback ? text("used", {images: number(feedback.images)}) : text("noFeedback");
		return [table, make("p", {className: "small", textContent: used})];
	}

	async #listVersions() {
		const found = await call("GET", "models").catch(() => null); // it stays as it was
		const listed = JSON.stringify(found);
		if (!found || listed === this.#listed) return;
		this.#listed = listed;
		by("fault").textContent = found.fault ? text("fault", found.fault) : "";
		by("versions").replaceChildren(...found.models.map((model) => this.#version(model)).reverse());
		const serving = found.models.find((model) => model.serving);
		if (!serving) return;
		const {version, metrics} = serving;
		by("mnist").textContent = metrics.test ? text("mnist", {version, ...figures(metrics.test)}) : "";
		const changed = this.#serving && this.#serving !== version;
		this.#serving = version;
		if (changed) this.#onVersion();
	}

	#version({version, serving, metrics}) {
		const words = make("div", {}, make("b", {textContent: text("version", {version})}));
		if (metrics.test) words.append(make("small", {textContent: text("metrics", figures(metrics.test))}));
		if (serving) return make("li", {className: "serves"}, words, make("span", {className: "badge", textContent: text("serves")}));
		const button = make("button", {
			type: "button",
			textContent: text("activate"),
			ariaLabel: text("activateOf", {version}),
			onclick: async () => {
				try {
					await call("POST", `models/${version}/activate`, {admin: true});
					await this.#listVersions();
				} catch (problem) {
					if (!this.#teaching.refused(problem)) by("fault").textContent = problem.told;
				}
			},
		});
		button.dataset.testid = `activate-${version}`;
		return make("li", {}, words, button);
	}
}

const figures = ({accuracy, images}) => ({share: exactShare(accuracy), images: number(images)});
const done = (step) => (step.epoch - 1 + step.batch / step.batches) / step.epochs;
const seconds = (job) => (Date.parse(job.finished) - Date.parse(job.started)) / 1000;
