// What the page says, in English and German. The English of what stands in the HTML is there.

const PAGE_IN_GERMAN = {
	lead: "Ein neuronales Netz liest, was Sie malen.",
	draw: "Malen",
	canvas: "Malfläche",
	hint: "Hier eine Ziffer malen",
	keys: "Pfeiltasten bewegen den Stift, die Leertaste senkt und hebt ihn, U nimmt zurück, Escape leert.",
	undo: "Zurück",
	clear: "Leeren",
	upload: "Bild",
	photo: "Foto",
	drop: "Oder ein Bild hierher ziehen oder einfügen.",
	answer: "Antwort",
	bars: "Wahrscheinlichkeiten",
	examples: "Oder eine von diesen",
	explain: "Was das Modell sieht",
	original: "Ihr Bild",
	seen: "28 × 28 Pixel für das Netz",
	keyFor: "sprach für die Antwort",
	keyAgainst: "dagegen",
	method: "Je 4 × 4 Pixel werden der Reihe nach verdeckt: Je unwahrscheinlicher die Antwort dadurch wird, desto mehr sprachen sie für sie.",
	teach: "Verbessern",
	teachLead: "Falsch gelesen oder abgelehnt? Antippen, was Sie gemalt haben. Das nächste Training lernt daraus.",
	token: "Admin-Token",
	signIn: "Anmelden",
	tokenHelp: "DIGITS_ADMIN_TOKEN oder die Datei „token“ im Zustandsordner des Dienstes. Es bleibt nur in diesem Tab.",
	signedIn: "Angemeldet, nur in diesem Tab.",
	signOut: "Abmelden",
	labels: "Welche Ziffer ist es?",
	dashed: "Gestrichelt: zum Messen, nicht zum Lernen.",
	train: "Beim Lernen zusehen",
	trainLead: "Die laufende Version lernt mit Ihren Beispielen weiter. Nur wenn die neue besser ist, löst sie die alte ab.",
	retrain: "Neu trainieren",
	cancel: "Abbrechen",
	duration: "Mit Beispielen dauert es Minuten. Ohne sie lernt ein neues Netz von vorn, das dauert weit länger.",
	versions: "Versionen",
	about: "Wie gut ist es?",
	accuracy: "Von 577 Zeichnungen aus 32 öffentlichen Quellen, aus denen sie nie gelernt hat, las die mitgelieferte Version 574 richtig (99,5 %).",
	accuracyPage: "Von 2.700 Zeichnungen eines Skripts auf dieser Seite, zehn Formen jeder Ziffer in drei Größen an neun Stellen, las sie alle.",
	limits: "Buchstaben und Gekritzel werden meist abgelehnt, nicht immer: Netze lassen sich täuschen.",
};

// The kinds of problems have German texts alone: the service tells them in English.
const TEXTS = {
	nothing: ["Nothing drawn", "Nichts gemalt"],
	nothingHelp: ["Draw a digit from 0 to 9.", "Eine Ziffer von 0 bis 9 malen."],
	sure: ["{share} sure", "{share} sicher"],
	rejected: ["Not accepted", "Nicht angenommen"],
	blank: ["Nothing drawn that the model can see. Draw large, with a firm line.", "Nichts gemalt, was das Modell sieht. Groß und mit festem Strich malen."],
	blankPicture: ["There is nothing on this picture.", "Auf diesem Bild ist nichts."],
	several_digits: ["These are several digits. Draw one at a time.", "Das sind mehrere Ziffern. Nur eine auf einmal malen."],
	no_digit: ["This looks like no digit. Draw one, large and whole.", "Das sieht nach keiner Ziffer aus. Eine malen, groß und ganz."],
	unsure: ["It could be a {first} or a {second}. Draw it more clearly.", "Es könnte eine {first} oder eine {second} sein. Deutlicher malen."],
	example: ["Example: {what}", "Beispiel: {what}"],
	letter: ["a letter", "ein Buchstabe"],
	several: ["two digits", "zwei Ziffern"],
	figureFor: ["What spoke for {digit}", "Was für {digit} sprach"],
	teachLabel: ["This is a {digit}", "Das ist eine {digit}"],
	drawFirst: ["Draw a digit first, then say what it is.", "Zuerst eine Ziffer malen, dann sagen, welche es ist."],
	tokenFirst: ["This needs the admin token: sign in first.", "Das braucht das Admin-Token: zuerst anmelden."],
	unauthorized: ["That is not the admin token.", "Das ist nicht das Admin-Token."],
	taught: ["Kept as {label}. Draw the next one.", "Als {label} behalten. Die nächste malen."],
	taughtAgain: ["It was kept before; its label is {label} now.", "Es war schon behalten; jetzt ist es eine {label}."],
	taughtHeldOut: ["Kept as {label}, to measure on, like every fifth. Draw the next one.", "Als {label} behalten, zum Messen wie jedes fünfte. Die nächste malen."],
	takeBack: ["Take back", "Zurücknehmen"],
	takeBackOf: ["Take back {label}, number {id}", "{label} zurücknehmen, Nummer {id}"],
	kept: ["Examples kept: {total}. Waiting for a training: {count}.", "Behaltene Beispiele: {total}. Auf ein Training warten: {count}."],
	correction: ["{label}, read as {prediction}", "{label}, gelesen als {prediction}"],
	heldOut: ["to measure on", "zum Messen"],
	job: ["Training {id}", "Training {id}"],
	"job-queued": ["waits for its turn", "wartet, bis es an der Reihe ist"],
	queuedLong: ["still waits: the log of the service says why", "wartet noch: Das Protokoll des Dienstes sagt, warum"],
	"job-running": ["learns", "lernt"],
	measuring: ["is measured beside the version that serves", "wird neben der laufenden Version gemessen"],
	"job-published": ["was better and serves as version {version}", "war besser und läuft als Version {version}"],
	"job-rejected": ["was not better, so nothing changed", "war nicht besser, also bleibt alles, wie es ist"],
	"job-failed": ["failed", "ist gescheitert"],
	"job-cancelled": ["was cancelled", "wurde abgebrochen"],
	starting: ["Preparing the data …", "Die Daten werden vorbereitet …"],
	left: ["{time} left", "noch {time}"],
	lastTook: ["The last training took {time}.", "Das letzte Training dauerte {time}."],
	epoch: ["Epoch {epoch} of {epochs}", "Epoche {epoch} von {epochs}"],
	accuracyChart: ["Accuracy", "Trefferquote"],
	lossChart: ["Loss", "Verlust"],
	learned: ["learned", "gelernt"],
	validation: ["validation", "Validierung"],
	read: ["Read correctly", "Richtig gelesen"],
	after: ["new", "neu"],
	onMnist: ["MNIST", "MNIST"],
	onFeedback: ["your examples", "Ihre Beispiele"],
	of: ["{right} of {images}", "{right} von {images}"],
	used: ["Of your examples {images} were held back to measure on; it learned from the others.", "Von Ihren Beispielen dienten {images} dem Messen; aus den anderen hat es gelernt."],
	noFeedback: ["None of your examples was held back to measure on (one in five is), so MNIST decided.", "Keins Ihrer Beispiele diente dem Messen (jedes fünfte tut es), also entschied MNIST."],
	version: ["Version {version}", "Version {version}"],
	serves: ["serves now", "läuft jetzt"],
	activate: ["Use it", "Benutzen"],
	activateOf: ["Let version {version} serve", "Version {version} laufen lassen"],
	metrics: ["{share} of {images} MNIST test images", "{share} von {images} MNIST-Testbildern"],
	mnist: ["Version {version}, which serves now, reads {share} of {images} MNIST test images.", "Version {version}, die jetzt läuft, liest {share} von {images} MNIST-Testbildern."],
	fault: ["Version {version} should serve and does not: {reason}", "Version {version} soll laufen und läuft nicht: {reason}"],
	away: ["The service does not answer.", "Der Dienst antwortet nicht."],
	busy: ["The service has too much to do. The page tries again.", "Der Dienst hat zu viel zu tun. Die Seite versucht es weiter."],
	"not-an-image": [, "Das lässt sich nicht als Bild lesen."],
	"body-too-large": [, "Die Datei ist zu groß."],
	"blank-image": [, "Auf diesem Bild ist nichts."],
};

const locale = navigator.language;
const german = locale.toLowerCase().startsWith("de");

/** A text as it is, or undefined where there is none. */
export const known = (key) => TEXTS[key]?.[german ? 1 : 0];

/** A text with its values filled in. */
export const text = (key, values = {}) => known(key).replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Put the texts of the browser's language into the page. */
export function translate() {
	if (!german) return;
	document.documentElement.lang = "de";
	for (const element of document.querySelectorAll("[data-text]")) element.textContent = PAGE_IN_GERMAN[element.dataset.text];
	for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = PAGE_IN_GERMAN[element.dataset.label];
}

const format = (options) => {
	const made = new Intl.NumberFormat(locale, options);
	return (value) => made.format(value);
};
const percent = (digits) => format({style: "percent", maximumFractionDigits: digits});

export const number = format();
export const decimal = format({minimumFractionDigits: 3, maximumFractionDigits: 3});
export const wholeShare = percent(0);
export const exactShare = percent(2);
const oneDecimal = percent(1);

/** A probability, which is never shown as certainty. */
export const share = (value) => oneDecimal(Math.min(value, 0.999));

export function time(seconds) {
	const all = Math.max(0, Math.round(seconds));
	return all < 60 ? `${all} s` : `${Math.floor(all / 60)} min ${all % 60} s`;
}
