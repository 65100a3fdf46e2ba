// The paper that is drawn on. Strokes are kept as points in shares of the side, so that they can be drawn again at any
// size, and are sent at one size whatever screen they were made on.

const PEN_WIDTH = 1 / 20;
const LONG_SEGMENT = 1 / 12;
const SENT_PIXELS = 280;
const KEY_STEP = 1 / 32;
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

/** Draw strokes with a round pen. */
export function trace(context, strokes, side, colour) {
	context.strokeStyle = colour;
	context.lineCap = context.lineJoin = "round";
	for (const points of strokes) {
		let width = 0;
		let [fromX, fromY] = points[0];
		// Curves through the middles of short segments are smooth; they would cut the corners between long ones. A stroke
		// is one line while the pressure stays, so that its edge is smooth too.
		points.forEach(([x, y, pressure], i) => {
			const [lastX, lastY] = points[Math.max(0, i - 1)];
			const isLong = Math.hypot(x - lastX, y - lastY) > LONG_SEGMENT;
			const isWhole = isLong || i === points.length - 1;
			const [toX, toY] = isWhole ? [x, y] : [(lastX + x) / 2, (lastY + y) / 2];
			if (pressure !== width) {
				if (width) context.stroke();
				width = pressure;
				context.lineWidth = PEN_WIDTH * pressure * side;
				context.beginPath();
				context.moveTo(fromX * side, fromY * side);
			}
			if (isLong) context.lineTo(lastX * side, lastY * side);
			context.quadraticCurveTo(lastX * side, lastY * side, toX * side, toY * side);
			[fromX, fromY] = [toX, toY];
		});
		context.stroke();
	}
}

/** Draw a picture as large as fits, in the middle. Returns where it lies: [left, top, scale]. */
function fit(context, bitmap, side) {
	const scale = side / Math.max(bitmap.width, bitmap.height);
	const [width, height] = [bitmap.width * scale, bitmap.height * scale];
	const [left, top] = [(side - width) / 2, (side - height) / 2];
	context.drawImage(bitmap, left, top, width, height);
	return [left, top, scale];
}

export class Paper {
	#canvas;
	#context;
	#sent;
	#state = {strokes: [], picture: null};
	#history = [];
	#pointer = null;
	#pen = {x: 0.5, y: 0.5, down: false, shown: false};
	#due = false;
	#finished = false;
	#onChange;

	/** onChange(changed): called after each change, and where a stroke ends, with false. */
	constructor(canvas, onChange) {
		this.#canvas = canvas;
		this.#onChange = onChange;
		this.#context = canvas.getContext("2d");
		const sent = document.createElement("canvas");
		sent.width = sent.height = SENT_PIXELS;
		this.#sent = sent.getContext("2d", {alpha: false, willReadFrequently: true});
		canvas.addEventListener("pointerdown", (event) => this.#begin(event));
		canvas.addEventListener("pointermove", (event) => this.#move(event));
		for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
			canvas.addEventListener(name, (event) => this.#end(event));
		}
		canvas.addEventListener("contextmenu", (event) => event.preventDefault());
		canvas.addEventListener("keydown", (event) => this.#key(event));
		canvas.addEventListener("blur", () => this.#hidePen());
		// Whatever may have emptied the canvas, or changed its size or colours.
		new ResizeObserver(() => this.redraw()).observe(canvas);
		canvas.addEventListener("contextrestored", () => this.redraw());
		document.addEventListener("visibilitychange", () => this.redraw());
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
	}

	get isEmpty() {
		return !this.#state.strokes.length && !this.#state.picture;
	}

	get canUndo() {
		return this.#history.length > 0;
	}

	get isDrawing() {
		return this.#pointer !== null;
	}

	/** The picture that was loaded, or null: {file, bitmap}. */
	get picture() {
		return this.#state.picture;
	}

	/** The drawing as a data: URL of a PNG file, dark on white in every theme. */
	drawing() {
		this.#sent.fillStyle = "#fff";
		this.#sent.fillRect(0, 0, SENT_PIXELS, SENT_PIXELS);
		trace(this.#sent, this.#state.strokes, SENT_PIXELS, "#000");
		return this.#sent.canvas.toDataURL();
	}

	/** Paint what is on the paper into another canvas. Returns where it lies: [left, top, scale]. */
	copy(context, side, colour) {
		const {picture, strokes} = this.#state;
		if (picture?.bitmap) return fit(context, picture.bitmap, side);
		trace(context, strokes, side, colour);
		return [0, 0, side / SENT_PIXELS];
	}

	undo() {
		if (!this.canUndo || this.isDrawing) return;
		this.#state = this.#history.pop();
		this.#finished = false;
		this.#changed();
	}

	clear() {
		this.#pointer = null;
		if (!this.isEmpty) this.#become({strokes: [], picture: null});
	}

	/** Show a picture in place of a drawing. */
	load(picture) {
		this.#become({strokes: [], picture});
	}

	/** Put strokes on the paper in place of what is there. */
	put(strokes) {
		this.#become({strokes, picture: null});
	}

	/** What is on the paper has been dealt with: the next stroke begins a new drawing. */
	finish() {
		this.#finished = true;
	}

	redraw() {
		if (this.#due) return;
		this.#due = true;
		requestAnimationFrame(() => {
			this.#due = false;
			this.#paint();
		});
	}

	#paint() {
		const canvas = this.#canvas;
		const side = Math.round(canvas.clientWidth * devicePixelRatio);
		if (!side) return;
		if (canvas.width !== side || canvas.height !== side) canvas.width = canvas.height = side;
		const colour = getComputedStyle(canvas).color;
		this.#context.clearRect(0, 0, side, side);
		this.copy(this.#context, side, colour);
		if (this.#pen.shown) {
			const {x, y, down} = this.#pen;
			this.#context.beginPath();
			this.#context.arc(x * side, y * side, 0.035 * side, 0, 2 * Math.PI);
			this.#context.lineWidth = (down ? 5 : 2) * devicePixelRatio;
			this.#context.strokeStyle = getComputedStyle(canvas).outlineColor;
			this.#context.stroke();
		}
	}

	#become(state) {
		this.#history.push(this.#state);
		this.#state = state;
		this.#finished = false;
		this.#pen.down = false;
		this.#changed();
	}

	#changed() {
		this.redraw();
		this.#onChange(true);
	}

	#point(event) {
		// The element's own box at each event: the page may have been scrolled, zoomed or turned since the last one.
		const box = this.#canvas.getBoundingClientRect();
		const pressure = event.pointerType === "pen" && event.pressure ? 0.6 + 0.8 * event.pressure : 1;
		return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, pressure];
	}

	#begin(event) {
		if (this.#pointer !== null || event.button !== 0) return;
		event.preventDefault();
		this.#hidePen();
		this.#canvas.setPointerCapture(event.pointerId); // a stroke goes on outside of the paper
		this.#pointer = event.pointerId;
		this.#startStroke(this.#point(event));
	}

	/** A new stroke, on a new paper where the last drawing is finished or a picture lies there. */
	#startStroke(point) {
		const keep = this.#finished || this.#state.picture ? [] : this.#state.strokes;
		this.#history.push(this.#state);
		this.#state = {strokes: [...keep, [point]], picture: null};
		this.#finished = false;
		this.#changed();
	}

	#move(event) {
		if (event.pointerId !== this.#pointer) return;
		const events = event.getCoalescedEvents?.() ?? [];
		this.#state.strokes.at(-1).push(...(events.length ? events : [event]).map((one) => this.#point(one)));
		this.#changed();
	}

	#end(event) {
		if (event.pointerId !== this.#pointer) return;
		this.#pointer = null;
		this.#onChange(false);
	}

	#key(event) {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const arrow = ARROWS[event.key];
		const pen = this.#pen;
		if (arrow) {
			const step = KEY_STEP * (event.shiftKey ? 0.5 : 1);
			pen.x = Math.min(1, Math.max(0, pen.x + arrow[0] * step));
			pen.y = Math.min(1, Math.max(0, pen.y + arrow[1] * step));
			if (pen.down) {
				this.#state.strokes.at(-1).push([pen.x, pen.y, 1]);
				this.#changed();
			}
		} else if (event.key === " ") {
			pen.down = !pen.down;
			if (pen.down) this.#startStroke([pen.x, pen.y, 1]);
		} else {
			return;
		}
		event.preventDefault();
		pen.shown = true;
		this.redraw();
	}

	#hidePen() {
		this.#pen.shown = this.#pen.down = false;
		this.redraw();
	}
}
