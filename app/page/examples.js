// Examples to tap, as strokes in shares of the side.

const circle = (x, y, rx, ry, from, to) =>
	Array.from({length: 25}, (_, i) => {
		const angle = ((from + ((to - from) * i) / 24) * Math.PI) / 180;
		return [x + rx * Math.cos(angle), y + ry * Math.sin(angle), 1];
	});

const line = (...points) => {
	// Points as close together as a hand gives them.
	const found = [[points[0], points[1], 1]];
	for (let i = 2; i < points.length; i += 2) {
		const [x, y] = points.slice(i - 2, i);
		for (let step = 1; step <= 12; step++) {
			found.push([x + ((points[i] - x) * step) / 12, y + ((points[i + 1] - y) * step) / 12, 1]);
		}
	}
	return found;
};

const SEVEN = [line(0.3, 0.24, 0.71, 0.23, 0.46, 0.8)];

const DIGITS = [
	[circle(0.5, 0.5, 0.19, 0.29, -80, 285)],
	[line(0.42, 0.32, 0.54, 0.2, 0.52, 0.8)],
	[[...circle(0.5, 0.36, 0.17, 0.15, 190, 385), ...line(0.64, 0.44, 0.32, 0.78, 0.72, 0.77)]],
	[[...circle(0.48, 0.35, 0.16, 0.14, 200, 440), ...circle(0.48, 0.63, 0.19, 0.16, -80, 160)]],
	[line(0.54, 0.2, 0.3, 0.6, 0.74, 0.59), line(0.6, 0.42, 0.57, 0.82)],
	[[...line(0.37, 0.22, 0.35, 0.48), ...circle(0.48, 0.61, 0.18, 0.17, 235, 505)], line(0.37, 0.22, 0.68, 0.21)],
	[[...circle(0.72, 0.58, 0.36, 0.4, 255, 190), ...circle(0.51, 0.63, 0.16, 0.16, 175, 540)]],
	SEVEN,
	[[...circle(0.5, 0.35, 0.14, 0.14, 90, -270), ...circle(0.5, 0.65, 0.18, 0.16, -90, 270)]],
	[[...circle(0.49, 0.37, 0.15, 0.16, 0, -360), ...line(0.64, 0.37, 0.63, 0.55, 0.56, 0.81)]],
];

const narrow = (strokes, left) => strokes.map((points) => points.map(([x, y, p]) => [left + (x - 0.5) * 0.6, 0.5 + (y - 0.5) * 0.7, p]));

export const EXAMPLES = [
	...DIGITS.map((strokes, what) => ({strokes, what})),
	{strokes: [line(0.28, 0.8, 0.5, 0.2, 0.72, 0.8), line(0.36, 0.6, 0.64, 0.6)], what: "letter"},
	{strokes: [...narrow(DIGITS[4], 0.3), ...narrow(DIGITS[2], 0.71)], what: "several"},
];
