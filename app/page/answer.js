// The answer: the digit, how sure, why not, ten bars, and what the model saw.

import {by, make} from "./dom.js";
import {share, text, wholeShare} from "./texts.js";

const FIGURE_PIXELS = 336;
const PIXEL = FIGURE_PIXELS / 28;
const SAID_AFTER_MS = 700; // a screen reader should not read out every step of a stroke

const [answer, sure, reason, bars, said] = ["answer", "sure", "reason", "bars", "said"].map(by);
let saying;

export function build() {
	for (let digit = 0; digit < 10; digit++) {
		const track = make("span", {className: "track"}, make("i"));
		bars.append(make("li", {}, make("small"), track, make("b", {textContent: digit})));
	}
}

/** Nothing is drawn. */
export function showNothing() {
	show({words: text("nothing"), why: text("nothingHelp")});
	showExplanation(null);
}

/** What the service replied. isPicture: to a picture that was loaded, not drawn. */
export function showReply({digit, confidence, accepted, probabilities, reason: kind}, isPicture) {
	const [first, second] = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
	const why = kind === "blank" && isPicture ? "blankPicture" : kind;
	show({
		shown: accepted ? digit : "?",
		digit,
		accepted,
		words: accepted ? text("sure", {share: share(confidence)}) : text("rejected"),
		why: accepted ? "" : text(why, {first, second}),
		probabilities: kind === "blank" ? null : probabilities,
	});
}

/** There is no answer: why. */
export const showProblem = (why) => show({why});

function show({shown = "–", digit = "", accepted = "", words = "", why = "", probabilities = null}) {
	answer.textContent = shown;
	Object.assign(answer.dataset, {digit, accepted});
	sure.textContent = words;
	reason.textContent = why;
	bars.classList.toggle("faint", !accepted);
	[...bars.children].forEach((item, place) => {
		const value = probabilities?.[place] ?? 0;
		item.querySelector("i").style.transform = `scaleY(${value})`;
		item.querySelector("small").textContent = value < 0.005 ? "" : value < 0.995 ? wholeShare(value) : share(value);
		item.classList.toggle("first", accepted && place === digit);
		item.ariaLabel = `${place}: ${share(value)}`;
	});
	clearTimeout(saying);
	saying = setTimeout(() => (said.textContent = [accepted ? digit : "", words, why].join(" ")), SAID_AFTER_MS);
}

/** What the model saw, beside what is on the paper; null empties it. */
export function showExplanation(explanation, paper, digit = "…") {
	const [original, attribution] = ["original", "attribution"].map((id) => by(id).getContext("2d"));
	for (const context of [original, attribution]) context.clearRect(0, 0, FIGURE_PIXELS, FIGURE_PIXELS);
	by("seen").hidden = !explanation;
	by("for").textContent = text("figureFor", {digit});
	if (!explanation) return;
	by("seen").src = explanation.seen;
	const [styles, colours] = [original, attribution].map(({canvas}) => getComputedStyle(canvas));
	const [left, top, scale] = paper.copy(original, FIGURE_PIXELS, styles.color);
	if (explanation.box) {
		const [x, y, width, height] = explanation.box.map((value) => value * scale);
		original.strokeStyle = styles.outlineColor;
		original.lineWidth = 4;
		original.strokeRect(left + x, top + y, width, height);
	}
	explanation.attribution.forEach((row, y) =>
		row.forEach((value, x) => {
			attribution.fillStyle = value > 0 ? colours.color : colours.outlineColor;
			attribution.globalAlpha = value && 0.15 + 0.85 * Math.abs(value);
			attribution.fillRect(x * PIXEL, y * PIXEL, PIXEL, PIXEL);
		}),
	);
}
