// The page: connects the paper, the reader, teaching and training.

import * as answer from "./answer.js";
import {by, make, makeSvg} from "./dom.js";
import {EXAMPLES} from "./examples.js";
import {Paper} from "./paper.js";
import {Reader} from "./reader.js";
import {Teaching} from "./teaching.js";
import {known, text, translate} from "./texts.js";
import {Training} from "./training.js";

// Larger pictures are made smaller before they are sent: photographs have more pixels than a digit needs.
const MAX_FILE_BYTES = 2_000_000;
const MAX_SIDE_PIXELS = 2000;

translate();
answer.build();

const paper = new Paper(by("canvas"), onChange);
const reader = new Reader(onReply, onProblem, (busy) => (by("answer").ariaBusy = busy));
const teaching = new Teaching(wanted, () => paper.finish());
new Training(teaching, () => reader.again());

/** What is on the paper, as a call sends it; null where it is empty. */
function wanted() {
	if (paper.isEmpty) return null;
	return paper.picture ? {file: paper.picture.file} : {image: paper.drawing()};
}

function onChange(changed) {
	by("undo").disabled = !paper.canUndo;
	by("clear").disabled = paper.isEmpty;
	by("hint").hidden = !paper.isEmpty;
	if (paper.isEmpty) {
		reader.clear();
		answer.showNothing();
	} else if (changed) {
		reader.read(wanted, !paper.isDrawing);
	} else {
		reader.settle();
	}
}

function onReply(reply) {
	if (paper.isEmpty) return;
	answer.showReply(reply, !!paper.picture);
	if (reply.explanation) answer.showExplanation(reply.explanation, paper, reply.digit);
}

function onProblem(problem) {
	answer.showProblem(problem.status && problem.passing ? text("busy") : problem.told);
}

/** Read a file that was chosen, dropped or pasted. */
async function load(file) {
	if (!file) return;
	let bitmap = null;
	try {
		bitmap = await createImageBitmap(file); // turned as its EXIF data says
	} catch {
		// TIFF, for one, is read by the service but not by browsers
	}
	const largest = bitmap ? Math.max(bitmap.width, bitmap.height) : 0;
	if (bitmap && (file.size > MAX_FILE_BYTES || largest > 2 * MAX_SIDE_PIXELS)) {
		const scale = Math.min(1, MAX_SIDE_PIXELS / largest);
		const canvas = make("canvas", {width: bitmap.width * scale, height: bitmap.height * scale});
		const context = canvas.getContext("2d", {alpha: false});
		context.fillStyle = "#fff";
		context.fillRect(0, 0, canvas.width, canvas.height);
		context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
		file = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
		bitmap = await createImageBitmap(canvas);
	}
	paper.load({file, bitmap});
}

for (const id of ["upload", "photo"]) {
	by(id).addEventListener("change", (event) => {
		load(event.target.files[0]);
		event.target.value = ""; // the same file can be chosen again
	});
}
const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? transfer?.files?.[0];
addEventListener("dragover", (event) => {
	event.preventDefault();
	document.body.classList.add("dropping");
});
for (const name of ["dragleave", "drop"]) addEventListener(name, () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
	event.preventDefault();
	load(pictureIn(event.dataTransfer));
});
addEventListener("paste", (event) => load(pictureIn(event.clipboardData)));

by("undo").addEventListener("click", () => paper.undo());
by("clear").addEventListener("click", () => paper.clear());
addEventListener("keydown", (event) => {
	if (event.target.matches("input, select, textarea") || event.altKey) return;
	const command = event.ctrlKey || event.metaKey;
	if (command ? event.key === "z" : event.key === "u") paper.undo();
	else if (!command && event.key === "Escape") paper.clear();
	else return;
	event.preventDefault();
});

for (const {strokes, what} of EXAMPLES) {
	const lines = strokes.map((points) => makeSvg("polyline", {points: points.map(([x, y]) => `${x.toFixed(3)},${y.toFixed(3)}`).join(" ")}));
	const ariaLabel = text("example", {what: known(what) ?? what});
	const onclick = () => paper.put(strokes);
	by("examples").append(make("button", {type: "button", ariaLabel, onclick}, makeSvg("svg", {viewBox: "0 0 1 1"}, ...lines)));
}

onChange(false);
